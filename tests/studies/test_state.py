"""What is done: by the files, and by which command made them."""

from __future__ import annotations

import shutil

import pytest

from verydeep.errors import UsageError
from verydeep.studies.description import parse
from verydeep.studies.state import Ledger, fingerprints, made_here, prepare, refuse_others, states
from verydeep.studies.workflow import make_workflow

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
def workflow():
    return make_workflow(parse(TEXT, "a study"))


def finish(workflow, out, *names: str) -> None:
    ledger, prints = Ledger(out), fingerprints(workflow, "digits")
    for name in names:
        ledger.add("begun", workflow.steps[name], prints[name], command="verydeep ...")
        ledger.add("finished", workflow.steps[name], prints[name], seconds=1.0)
        path = out / name
        files = [path / "config.json", path / "model.safetensors"] if name.startswith("runs") else [path]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")


def found(workflow, out) -> dict[str, str]:
    return states(workflow, out, fingerprints(workflow, "digits"), Ledger(out))


def test_done_is_whole_and_by_this_command(workflow, tmp_path):
    assert set(found(workflow, tmp_path).values()) == {"to do"}
    finish(workflow, tmp_path, A, TEST)
    assert [name for name, state in found(workflow, tmp_path).items() if state == "done"] == [A, TEST]
    (tmp_path / TEST).unlink()
    assert found(workflow, tmp_path)[TEST] == "to do"
    finish(workflow, tmp_path, TEST)
    (tmp_path / A / "model.safetensors").unlink()
    assert found(workflow, tmp_path)[A] == found(workflow, tmp_path)[TEST] == "to do"


def test_a_test_is_done_anew_where_its_command_has_changed(workflow, tmp_path):
    finish(workflow, tmp_path, A, TEST)
    other = make_workflow(parse('test_precision = "bfloat16"' + TEXT, "a study"))
    assert found(other, tmp_path)[A] == "done"
    assert found(other, tmp_path)[TEST] == "to do"
    prepare(other.steps[TEST], tmp_path, "to do")
    assert not (tmp_path / TEST).exists()


def test_a_training_is_never_thrown_away(workflow, tmp_path):
    finish(workflow, tmp_path, A)
    other = make_workflow(parse(TEXT.replace("epochs = 2", "epochs = 3"), "a study"))
    prints = fingerprints(other, "digits")
    with pytest.raises(UsageError, match="was made by a different command"):
        refuse_others(other, tmp_path, prints, Ledger(tmp_path), found(other, tmp_path))
    (tmp_path / "study.jsonl").unlink()
    with pytest.raises(UsageError, match="was not made by this study"):
        refuse_others(other, tmp_path, prints, Ledger(tmp_path), found(other, tmp_path))


def test_another_spelling_of_the_data_is_the_same_data(workflow, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    prints = fingerprints(workflow, "photos")
    Ledger(tmp_path).add("begun", workflow.steps[A], prints[A], command="verydeep train photos OUT")
    ledger = Ledger(tmp_path)
    for same in ("photos", "photos/", "./photos", str(tmp_path / "photos")):
        assert ledger.as_given(same) == "photos"
    (tmp_path / "other").mkdir()
    for other in ("other", "nowhere", "digits", "a\0b"):
        assert ledger.as_given(other) == other


def test_tests_of_a_network_that_was_trained_anew_are_done_anew(tmp_path):
    workflow = make_workflow(parse(TEXT + 'views = "both"\n', "a study"))
    names = [name for name in workflow.steps if name.startswith("tests/A")]
    finish(workflow, tmp_path, A, *names)
    Ledger(tmp_path).add("begun", workflow.steps[names[1]], fingerprints(workflow, "digits")[names[1]])
    assert [found(workflow, tmp_path)[name] for name in names[:2]] == ["done", "begun"]

    def made_now() -> list[str]:
        here = made_here(workflow, fingerprints(workflow, "digits"), Ledger(tmp_path))
        return [name for name, whole in here.items() if whole]

    assert made_now() == [A, *names]
    finish(workflow, tmp_path, A)
    assert made_now() == [A]
    finish(workflow, tmp_path, names[0])
    assert made_now() == [A, names[0]]
    assert [name for name, state in found(workflow, tmp_path).items() if state != "to do"] == [A, names[0]]
    # The mean of two tests is older than one of them.
    finish(workflow, tmp_path, names[1])
    assert found(workflow, tmp_path)[names[2]] == "to do"
    finish(workflow, tmp_path, *names[2:])
    assert {found(workflow, tmp_path)[name] for name in names} == {"done"}


@pytest.mark.parametrize("anew", [False, True], ids=["gone", "trained anew"])
def test_a_training_whose_weights_came_from_another_is_refused(tmp_path, anew):
    text = TEXT.replace('["A", "B"]', '["A"]') + '[[train]]\nnetworks = ["B", "D"]\ngrow_from = "A"\n'
    workflow = make_workflow(parse(text, "a study"))
    children = ["runs/B-seed0", "runs/D-seed0"]

    def refuse() -> None:
        prints, ledger = fingerprints(workflow, "digits"), Ledger(tmp_path)
        refuse_others(workflow, tmp_path, prints, ledger, found(workflow, tmp_path))

    finish(workflow, tmp_path, A, *children)
    refuse()
    shutil.rmtree(tmp_path / A)
    if anew:
        finish(workflow, tmp_path, A)
    with pytest.raises(UsageError, match=r"B-seed0, .*D-seed0 started from weights that are gone or were"):
        refuse()
    assert all((tmp_path / name / "model.safetensors").is_file() for name in children)
    for name in children:
        shutil.rmtree(tmp_path / name)
    refuse()
    finish(workflow, tmp_path, A, *children)
    refuse()


def test_the_ledger_knows_the_data(workflow, tmp_path):
    assert Ledger(tmp_path).data is None
    for command in ("verydeep train 'my data' OUT/runs/A-seed0 --recipe digits", "verydeep fuse x", "'", None):
        facts = {"command": command} if command else {}
        Ledger(tmp_path).add("begun", workflow.steps[A], "0", **facts)
    assert Ledger(tmp_path).data == "my data"


def test_a_line_that_was_cut_short_spoils_no_other(workflow, tmp_path):
    finish(workflow, tmp_path, A)
    with (tmp_path / "study.jsonl").open("a") as file:
        file.write('{"event": "beg')
    finish(workflow, tmp_path, TEST)
    assert found(workflow, tmp_path)[TEST] == "done"
    assert len(Ledger(tmp_path).records) == 4


def test_a_training_that_had_not_begun_to_learn_starts_anew(workflow, tmp_path):
    (tmp_path / A).mkdir(parents=True)
    (tmp_path / A / "split.json").write_text("{}")
    assert not prepare(workflow.steps[A], tmp_path, "begun")
    assert not (tmp_path / A).exists()
    finish(workflow, tmp_path, A)
    assert prepare(workflow.steps[A], tmp_path, "begun")


OLD = """
recipe = "digits"
reach = 2
[settings]
epochs = 1
width = 0.02
batch_size = 8
batch_norm = false
learning_rate = 0.02
start = "glorot"
[[train]]
networks = "A"
scale = 40
[[train]]
networks = "B"
grow_from = "A"
scale = [36, 40]
[[test]]
networks = "B"
views = "both"
[[fuse]]
networks = ["A", "B"]
"""


@pytest.mark.parametrize("text", [OLD, OLD.replace("start =", "init =").replace("\nscale", "\ntrain_scale")])
def test_fingerprints_are_those_of_earlier_studies(text):
    """Of the release whose options were called --scale, --start and --posteriors: its studies go on."""
    assert fingerprints(make_workflow(parse(text, "a study")), "digits") == {
        "runs/A-seed0": "8b8d420ba0e9b676",
        "runs/B-seed0": "425964e1a806f3b8",
        "tests/B-seed0.dense.38.npz": "8644d7b014e978ab",
        "tests/B-seed0.crops.38.npz": "72984925df336bb2",
        "tests/B-seed0.both.38.npz": "1cac4e0cd47e6e85",
        "tests/A-seed0.dense.40.npz": "f14d4753d2d10845",
        "fusions/A+B-seed0.dense.one.npz": "35405145031fa641",
    }
