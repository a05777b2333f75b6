"""A study -> one self-contained HTML page: verdicts, tables, figures, and the commands that made it all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from verydeep import __version__
from verydeep.reports.published import SOURCE, TABLE_7, TABLE_7_HEADINGS, TABLE_7_TITLE
from verydeep.reports.templates import render_page
from verydeep.studies import figures, verdicts
from verydeep.studies.claims import Claim
from verydeep.studies.evidence import Evidence
from verydeep.studies.plan import Plan
from verydeep.studies.tables import NUMBERS, Table, beside_others


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
    done = [step for step in plan.steps.values() if (out / step.name).exists()]
    context = {
        "title": plan.description.title,
        "headline": verdicts.headline(claims),
        "evidence": evidence,
        "tables": tables,
        "claims": claims,
        "cells": verdicts.cells,
        "claim_headings": verdicts.HEADINGS[2:],
        "how": verdicts.HOW,
        "numbers": list(NUMBERS),
        "depth": figures.depth(evidence),
        "intervals": figures.intervals(claims),
        "missing": len(plan.steps) - len(done),
        "num_steps": len(plan.steps),
        "num_trainings": sum(step.kind == "train" for step in done),
        "commands": [step.shown(evidence.data, out) for step in done],
        "source": SOURCE,
        "table_7": [row.cells for row in TABLE_7] if beside_others(tables) else [],
        "table_7_headings": TABLE_7_HEADINGS,
        "table_7_title": TABLE_7_TITLE,
        "version": __version__,
    }
    return render_page("study.html.jinja", context, "study")
