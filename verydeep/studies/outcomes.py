"""What each test of a study came to: who was wrong on which image, a bit for each.

OUT/outcomes.jsonl has a line for each test. It holds all that tables and claims stand on, in kilobytes, where
posteriors and networks take megabytes. So a study can be told anew, or carried on elsewhere, without its networks.
A file of posteriors counts where study.jsonl says that this description's command made it, of the networks of now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, UsageError, few, printable, refusal
from verydeep.evaluation.fusion import matched
from verydeep.evaluation.paired import bits_from_text, bits_to_text, wrong_answers
from verydeep.evaluation.results import Evaluation, read_result
from verydeep.files import json_text, parse_json, write_text
from verydeep.notes import say
from verydeep.reports.tables import Row, make_rows, row_from_json
from verydeep.run_folder import read_config
from verydeep.studies.state import Ledger, fingerprints, made_here
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
        trained_on: fingerprint of the images that its network was trained on; None where it is not known.

    """

    row: Row
    wrong: NDArray[np.bool_]
    images: str
    trained_on: str | None = None


def outcome_of(result: Evaluation, trained_on: str | None = None) -> Outcome:
    """Of a test's posteriors."""
    order = sorted(range(len(result.names)), key=result.names.__getitem__)
    images = [[result.names[at], result.facts.class_names[result.labels[at]]] for at in order]
    digest = hashlib.sha256(json_text(images).encode()).hexdigest()[:16]
    return Outcome(make_rows([result])[0], wrong_answers(result)[order], digest, trained_on)


def find_outcomes(workflow: Workflow, out: Path, prints: Mapping[str, str], ledger: Ledger) -> dict[str, Outcome]:
    """Of each test that has been made here, or elsewhere by the same command; in the workflow's order.

    Args:
        workflow: of the study.
        out: its folder.
        prints: the steps' fingerprints.
        ledger: of what was done here.

    Raises:
        ModelError: a file is damaged.
        UsageError: two are of different images, or of networks that were trained on different ones.

    """
    found, here = read_outcomes(workflow, out), made_here(workflow, prints, ledger)
    first: tuple[Evaluation, Path] | None = None
    others: list[str] = []
    for step in workflow.results:
        path, line = out / step.name, found.get(step.name)
        last = ledger.last(step, "begun", "finished")
        if not here.get(step.name, not any(need in here for need in step.needs)):
            found.pop(step.name, None)  # of networks that have been trained anew, or elsewhere
        if here.get(step.name) and last and last["fingerprint"] == prints[step.name] and path.is_file():
            result = read_result(path)
            # Names and labels are what is needed of the first.
            first = first or (replace(result, posteriors=np.empty((0, 0))), path)
            matched(result, path, *first)
            trained_on = training_images(out / step.needs[0]) if step.kind == "test" else None
            found[step.name] = outcome_of(result, trained_on or (line.trained_on if line else None))
        elif path.is_file() and step.name not in found:
            others.append(step.name)
    if others:
        say(
            f"left out: {few(others, 3, quoted=False)}; neither study.jsonl nor {OUTCOMES} says that the commands "
            "of now made them from the networks of now"
        )
    refuse_mixture(workflow, out, found)
    by_images = {outcome.images: name for name, outcome in found.items()}
    if len(by_images) > 1:
        names = sorted(by_images.values())
        raise UsageError(
            f"{names[0]} and {names[1]} were tested on different images; remove the line of the wrong one from "
            f"{out / OUTCOMES}"
        )
    return {step.name: found[step.name] for step in workflow.results if step.name in found}


def training_images(run: Path) -> str | None:
    """Fingerprint of the images that a run is trained on, where it is there and tells."""
    with suppress(ModelError):
        fingerprint = (read_config(run).provenance.get("data") or {}).get("fingerprint")
        return fingerprint if isinstance(fingerprint, str) else None
    return None


def refuse_mixture(
    workflow: Workflow, out: Path, outcomes: Mapping[str, Outcome], data: tuple[str, str] | None = None
) -> None:
    """Make sure that all networks are trained on the same images, where that is known.

    Args:
        workflow: of the study.
        out: its folder.
        outcomes: of its tests.
        data: its name, and the fingerprint of its training images as they are now.

    Raises:
        UsageError: they are not.

    """
    by_images = {one.trained_on: name for name, one in outcomes.items()}
    runs = [name for name, step in workflow.steps.items() if step.kind == "train"]
    by_images |= {training_images(out / name): name for name in runs}
    if data:
        by_images[data[1]] = data[0]
    by_images.pop(None, None)
    if len(by_images) > 1:
        one, other = list(by_images.values())[:2]
        raise UsageError(
            f"{one} and {other} have different training images; restore the data, choose another `out`, or remove "
            f"what is of the wrong images: run folders, and lines of {out / OUTCOMES}"
        )


def read_outcomes(workflow: Workflow, out: Path) -> dict[str, Outcome]:
    """Those in OUT/outcomes.jsonl which a test of this workflow would come to.

    Raises:
        ModelError: the file cannot be read, or says two things of one test.

    """
    found: dict[str, Outcome] = {}
    for number, _, name, outcome in _read(workflow, out):
        if outcome is None:
            continue
        if name in found and json_text(_to_json(found[name])) != json_text(_to_json(outcome)):
            raise ModelError(
                f"line {number} of {out / OUTCOMES} is of {name}, as one before it is, and they differ; remove "
                "the wrong one"
            )
        found[name] = outcome
    return found


def _read(workflow: Workflow, out: Path) -> Iterator[tuple[int, str, str, Outcome | None]]:
    """Each line of OUT/outcomes.jsonl: number, text, step, and outcome; None where it is not of this workflow."""
    path = out / OUTCOMES
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ModelError(refusal(path, "read", error)) from None
    wanted = fingerprints(workflow, DATA)
    for number, line in enumerate(lines, 1):
        try:
            record = as_type(dict[str, Any], parse_json(line))
            name, fingerprint = (as_type(str, record[field], field) for field in ("step", "fingerprint"))
            outcome = _from_json(record) if wanted.get(name) == fingerprint else None
        except (KeyError, ValueError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else printable(error)
            raise ModelError(
                f"line {number} of {path} is damaged ({what}); remove it, and its test is made again"
            ) from None
        yield number, line.decode(), name, outcome


def write_outcomes(workflow: Workflow, out: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write OUT/outcomes.jsonl, whole; lines that are not of this workflow stay, behind the others."""
    prints = fingerprints(workflow, DATA)
    lines = [
        json_text({"step": name, "fingerprint": prints[name], **_to_json(outcome)})
        for name, outcome in outcomes.items()
    ]
    lines += [line for _, line, _, outcome in _read(workflow, out) if outcome is None]
    write_text(out / OUTCOMES, "".join(f"{line}\n" for line in lines))


def _to_json(outcome: Outcome) -> dict[str, Any]:
    row = outcome.row
    trained_on = {"trained_on": outcome.trained_on} if outcome.trained_on else {}
    return {
        "top1_error": row.top1_error,
        "top5_error": row.top5_error,
        "top_k": row.top_k,
        "num_images": row.num_images,
        "images": outcome.images,
        **trained_on,
        "wrong": bits_to_text(outcome.wrong),
        "facts": asdict(row.facts),
    }


def _from_json(record: Mapping[str, Any]) -> Outcome:
    row = row_from_json({**as_type(dict[str, Any], record["facts"], "facts"), **record})
    wrong = bits_from_text(as_type(str, record["wrong"], "wrong"), row.num_images)
    if abs(100 * wrong.mean() - row.top1_error) > 1e-6:
        raise ValueError(f"its error is {row.top1_error} %, its wrong answers are {100 * wrong.mean():.2f} %")
    trained_on = as_type(str | None, record.get("trained_on"), "trained_on")
    return Outcome(row, wrong, as_type(str, record["images"], "images"), trained_on)
