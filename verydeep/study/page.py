"""A study -> one self-contained HTML page: verdicts, tables, figures, and the commands that made it all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from verydeep import __version__
from verydeep.errors import require
from verydeep.report.published import SOURCE
from verydeep.study import figures, verdicts
from verydeep.study.claims import Claim
from verydeep.study.evidence import Evidence
from verydeep.study.plan import Plan
from verydeep.study.tables import NUMBERS, Table


def render(plan: Plan, evidence: Evidence, tables: Sequence[Table], claims: Sequence[Claim], out: Path) -> str:
    """Make the page.

    Args:
        plan: of the study.
        evidence: its results.
        tables: made of them.
        claims: judged by them.
        out: the study's folder, for its commands.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    require("jinja2", "report", "making a page")
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("verydeep", "study"), PackageLoader("verydeep", "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("study.html.jinja")
    done = [step for step in plan.steps.values() if (out / step.name).exists()]
    return (
        template.render(
            title=plan.description.title,
            headline=verdicts.headline(claims),
            evidence=evidence,
            tables=tables,
            claims=claims,
            cells=verdicts.cells,
            claim_headings=verdicts.HEADINGS[2:],
            how=verdicts.HOW,
            numbers=list(NUMBERS),
            depth=figures.depth(evidence),
            intervals=figures.intervals(claims),
            missing=len(plan.steps) - len(done),
            num_steps=len(plan.steps),
            num_trainings=sum(step.kind == "train" for step in done),
            commands=[step.shown(evidence.data, out) for step in done],
            source=SOURCE,
            version=__version__,
        )
        + "\n"
    )
