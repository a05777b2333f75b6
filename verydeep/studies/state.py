"""What of a study is done. The files are the state, and study.jsonl says which commands made them.

A step is done when all that it makes is there, made by this very command after all that it needs was made.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from verydeep.chunks.parts import beside
from verydeep.errors import UsageError
from verydeep.files import MOST_LINE_BYTES, Lines, json_text, parse_json
from verydeep.lock import writing_file, writing_folder
from verydeep.run_folder import CONFIG, WEIGHTS
from verydeep.studies.workflow import DATA, Step, Workflow
from verydeep.typed import as_type

DESCRIPTION, RECORDS, LOGS = "study.toml", "study.jsonl", "logs"

Record = dict[str, Any]
State = Literal["done", "begun", "to do"]


OLD_WORDS: Mapping[str, Mapping[str, str]] = {
    "train": {"--train-scale": "--scale", "--init": "--start", "--window": "--image-size"},
    "test": {"--out": "--posteriors"},
}
"""Options as they were called when fingerprints were first taken, by the kind of step: they keep their words, so
that a study which began then goes on."""


def fingerprints(workflow: Workflow, data: str) -> dict[str, str]:
    """What decides each step's output: its command, and the fingerprints of what it needs."""
    found: dict[str, str] = {}
    for step in workflow.steps.values():
        old = OLD_WORDS.get(step.kind, {})
        key = [data if word == DATA else old.get(word, word) for word in step.words]
        text = json.dumps([key, [found[need] for need in step.needs]])
        found[step.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


class Ledger:
    """What study.jsonl says: which command began and finished each step, and how long it took.

    Args:
        out: of the study.

    """

    def __init__(self, out: Path) -> None:
        self.path = out / RECORDS
        self.records: list[Record] = []
        self._cut_short = False
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            while line := file.readline(MOST_LINE_BYTES):
                self._cut_short = not line.endswith(b"\n")
                with suppress(ValueError):  # cut short by a kill
                    self.records.append(_record(parse_json(line)))

    def add(self, event: str, step: Step, fingerprint: str, **facts: Any) -> None:
        """Note what has happened to a step."""
        record = {"event": event, "step": step.name, "fingerprint": fingerprint, **facts}
        with Lines(self.path) as lines:
            if self._cut_short:
                lines.add("")
                self._cut_short = False
            lines.add(json_text(record))
        self.records.append(record)

    def place(self, name: str, *events: str, fingerprint: str | None = None) -> int:
        """Where the last of a step's records of these kinds is; -1 where there is none.

        Args:
            name: of the step.
            events: the kinds.
            fingerprint: of the only command that counts; None where any does.

        """
        for at in range(len(self.records) - 1, -1, -1):
            record = self.records[at]
            by_it = fingerprint in (None, record["fingerprint"])
            if by_it and record["step"] == name and record["event"] in events:
                return at
        return -1

    def last(self, step: Step, *events: str) -> Record | None:
        """The last of a step's records of these kinds."""
        at = self.place(step.name, *events)
        return self.records[at] if at >= 0 else None

    @property
    def data(self) -> str | None:
        """What the last training was trained on, by its command; None where none has begun here."""
        for record in reversed(self.records):
            with suppress(ValueError):  # the command is damaged
                match shlex.split(record.get("command", "")):
                    case ["verydeep", "train", data, *_]:
                        return data
        return None

    def as_given(self, data: str) -> str:
        """The data's address as the trainings here were given it, where that is the same file or folder.

        Another spelling of a path is no other command.
        """
        before = self.data
        with suppress(OSError, ValueError):  # one of them is no path, or not there
            if before and Path(before).samefile(data):
                return before
        return data

    def seconds(self, step: Step, fingerprint: str) -> float:
        """Time that a step has taken, in all sittings."""
        return sum(
            float(record.get("seconds", 0))
            for record in self.records
            if record.get("step") == step.name and record.get("fingerprint") == fingerprint
        )


def _record(value: Any) -> Record:
    record: Record = as_type(Record, value)
    for name in ("event", "step", "fingerprint"):
        as_type(str, record.get(name), name)
    as_type(str, record.get("command", ""), "command")
    as_type(float, record.get("seconds", 0), "seconds")
    return record


def states(
    workflow: Workflow,
    out: Path,
    prints: Mapping[str, str],
    ledger: Ledger,
    known: Collection[str] = (),
) -> dict[str, State]:
    """What is done, what has begun, and what is still to do.

    Args:
        workflow: of the study.
        out: its folder.
        prints: the steps' fingerprints.
        ledger: of what was done here.
        known: names of tests whose outcome is known. Those of networks that were made elsewhere are done, unless
            a step to do needs their posteriors and these are not here; so is what only they would need. Where
            their network is made here, they are made of it too: all tests of a network are of one training.

    """
    here: dict[str, State] = {}
    for step in workflow.steps.values():
        before = all(here[need] == "done" for need in step.needs)
        here[step.name] = _state(step, out, prints, ledger) if before else "to do"
    begun = {name for name, step in workflow.steps.items() if ledger.last(step, "begun")}
    elsewhere = {name for name in known if begun.isdisjoint((name, *workflow.steps[name].needs))}
    while True:
        found = _with_known(workflow, out, here, elsewhere)
        anew = {name for name in elsewhere if any(found[need] != "done" for need in workflow.steps[name].needs)}
        if not anew:
            return found
        elsewhere -= anew


def _with_known(
    workflow: Workflow, out: Path, here: Mapping[str, State], elsewhere: Collection[str]
) -> dict[str, State]:
    """States where the outcomes of some tests are known from elsewhere: what only they would need is done."""
    found = dict(here)
    if not elsewhere:
        return found
    needs = {need for step in workflow.steps.values() for need in step.needs}
    wanted: set[str] = set()
    for step in reversed(workflow.steps.values()):
        for_others = step.kind == "train" and step.name in needs
        missing = step.name in wanted and not (out / step.name).is_file()
        if found[step.name] != "done" and not missing and (for_others or step.name in elsewhere):
            found[step.name] = "done"
        elif found[step.name] != "done":
            wanted.update(step.needs)
    return found


def _state(step: Step, out: Path, prints: Mapping[str, str], ledger: Ledger) -> State:
    at = ledger.place(step.name, "finished", "begun", "failed")
    if at < 0 or ledger.records[at]["fingerprint"] != prints[step.name] or _outdated(step, at, prints, ledger):
        return "to do"
    files = (CONFIG, WEIGHTS) if step.kind == "train" else ("",)
    whole = all((out / step.name / file).is_file() for file in files)
    return "begun" if ledger.records[at]["event"] != "finished" else "done" if whole else "to do"


def _outdated(step: Step, at: int, prints: Mapping[str, str], ledger: Ledger) -> bool:
    """Whether something that a step needs was made anew after record `at`."""
    return any(ledger.place(need, "finished", fingerprint=prints[need]) > at for need in step.needs)


def made_here(workflow: Workflow, prints: Mapping[str, str], ledger: Ledger) -> dict[str, bool]:
    """The steps that have finished here by these commands, and whether nothing before them was made anew since.

    The files need not be there: results outlive their networks.
    """
    found: dict[str, bool] = {}
    for step in workflow.steps.values():
        at = ledger.place(step.name, "finished", fingerprint=prints[step.name])
        if at >= 0:
            before = all(found.get(need, True) for need in step.needs)
            found[step.name] = before and not _outdated(step, at, prints, ledger)
    return found


def refuse_others(
    workflow: Workflow, out: Path, prints: Mapping[str, str], ledger: Ledger, found: Mapping[str, State]
) -> None:
    """Make sure that no run folder is there that another command has made, or from other weights.

    Trainings are never thrown away.

    Args:
        workflow: of the study.
        out: its folder.
        prints: the steps' fingerprints.
        ledger: of what was done here.
        found: the steps' states.

    Raises:
        UsageError: there is one.

    """
    orphans: list[str] = []
    for step in workflow.steps.values():
        path = out / step.name
        if step.kind != "train" or not path.exists():
            continue
        begun = ledger.last(step, "begun")
        if begun is None:
            raise UsageError(f"{path} was not made by this study; choose another `out`, or move the file")
        if begun.get("fingerprint") != prints[step.name]:
            raise UsageError(
                f"{path} was made by a different command than in this description ({begun.get('command')}); name "
                "the new training otherwise, choose another `out`, or remove that folder"
            )
        missing = any(found[need] != "done" for need in step.needs)
        if missing or _outdated(step, ledger.place(step.name, "begun"), prints, ledger):
            orphans.append(str(path))
    if orphans:
        raise UsageError(
            f"{', '.join(orphans)} started from weights that are gone or were trained anew since; remove every "
            "folder named here to train it again"
        )


def prepare(step: Step, out: Path, state: State) -> bool:
    """Clear away what a step cannot go on from; give whether it goes on with a training.

    Raises:
        BusyError: another process writes there.

    """
    path = out / step.name
    if step.kind == "train":
        if (path / CONFIG).is_file():
            return True
        if path.exists():
            with writing_folder(path):
                shutil.rmtree(path, ignore_errors=True)  # it had not begun to learn
    elif state == "to do":
        with writing_file(path):
            path.unlink(missing_ok=True)  # of another command, or of networks that have been trained anew
            shutil.rmtree(beside(path), ignore_errors=True)
    return False
