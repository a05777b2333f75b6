"""A study -> one self-contained HTML page: verdicts, tables, figures, and the commands that made it all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from verydeep.reports.published import SOURCE
from verydeep.reports.templates import render_page
from verydeep.studies import figures, verdicts
from verydeep.studies.claims import Claim
from verydeep.studies.curves import Curves
from verydeep.studies.evidence import Evidence
from verydeep.studies.outcomes import Outcome
from verydeep.studies.state import State
from verydeep.studies.tables import Table, text_tables
from verydeep.studies.workflow import Workflow
from verydeep.version import __version__


def render(
    workflow: Workflow,
    outcomes: Mapping[str, Outcome],
    states: Mapping[str, State],
    evidence: Evidence,
    tables: Sequence[Table],
    claims: Sequence[Claim],
    curves: Curves,
    out: Path,
) -> str:
    """Make the page.

    Args:
        workflow: of the study.
        outcomes: of its tests.
        states: of its steps.
        evidence: its results.
        tables: made of them.
        claims: judged by them.
        curves: of its trainings.
        out: the study's folder, for its commands.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    # What a result stands on was done, here or elsewhere, though its files may be gone.
    names = {name for result in outcomes for name in (result, *workflow.ancestors(result))}
    done = [step for step in workflow.steps.values() if step.name in names or states[step.name] == "done"]
    context = {
        "title": workflow.description.title,
        "headline": verdicts.headline(claims),
        "evidence": evidence,
        "tables": text_tables(tables),
        "tested": [claim for claim in claims if claim.statements],
        "untested": [claim for claim in claims if not claim.statements],
        "cells": verdicts.cells,
        "verdict": verdicts.verdict,
        "claim_headings": verdicts.HEADINGS[2:],
        "how": verdicts.HOW,
        "depth": figures.depth(evidence),
        "learning": figures.learning(workflow, curves),
        "intervals": figures.intervals(claims),
        "missing": len(workflow.steps) - len(done),
        "num_steps": len(workflow.steps),
        "num_trainings": sum(step.kind == "train" for step in done),
        "steps": [step.shown(evidence.data, out) for step in done],
        "source": SOURCE,
        "version": __version__,
    }
    return render_page("study.html.jinja", context, "studies")
