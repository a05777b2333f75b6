"""What each test of a study came to: who was wrong on which image, a bit for each.

OUT/outcomes.jsonl has a line for each test. It holds all that tables and claims stand on, in kilobytes, where
posteriors and networks take megabytes. So a study can be told anew, or carried on elsewhere, without its networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, UsageError, printable, refusal
from verydeep.evaluation.fusion import matched
from verydeep.evaluation.paired import bits_from_text, bits_to_text, wrong_answers
from verydeep.evaluation.results import Evaluation, read_result
from verydeep.files import json_text, parse_json, write_text
from verydeep.reports.tables import Row, make_rows, row_from_json
from verydeep.studies.state import fingerprints
from verydeep.studies.workflow import DATA, Workflow
from verydeep.typed import as_type

OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True)
class Outcome:
    """Of one test.

    Attributes:
        row: its errors, and how they came about.
        wrong: which images were named wrong, in the order of their names.
        images: a hash of their names and classes.

    """

    row: Row
    wrong: NDArray[np.bool_]
    images: str


def outcome_of(result: Evaluation) -> Outcome:
    """Of a test's posteriors."""
    order = sorted(range(len(result.names)), key=result.names.__getitem__)
    images = [[result.names[at], result.facts.class_names[result.labels[at]]] for at in order]
    digest = hashlib.sha256(json_text(images).encode()).hexdigest()[:16]
    return Outcome(make_rows([result])[0], wrong_answers(result)[order], digest)


def find_outcomes(workflow: Workflow, out: Path) -> dict[str, Outcome]:
    """Of each test that has been made here, or elsewhere by the same command; in the workflow's order.

    Raises:
        ModelError: a file is damaged.
        UsageError: two are of different images.

    """
    found = read_outcomes(workflow, out)
    first: tuple[Evaluation, Path] | None = None
    for step in workflow.results:
        path = out / step.name
        if path.is_file():
            result = read_result(path)
            # Names and labels are what is needed of the first.
            first = first or (replace(result, posteriors=np.empty((0, 0))), path)
            matched(result, path, *first)
            found[step.name] = outcome_of(result)
    by_images = {outcome.images: name for name, outcome in found.items()}
    if len(by_images) > 1:
        names = sorted(by_images.values())
        raise UsageError(
            f"{names[0]} and {names[1]} were tested on different images; remove the line of the wrong one from "
            f"{out / OUTCOMES}"
        )
    return {step.name: found[step.name] for step in workflow.results if step.name in found}


def read_outcomes(workflow: Workflow, out: Path) -> dict[str, Outcome]:
    """Those in OUT/outcomes.jsonl which a test of this workflow would come to.

    Raises:
        ModelError: the file cannot be read.

    """
    path = out / OUTCOMES
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(refusal(path, "read", error)) from None
    wanted = fingerprints(workflow, DATA)
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            record = as_type(dict[str, Any], parse_json(line))
            name, fingerprint = (as_type(str, record[field], field) for field in ("step", "fingerprint"))
            if wanted.get(name) == fingerprint:
                found[name] = _from_json(record)
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"line {number} of {path} is damaged ({printable(error)}); remove it, and its test is made again"
            ) from None
    return found


def write_outcomes(workflow: Workflow, out: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write OUT/outcomes.jsonl, whole."""
    prints = fingerprints(workflow, DATA)
    lines = [
        json_text({"step": name, "fingerprint": prints[name], **_to_json(outcome)})
        for name, outcome in outcomes.items()
    ]
    write_text(out / OUTCOMES, "".join(f"{line}\n" for line in lines))


def _to_json(outcome: Outcome) -> dict[str, Any]:
    row = outcome.row
    return {
        "top1_error": row.top1_error,
        "top5_error": row.top5_error,
        "top_k": row.top_k,
        "num_images": row.num_images,
        "images": outcome.images,
        "wrong": bits_to_text(outcome.wrong),
        "facts": asdict(row.facts),
    }


def _from_json(record: Mapping[str, Any]) -> Outcome:
    row = row_from_json({**as_type(dict[str, Any], record["facts"], "facts"), **record})
    wrong = bits_from_text(as_type(str, record["wrong"], "wrong"), row.num_images)
    return Outcome(row, wrong, as_type(str, record["images"], "images"))
