"""Files that an earlier version left on people's disks: they open, resume and report as they did.

`old_files/README.md` says what they are and how they were made. Everything goes through the command line, so that
these tests outlive the modules.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from verydeep.cli import main

OLD_FILES = Path(__file__).parent / "old_files"
CHANGED = (
    1_767_225_600  # when every old file was last changed, as parts of a test note it and no checkout keeps it
)

# How this version spells each command: the one place to change when a command or an option is renamed.
COMMANDS = {
    "resume": "train {data} {run} --resume",
    "fine-tune": "train {data} {run} --from {model} --recipe digits --epochs 1",
    "predict": "predict {model} {images} --top 10 --json",
    "test": "evaluate {models} {data} --out {out}",
    "test all": "evaluate {models} {data} --part all --batch-size 4 --out {out}",
    "fuse": "fuse {results} --out {out}",
    "extract": "extract {model} {images} --layers {layers} --out {out}",
    "report": "report {results} --json",
    "report page": "report {results} --page {out} --models runs/finished --data pictures",
    "watch": "watch {runs} --json",
    "watch image": "watch {runs} --out {out}",
    "study": "study {file} --out {out} --data {data}",
    "study report": "study --out {out} --report --json",
    "convert": "convert {source} {run}",
    "shard": "shard {data} --out {out} --images-per-shard 10",
}

Command = Callable[..., str]
Archive = dict[str, np.ndarray]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A copy of the old files, with the times of change that they had; commands run in it."""
    desk = tmp_path / "desk"
    shutil.copytree(OLD_FILES, desk)
    for path in desk.rglob("*"):
        os.utime(path, (CHANGED, CHANGED))
    monkeypatch.chdir(desk)
    monkeypatch.setenv("VERYDEEP_THREADS", "1")
    return desk


@pytest.fixture
def verydeep(here, capsys) -> Command:
    """Run a command of `COMMANDS`; give what it prints."""

    def run(command: str, **words: str) -> str:
        capsys.readouterr()
        main(COMMANDS[command].format(**words).split())
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What the earlier version said."""
    return with_current_names(json.loads((OLD_FILES / "expected" / "answers.json").read_text(encoding="utf-8")))


def with_current_names(answer: Any) -> Any:
    """An answer of the earlier version, with this version's names of its fields."""
    renamed = {"num_pictures": "num_images", "pictures_per_second": "images_per_second"}
    if isinstance(answer, list):
        return [with_current_names(one) for one in answer]
    if isinstance(answer, dict):
        return {renamed.get(name, name): with_current_names(value) for name, value in answer.items()}
    return answer


def arrays(path: str | Path) -> Archive:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def steps_in_journal(run: str) -> list[int]:
    """Numbers of the steps that a run's journal has."""
    records = map(json.loads, (Path(run) / "journal.jsonl").read_text().splitlines())
    return [record["step"] for record in records if "rate" in record]


def assert_same_probabilities(seen: Mapping[str, float], wanted: Mapping[str, float]) -> None:
    assert seen.keys() == wanted.keys()
    assert seen == pytest.approx(dict(wanted), abs=1e-5)


def predictions(verydeep: Command, model: str, images: str) -> dict[str, dict[str, float]]:
    """Probabilities of classes, by image."""
    lines = map(json.loads, verydeep("predict", model=model, images=images).splitlines())
    return {line["image"]: {one["class"]: one["probability"] for one in line["predictions"]} for line in lines}


RUNS = (
    "batch_norm",
    "caffe_lrn",
    "finished",
    "from",
    "grown",
    "hidden",
    "interrupted",
    "jittered",
    "lrn",
    "oldest",
)


@pytest.mark.parametrize("model", [*(f"runs/{name}" for name in RUNS), "exports/hub", "cifar10"])
def test_a_model_gives_the_probabilities_that_it_gave(model, verydeep, answers):
    wanted = answers["predictions"][model]
    seen = predictions(verydeep, model, " ".join(wanted))
    assert seen.keys() == wanted.keys()
    for image in wanted:
        assert_same_probabilities(seen[image], wanted[image])


def test_a_classifier_beside_a_model_answers(verydeep, answers):
    wanted = answers["classifier"]
    seen = predictions(verydeep, "runs/classifier", " ".join(wanted))
    for image in wanted:
        assert_same_probabilities(seen[image], wanted[image])
    network = answers["predictions"]["runs/lrn"]
    assert wanted["pictures/sky/7.png"]["sky"] > network["pictures/sky/7.png"]["sky"] + 0.1


@pytest.mark.parametrize("data", ["pictures", "shards/whole"])
def test_an_interrupted_run_ends_as_the_unbroken_one(data, verydeep):
    """As the earlier version ended it, whether its data is the folder or, packed since, the shards of that."""
    run = Path("runs/interrupted")
    before = load_file(run / "last.safetensors")
    assert steps_in_journal("runs/interrupted") == list(range(7))
    verydeep("resume", data=data, run=str(run))
    assert steps_in_journal("runs/interrupted") == list(range(12))
    wanted, seen = load_file("expected/unbroken.safetensors"), load_file(run / "last.safetensors")
    assert seen.keys() == wanted.keys()
    moved = max(np.abs(wanted[name] - before[name]).max() for name in wanted)
    for name in wanted:
        # Other processors sum in another order. A step without momentum, say, would be seen.
        np.testing.assert_allclose(seen[name], wanted[name], rtol=0, atol=1e-3 * moved, err_msg=name)


def test_an_interrupted_run_resumes_from_the_state_before(verydeep):
    run = Path("runs/interrupted")
    (run / "state.pt").write_bytes((run / "state.pt").read_bytes()[:1000])
    verydeep("resume", data="pictures", run=str(run))
    wanted, seen = load_file("expected/unbroken.safetensors"), load_file(run / "last.safetensors")
    for name in wanted:
        np.testing.assert_allclose(seen[name], wanted[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("model", ["oldest", "batch_norm", "hidden"])
def test_a_training_starts_from_a_model(model, verydeep):
    verydeep("fine-tune", data="pictures", run="runs/new", model=f"runs/{model}")
    old, new = (json.loads(Path(run, "config.json").read_text()) for run in (f"runs/{model}", "runs/new"))
    assert new["architecture"] == old["architecture"]
    assert new["preprocessing"] == old["preprocessing"]


def test_results_are_reported_as_they_were(verydeep, answers):
    names = ("dense", "crops", "ensemble", "fused")
    results = " ".join(f"results/{name}.npz" for name in names)
    wanted = answers["report"]
    for row in wanted["rows"]:  # what the tests of a row do not share is null now; it was the first one's
        first, *others = row["members"]
        row |= {name: None for name, value in first.items() if any(one[name] != value for one in others)}
    assert json.loads(verydeep("report", results=results)) == wanted
    verydeep("report page", results=results, out="page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 1
    assert "runs/finished" in page


@pytest.mark.parametrize(
    ("name", "models", "options"),
    [
        ("dense", "runs/finished", ""),
        ("crops", "runs/finished", " --views crops --grid 2 --scales 36 40"),
        ("ensemble", "runs/finished runs/grown", " --scales 32 40"),
    ],
)
def test_a_test_gives_the_result_that_it_gave(name, models, options, verydeep):
    verydeep("test", models=models, data=f"pictures{options}", out="new.npz")
    assert_same_result("new.npz", f"results/{name}.npz")


def test_a_fusion_gives_the_result_that_it_gave(verydeep):
    verydeep("fuse", results="results/dense.npz results/crops.npz", out="new.npz")
    assert_same_result("new.npz", "results/fused.npz")


def assert_same_result(seen: str, wanted: str) -> None:
    new, old = arrays(seen), arrays(wanted)
    assert new.keys() == old.keys()
    assert list(new["names"]) == list(old["names"])
    assert list(new["labels"]) == list(old["labels"])
    np.testing.assert_allclose(new["posteriors"], old["posteriors"], atol=1e-5)
    new_facts, old_facts = (json.loads(str(archive["facts"])) for archive in (new, old))
    assert {**new_facts, "seconds": 0} == {**old_facts, "seconds": 0}


def test_an_interrupted_test_keeps_what_it_has(verydeep):
    """The two chunks that are there are taken as they are: a mark in one of them comes out again."""
    folder = Path("results/killed.npz.parts")
    first, second = sorted(folder.glob("*.npy"))
    marked = np.full_like(np.load(first), 0.25)
    np.save(first, marked)
    os.utime(first, (CHANGED, CHANGED))
    kept = np.load(second)
    verydeep("test all", models="runs/finished", data="pictures", out="results/killed.npz")
    seen, wanted = arrays("results/killed.npz"), arrays("results/all.npz")
    assert list(seen["names"]) == list(wanted["names"])
    is_marked = (seen["posteriors"] == 0.25).all(1)
    assert is_marked.sum() == len(marked)
    assert all((seen["posteriors"] == row).all(1).any() for row in kept)
    np.testing.assert_allclose(seen["posteriors"][~is_marked], wanted["posteriors"][~is_marked], atol=1e-5)
    assert not folder.exists()


EXTRACTED = "conv2_1 relu5_2 fc7"


@pytest.mark.parametrize(
    ("name", "layers"), [("mean.npz", EXTRACTED), ("gram.npz", "relu3_1 --pool gram"), ("mean.parquet", EXTRACTED)]
)
def test_features_are_the_same(name, layers, verydeep):
    verydeep("extract", model="runs/batch_norm", images="pictures", layers=layers, out=name)
    seen, wanted = columns(Path(name)), columns(Path("features", name))
    assert seen.keys() == wanted.keys()
    for column in wanted:
        if wanted[column].dtype.kind == "f":
            size = np.abs(wanted[column]).max()
            np.testing.assert_allclose(seen[column], wanted[column], rtol=0, atol=1e-5 * size, err_msg=column)
        else:
            assert (seen[column] == wanted[column]).all()


def columns(path: Path) -> Archive:
    """A file of features as arrays, by name."""
    if path.suffix == ".npz":
        return arrays(path)
    table = pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict()
    return {name: np.array(column) for name, column in table.items()}


def test_an_interrupted_extraction_keeps_what_it_has(verydeep):
    (part,) = Path("features/killed.npz.parts").glob("*.npz")
    chunk = arrays(part)
    chunk["relu5_2"][7] = 123
    np.savez(part, **chunk)
    many = " ".join(["pictures"] * 9)
    verydeep("extract", model="runs/batch_norm", images=many, layers="relu5_2", out="features/killed.npz")
    seen, once = arrays("features/killed.npz"), arrays("features/mean.npz")
    assert len(seen["names"]) == 9 * 32
    assert (seen["relu5_2"][7] == 123).all()
    wanted = np.tile(once["relu5_2"], (9, 1))
    wanted[7] = 123
    np.testing.assert_allclose(seen["relu5_2"], wanted, atol=1e-5 * np.abs(once["relu5_2"]).max())
    assert not part.parent.exists()


def test_runs_are_watched(verydeep, answers):
    wanted = answers["watched"]["runs"]
    seen = json.loads(verydeep("watch", runs=" ".join(run["run"] for run in wanted)))["runs"]
    changing = {"quiet": None}  # seconds since the last step
    for run, before in zip(seen, wanted, strict=True):
        resume = run.pop("resume")  # what was called stalled is known to be interrupted now, with a way on
        if before["state"] == "stalled":
            assert run["state"] == "interrupted"
            assert resume.endswith(f"{run['run']} --resume")
            run["state"] = "stalled"
        assert {**run, **changing} == {**before, **changing}
    assert [run["state"] for run in seen] == ["finished", "stalled", "finished"]


def test_runs_are_drawn(verydeep):
    verydeep("watch image", runs="runs/finished runs/oldest runs/jittered", out="curves.png")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_complete_study_is_reported_again(verydeep, answers):
    study = Path("studies/complete")
    made = ("tables.csv", "study.jsonl")
    before = {name: (study / name).read_text(encoding="utf-8") for name in made}
    wanted, seen = answers["study"], json.loads(verydeep("study report", out=str(study)))
    assert verdicts(seen["claims"]) == verdicts(wanted["claims"])
    assert {name: seen[name] for name in wanted if name != "claims"} == without_claims(wanted)
    assert not seen["failed"]
    assert {name: (study / name).read_text(encoding="utf-8") for name in made} == before
    assert "A tiny study" in (study / "index.html").read_text(encoding="utf-8")


def verdicts(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claims without the words for what a study lacks, which later versions choose better, and what was added.

    Claim 6 is left out: later versions do not judge protocols by a network that has not learned, as this one's.
    """
    return [
        {name: value for name, value in claim.items() if name not in ("missing", "statements", "deciding_seeds")}
        | {"statements": [statement | {"interval_over": ["images"]} for statement in claim["statements"]]}
        for claim in claims
        if claim["claim"] != 6
    ]


def without_claims(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name != "claims"}


def steps(study: Path, event: str) -> list[str]:
    """Steps of a study that have begun or finished, in order."""
    records = map(json.loads, (study / "study.jsonl").read_text().splitlines())
    return [record["step"] for record in records if record["event"] == event]


def test_a_complete_study_runs_nothing_again(verydeep):
    study = Path("studies/complete")
    before = (study / "study.jsonl").read_text()
    verydeep("study", file="studies/tiny.toml", out=str(study), data="pictures")
    assert (study / "study.jsonl").read_text() == before


@pytest.mark.slow
def test_a_study_that_was_killed_does_what_is_left(verydeep):
    """Its training and its first test are not done again."""
    study, complete = Path("studies/half"), Path("studies/complete")
    begun = steps(study, "begun")
    assert steps(study, "finished") == begun[:-1]
    verydeep("study", file="studies/tiny.toml", out=str(study), data="pictures")
    left = [begun[-1], "tests/A-seed0.both.38.npz"]
    assert steps(study, "finished") == [*begun[:-1], *left]
    assert steps(study, "begun") == [*begun, *left]
    for name in ("dense", "crops", "both"):
        seen, wanted = (arrays(out / f"tests/A-seed0.{name}.38.npz") for out in (study, complete))
        np.testing.assert_allclose(seen["posteriors"], wanted["posteriors"], atol=1e-5)
    seen, wanted = (json.loads((out / "claims.json").read_text(encoding="utf-8")) for out in (study, complete))
    assert verdicts(seen) == verdicts(with_current_names(wanted))


def test_shards_hold_the_same_images(verydeep):
    for data in ("pictures", "shards/whole"):
        name = f"{Path(data).name}.npz"
        verydeep("extract", model="runs/batch_norm", images=data, layers="conv1_1 --pool none --crop", out=name)
    folder, shards = arrays("pictures.npz"), arrays("whole.npz")
    place = {Path(name).parts[-2:]: number for number, name in enumerate(folder["names"])}
    order = [place[Path(name).parts[-2:]] for name in shards["names"]]
    assert sorted(order) == list(range(32))
    np.testing.assert_array_equal(shards["conv1_1"], folder["conv1_1"][order])


@pytest.mark.parametrize("shards", ["whole", "smaller"])
def test_shards_tell_the_images_that_a_model_was_trained_on(shards, verydeep):
    verydeep("test", models="runs/finished", data=f"shards/{shards}", out="new.npz")
    seen, wanted = arrays("new.npz"), arrays("results/dense.npz")
    assert list(seen["names"]) == list(wanted["names"])
    assert json.loads(str(seen["facts"]))["num_trained_on"] == 25
    if shards == "whole":
        np.testing.assert_allclose(seen["posteriors"], wanted["posteriors"], atol=1e-5)


def test_packing_makes_the_same_shards(verydeep):
    verydeep("shard", data="pictures", out="new")
    old = Path("shards/whole")
    assert {path.relative_to("new") for path in Path("new").rglob("*")} == {
        path.relative_to(old) for path in old.rglob("*")
    }
    for name in ("hashes", "labels", "names"):
        np.testing.assert_array_equal(np.load(f"new/index/{name}.npy"), np.load(old / f"index/{name}.npy"))
    for path in old.glob("*.tar"):
        assert Path("new", path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "told"), [("jittered", " --preprocessing torchvision --class-names numbers"), ("pixels", "")]
)
def test_an_exported_file_is_read_back(name, told, verydeep):
    verydeep("convert", source=f"exports/{name}.onnx{told}", run="runs/new")
    seen, wanted = (load_file(f"runs/{run}/model.safetensors") for run in ("new", "jittered"))
    assert seen.keys() == wanted.keys()
    for tensor in wanted:
        np.testing.assert_array_equal(seen[tensor], wanted[tensor])


def test_an_exported_file_gives_the_probabilities_of_its_model(verydeep):
    onnxruntime = pytest.importorskip("onnxruntime")
    # Of the size at which the model is tested, so that nothing is rescaled; this run knows no mirror images.
    pixels = np.random.default_rng(0).integers(0, 256, (39, 50, 3), np.uint8)
    Image.fromarray(pixels).save("image.png")
    session = onnxruntime.InferenceSession("exports/pixels.onnx")
    (posterior,) = session.run(["posterior"], {session.get_inputs()[0].name: pixels[None]})[0]
    names = json.loads(Path("runs/jittered/config.json").read_text())["class_names"]
    seen = predictions(verydeep, "runs/jittered", "image.png")["image.png"]
    assert_same_probabilities(seen, dict(zip(names, posterior.tolist(), strict=True)))
