"""Outcomes of tests without their posteriors: what is told of them, and what need not be made again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from made import TEXT

from verydeep.api.study import make_report
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts, write_result
from verydeep.images.color import Preprocessing
from verydeep.run_folder import ModelConfig, TrainedOn
from verydeep.studies.description import parse
from verydeep.studies.evidence import gather
from verydeep.studies.outcomes import (
    OUTCOMES,
    Outcome,
    find_outcomes,
    read_outcomes,
    refuse_mixture,
    write_outcomes,
)
from verydeep.studies.state import Ledger, fingerprints, states
from verydeep.studies.workflow import make_workflow

TESTS = [f"tests/{name}-seed{seed}.dense.36.npz" for seed in (0, 1) for name in "AB"]
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def workflow():
    return make_workflow(parse(TEXT, "a study"))


def result(seed: int, *, count: int = 37, order: int | None = None) -> Evaluation:
    """Some images' posteriors, in an order of their own."""
    names = [f"image {number}" for number in range(count)]
    labels = np.arange(count) % 3
    posteriors = np.random.default_rng(seed).dirichlet(np.ones(3), count)
    places = np.arange(count) if order is None else np.random.default_rng(order).permutation(count)
    member = MemberFacts("runs/a", "A", 0.5, False, 10, (36, 36), "dense", (36,), True)
    facts = Facts((member,), "animals", "val", CLASSES, 1.0)
    return Evaluation(facts, tuple(names[at] for at in places), labels[places], posteriors[places])


def write_tests(workflow, out, *, names=TESTS, **options) -> None:
    """Posteriors of tests, and the ledger's records of them."""
    ledger, prints = Ledger(out), fingerprints(workflow, "animals")
    for seed, name in enumerate(TESTS):
        if name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_result(out / name, result(seed, **options))
            for event in ("begun", "finished"):
                ledger.add(event, workflow.steps[name], prints[name])


def found(workflow, out) -> dict[str, Outcome]:
    return find_outcomes(workflow, out, fingerprints(workflow, "animals"), Ledger(out))


def test_tables_stand_on_outcomes_alone(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    by_posteriors = gather(workflow, found(workflow, tmp_path))
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    for name in TESTS[1:]:
        (tmp_path / name).unlink()
    mixed = gather(workflow, found(workflow, tmp_path))
    (tmp_path / TESTS[0]).unlink()
    alone = gather(workflow, found(workflow, tmp_path))
    assert by_posteriors.num_images == 37 and by_posteriors.data == "animals"
    assert [one.seeds for one in by_posteriors.measurements] == [(0, 1), (0, 1)]
    for evidence in (mixed, alone):
        assert (evidence.data, evidence.num_images) == (by_posteriors.data, by_posteriors.num_images)
        for one, other in zip(evidence.measurements, by_posteriors.measurements, strict=True):
            assert np.array_equal(one.wrong, other.wrong) and one.wrong.any() and not one.wrong.all()
            assert (one.setup, one.top1, one.top5, one.seeds) == (other.setup, other.top1, other.top5, other.seeds)
    assert one.wrong[1].mean() * 100 == pytest.approx(one.top1[1])


def test_the_order_of_images_does_not_matter(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    plain = found(workflow, tmp_path)
    for order, name in enumerate(TESTS):
        write_tests(workflow, tmp_path, names=[name], order=order)
    mixed = found(workflow, tmp_path)
    assert all(np.array_equal(plain[name].wrong, mixed[name].wrong) for name in TESTS)
    assert {one.images for one in plain.values()} == {one.images for one in mixed.values()}


def test_other_images_are_refused(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    (tmp_path / TESTS[0]).unlink()
    write_tests(workflow, tmp_path, names=TESTS[1:], count=40)
    with pytest.raises(
        UsageError, match=r"different images; remove the line of the wrong one from .*outcomes\.jsonl"
    ):
        found(workflow, tmp_path)


@pytest.fixture
def other():
    """The workflow of a changed description."""
    return make_workflow(parse(TEXT.replace("epochs = 2", "epochs = 3"), "a study"))


def test_outcomes_of_another_description_do_not_count(workflow, other, tmp_path):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    assert list(read_outcomes(workflow, tmp_path)) == TESTS
    assert read_outcomes(other, tmp_path) == {}


def test_posteriors_of_another_description_do_not_count(workflow, other, tmp_path, capsys):
    write_tests(workflow, tmp_path)
    assert found(other, tmp_path) == {}
    said = capsys.readouterr().err
    assert f"left out: {TESTS[0]}, {TESTS[1]}, {TESTS[2]} and 1 more; neither study.jsonl nor" in said
    write_tests(other, tmp_path, names=TESTS[:1])
    assert list(found(other, tmp_path)) == TESTS[:1]
    assert list(found(workflow, tmp_path)) == TESTS[1:]


def test_posteriors_that_nobody_vouches_for_do_not_count(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    (tmp_path / "study.jsonl").unlink()
    lines = (tmp_path / OUTCOMES).read_text().splitlines()
    (tmp_path / OUTCOMES).write_text(f"{lines[2]}\n")
    assert list(found(workflow, tmp_path)) == [TESTS[2]]


def test_the_line_counts_where_the_file_is_of_another_description(workflow, other, tmp_path):
    write_tests(workflow, tmp_path)
    before = found(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, before)
    write_tests(other, tmp_path, order=1, count=40)
    after = found(workflow, tmp_path)
    assert list(after) == TESTS
    assert all(np.array_equal(after[name].wrong, before[name].wrong) for name in TESTS)


def test_outcomes_of_a_network_that_was_trained_anew_do_not_count(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    run = "runs/B-seed0"
    Ledger(tmp_path).add("finished", workflow.steps[run], fingerprints(workflow, "animals")[run])
    left = [name for name in TESTS if name != TESTS[1]]
    assert list(found(workflow, tmp_path)) == left
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    assert list(read_outcomes(workflow, tmp_path)) == left
    write_tests(workflow, tmp_path, names=[TESTS[1]])
    assert list(found(workflow, tmp_path)) == TESTS


def test_lines_of_other_descriptions_stay(workflow, other, tmp_path):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    lines = (tmp_path / OUTCOMES).read_bytes()
    write_tests(other, tmp_path, names=TESTS[:1])
    for _ in range(2):
        write_outcomes(other, tmp_path, found(other, tmp_path))
        first, rest = (tmp_path / OUTCOMES).read_bytes().split(b"\n", 1)
        assert rest == lines
        assert json.loads(first)["fingerprint"] != json.loads(lines.splitlines()[0])["fingerprint"]
    assert list(read_outcomes(workflow, tmp_path)) == TESTS


def write_config(run, images: str) -> None:
    """A run's, trained on images of this fingerprint."""
    architecture = Architecture("A", len(CLASSES), 0.01, 32)
    config = ModelConfig(
        architecture, Preprocessing(), CLASSES, TrainedOn((36, 36)), {"data": {"fingerprint": images}}
    )
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(config.to_json()))


def test_networks_of_different_training_images_are_refused(workflow, tmp_path):
    write_tests(workflow, tmp_path)
    plain = found(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, plain)
    assert '"trained_on"' not in (tmp_path / OUTCOMES).read_text()
    run = tmp_path / "runs/A-seed0"
    write_config(run, "one")
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    shutil.rmtree(run)
    outcomes = found(workflow, tmp_path)  # which the line tells
    assert [outcomes[name].trained_on for name in TESTS] == ["one", None, None, None]
    refuse_mixture(workflow, tmp_path, outcomes, ("animals", "one"))
    with pytest.raises(
        UsageError, match=r"tests/A-seed0.* and animals have different training images; restore the"
    ):
        refuse_mixture(workflow, tmp_path, outcomes, ("animals", "two"))
    write_config(tmp_path / "runs/A-seed1", "two")
    with pytest.raises(UsageError, match="have different training images"):
        found(workflow, tmp_path)
    write_config(tmp_path / "runs/A-seed1", "one")
    assert list(found(workflow, tmp_path)) == TESTS


def test_the_page_counts_what_is_finished(workflow, tmp_path):
    """Not folders: networks may be elsewhere, and a run that has begun is not done."""
    write_tests(workflow, tmp_path, names=TESTS[:2])
    (tmp_path / "runs/A-seed1").mkdir(parents=True)
    Ledger(tmp_path).add(
        "begun", workflow.steps["runs/A-seed1"], fingerprints(workflow, "animals")["runs/A-seed1"]
    )
    (tmp_path / "study.toml").write_text(TEXT)
    for _ in range(2):
        make_report(tmp_path, data="animals")
        said = " ".join((tmp_path / "index.html").read_text().split())
        assert "2 trainings, tested on 37 images of animals" in said
        assert "4 of 8 steps are not finished" in said
        assert said.count("<span>train</span>") == 2 and "runs/A-seed1" not in said
        for name in TESTS[:2]:  # outcomes.jsonl tells them alone
            (tmp_path / name).unlink(missing_ok=True)


def test_the_page_names_the_data_before_the_first_test(workflow, tmp_path):
    run = workflow.steps["runs/A-seed0"]
    write_config(tmp_path / run.name, "one")
    (tmp_path / run.name / "model.safetensors").touch()
    for event in ("begun", "finished"):
        Ledger(tmp_path).add(event, run, fingerprints(workflow, "animals")[run.name])
    (tmp_path / "study.toml").write_text(TEXT)
    make_report(tmp_path, data="animals")
    page = (tmp_path / "index.html").read_text()
    assert "<span>train</span> <span>animals</span>" in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("wrong", "AAAA", "24 bits for 37 images"),
        ("wrong", "?", "is damaged"),
        ("wrong", 5, "wrong"),
        ("top1_error", 130.0, "errors that are no shares"),
        ("top1_error", 5.0, "its error is 5.0 %, its wrong answers are"),
        ("facts", [], "facts"),
        ("step", 7, "step"),
        ("images", None, "images"),
        ("num_images", 10**9, "bits for"),
    ],
)
def test_a_damaged_line_is_told(workflow, tmp_path, field, value, said):
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    lines = (tmp_path / OUTCOMES).read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), field: value})
    (tmp_path / OUTCOMES).write_text("\n".join(lines))
    with pytest.raises(ModelError, match=f"line 3 of .*{said}.*"):
        read_outcomes(workflow, tmp_path)
    (tmp_path / OUTCOMES).write_text("\n".join([*lines[:2], "{", lines[3]]))
    with pytest.raises(ModelError, match=r"line 3 of .*remove it, and its test is made again"):
        read_outcomes(workflow, tmp_path)


def test_of_two_lines_of_one_test_none_is_chosen(workflow, tmp_path):
    """Lines of several machines are put together by hand."""
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    lines = (tmp_path / OUTCOMES).read_text().splitlines()
    (tmp_path / OUTCOMES).write_text("\n".join([*lines, lines[1]]))
    assert len(read_outcomes(workflow, tmp_path)) == len(lines)
    lines.append(json.dumps({**json.loads(lines[1]), "images": "others"}))
    (tmp_path / OUTCOMES).write_text("\n".join(lines))
    with pytest.raises(
        ModelError, match=rf"line {len(lines)} of .* is of .*, as one before it is, and they differ"
    ):
        read_outcomes(workflow, tmp_path)


def to_do(workflow, out, known: list[str]) -> list[str]:
    prints = fingerprints(workflow, "animals")
    return [name for name, state in states(workflow, out, prints, Ledger(out), known).items() if state != "done"]


def test_what_only_known_tests_need_is_not_made(workflow, tmp_path):
    a, b, c, d = TESTS
    every = list(workflow.steps)
    assert to_do(workflow, tmp_path, []) == every
    assert to_do(workflow, tmp_path, TESTS) == []
    # B grows from A, which is then made here, and tested here: its known test is of another training.
    assert to_do(workflow, tmp_path, [a, c, d]) == ["runs/A-seed0", a, "runs/B-seed0", b]
    assert to_do(workflow, tmp_path, [b, c, d]) == ["runs/A-seed0", a]
    assert to_do(workflow, tmp_path, [a, b]) == [name for name in every if "seed1" in name]


def test_a_test_that_was_made_here_is_made_again_where_its_file_is_gone(workflow, tmp_path):
    prints = fingerprints(workflow, "animals")
    Ledger(tmp_path).add("begun", workflow.steps[TESTS[0]], prints[TESTS[0]])
    assert to_do(workflow, tmp_path, TESTS) == ["runs/A-seed0", TESTS[0]]


def test_posteriors_that_are_here_serve_a_fusion_without_their_networks(tmp_path):
    workflow = make_workflow(parse(TEXT + '[[fuse]]\nname = "both"\nnetworks = ["A", "B"]\n', "a study"))
    fusions = [name for name in workflow.steps if name.startswith("fusions")]
    assert to_do(workflow, tmp_path, TESTS) == list(workflow.steps)
    for name in TESTS:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert to_do(workflow, tmp_path, TESTS) == fusions
    assert to_do(workflow, tmp_path, TESTS[1:]) == ["runs/A-seed0", TESTS[0], *fusions]


def test_a_known_test_gives_way_to_the_network_that_is_made_here(workflow, tmp_path):
    """Tests of a network are compared with each other: all are of one training."""
    a, *others = TESTS
    prints, run = fingerprints(workflow, "animals"), "runs/A-seed0"
    write_tests(workflow, tmp_path)
    write_outcomes(workflow, tmp_path, found(workflow, tmp_path))
    for name in ("study.jsonl", *TESTS):
        (tmp_path / name).unlink()
    Ledger(tmp_path).add("begun", workflow.steps[run], prints[run])
    assert to_do(workflow, tmp_path, TESTS) == [run, a]
    assert list(found(workflow, tmp_path)) == TESTS  # it has not learned yet
    Ledger(tmp_path).add("finished", workflow.steps[run], prints[run])
    assert list(found(workflow, tmp_path)) == others
    write_tests(workflow, tmp_path, names=[a])
    assert list(found(workflow, tmp_path)) == TESTS


def test_a_training_without_tests_is_made(tmp_path):
    text = TEXT.replace("[[test]]", '[[test]]\nnetworks = ["A"]')
    workflow = make_workflow(parse(text, "a study"))
    assert to_do(workflow, tmp_path, [TESTS[0], TESTS[2]]) == list(workflow.steps)
