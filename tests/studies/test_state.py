"""What is done: by the files, and by which command made them."""

from __future__ import annotations

import pytest

from verydeep.errors import UsageError
from verydeep.studies.description import parse
from verydeep.studies.plan import make_plan
from verydeep.studies.state import Ledger, fingerprints, prepare, refuse_others, states

TEXT = """
recipe = "digits"
[settings]
epochs = 2
[[train]]
networks = ["A", "B"]
[[test]]
"""
A, TEST = "runs/A-seed0", "tests/A-seed0.dense.36.npz"


@pytest.fixture
def plan():
    return make_plan(parse(TEXT, "a study"))


def finish(plan, out, *names: str) -> None:
    ledger, prints = Ledger(out), fingerprints(plan, "digits")
    for name in names:
        ledger.add("begun", plan.steps[name], prints[name], command="verydeep ...")
        ledger.add("finished", plan.steps[name], prints[name], seconds=1.0)
        path = out / name
        files = [path / "config.json", path / "model.safetensors"] if name.startswith("runs") else [path]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")


def found(plan, out) -> dict[str, str]:
    return states(plan, out, fingerprints(plan, "digits"), Ledger(out))


def test_done_is_whole_and_by_this_command(plan, tmp_path):
    assert set(found(plan, tmp_path).values()) == {"to do"}
    finish(plan, tmp_path, A, TEST)
    assert [name for name, state in found(plan, tmp_path).items() if state == "done"] == [A, TEST]
    (tmp_path / TEST).unlink()
    assert found(plan, tmp_path)[TEST] == "to do"
    finish(plan, tmp_path, TEST)
    (tmp_path / A / "model.safetensors").unlink()
    assert found(plan, tmp_path)[A] == found(plan, tmp_path)[TEST] == "to do"


def test_a_test_is_done_anew_where_its_command_has_changed(plan, tmp_path):
    finish(plan, tmp_path, A, TEST)
    other = make_plan(parse('test_precision = "bfloat16"' + TEXT, "a study"))
    assert found(other, tmp_path)[A] == "done"
    assert found(other, tmp_path)[TEST] == "to do"
    prepare(other.steps[TEST], tmp_path, "to do")
    assert not (tmp_path / TEST).exists()


def test_a_training_is_never_thrown_away(plan, tmp_path):
    finish(plan, tmp_path, A)
    other = make_plan(parse(TEXT.replace("epochs = 2", "epochs = 3"), "a study"))
    prints = fingerprints(other, "digits")
    with pytest.raises(UsageError, match="was made by another command"):
        refuse_others(other, tmp_path, prints, Ledger(tmp_path))
    (tmp_path / "study.jsonl").unlink()
    with pytest.raises(UsageError, match="was not made by this study"):
        refuse_others(other, tmp_path, prints, Ledger(tmp_path))


def test_a_line_that_was_cut_short_spoils_no_other(plan, tmp_path):
    finish(plan, tmp_path, A)
    with (tmp_path / "study.jsonl").open("a") as file:
        file.write('{"event": "beg')
    finish(plan, tmp_path, TEST)
    assert found(plan, tmp_path)[TEST] == "done"
    assert len(Ledger(tmp_path).records) == 4


def test_a_training_that_had_not_begun_to_learn_starts_anew(plan, tmp_path):
    (tmp_path / A).mkdir(parents=True)
    (tmp_path / A / "split.json").write_text("{}")
    assert not prepare(plan.steps[A], tmp_path, "begun")
    assert not (tmp_path / A).exists()
    finish(plan, tmp_path, A)
    assert prepare(plan.steps[A], tmp_path, "begun")
