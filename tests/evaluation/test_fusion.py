"""Fusion, ensembles, tests that were interrupted, and tests shared among processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import verydeep
from verydeep.api.new import new
from verydeep.chunks import run as chunk_loop
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.evaluation.fusion import fuse
from verydeep.evaluation.results import read_result, write_result
from verydeep.run_folder import read_model, write_model


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    paths = [tmp_path_factory.mktemp("models") / name for name in ("A", "C")]
    for seed, path in enumerate(paths):
        new(path.name, path, width=0.05, num_classes=10, window=32, seed=seed)
    return list(map(str, paths))


def evaluate(*words: str) -> None:
    main(["evaluate", *words, "--part", "val"])


def test_fusing_two_results_is_the_ensemble(models, tmp_path, capsys):
    files = [tmp_path / f"{number}.npz" for number in range(2)]
    both = ("--views", "both", "--grid", "2", "--scales", "36")
    for model, file in zip(models, files, strict=True):
        evaluate(model, "digits", *both, "--out", str(file))
    evaluate(*models, "digits", *both, "--out", str(tmp_path / "ensemble.npz"))
    capsys.readouterr()
    main(["fuse", *map(str, files), "--out", str(tmp_path / "fused.npz"), "--json"])
    printed = json.loads(capsys.readouterr().out)
    fused, ensemble = read_result(tmp_path / "fused.npz"), read_result(tmp_path / "ensemble.npz")
    np.testing.assert_allclose(fused.posteriors, ensemble.posteriors, atol=1e-12)
    assert printed["top1_error"] == ensemble.error_rates.top1_error
    assert fused.facts.members == ensemble.facts.members
    assert fused.facts.fused == tuple(map(str, files))
    main(["report", *map(str, files), str(tmp_path / "fused.npz"), "--out", "-"])
    table = capsys.readouterr().out
    assert "Table 6" in table
    assert "A ×0.05 + C ×0.05" in table


@pytest.fixture(scope="module")
def result(models, tmp_path_factory):
    file = tmp_path_factory.mktemp("results") / "A.npz"
    evaluate(models[0], "digits", "--out", str(file))
    return read_result(file)


def test_other_orders_are_matched_by_name(result):
    random = np.random.default_rng(0)
    images, classes = random.permutation(len(result.names)), random.permutation(10)
    shuffled = replace(
        result,
        facts=replace(result.facts, class_names=tuple(result.facts.class_names[k] for k in classes)),
        names=tuple(result.names[k] for k in images),
        labels=np.argsort(classes)[result.labels[images]],
        posteriors=result.posteriors[images][:, classes],
    )
    fused = fuse([result, shuffled], [Path("a"), Path("b")])
    assert (fused.posteriors == result.posteriors).all()
    assert (fused.labels == result.labels).all()
    assert shuffled.error_rates.top1_error == fused.error_rates.top1_error


def test_names_match_in_both_forms_of_unicode(result):
    composed, apart = (
        replace(result, names=(unicodedata.normalize(form, "é.png"), *result.names[1:])) for form in ("NFC", "NFD")
    )
    assert (fuse([composed, apart], [Path("a"), Path("b")]).posteriors == result.posteriors).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: replace(r, names=("other", *r.names[1:])), "not the same ones .such as 'digits/"),
        (
            lambda r: replace(r, names=(r.names[1], *r.names[1:])),
            "b.npz has two images called 'digits/.*rename one",
        ),
        (lambda r: replace(r, labels=(r.labels + 1) % 10), "other labels for 359 images"),
        (
            lambda r: replace(r, facts=replace(r.facts, class_names=("zero", *r.facts.class_names[1:]))),
            "b.npz has 10 classes .*such as '0'",
        ),
        (
            lambda r: replace(r, names=r.names[1:], labels=r.labels[1:], posteriors=r.posteriors[1:]),
            "has 358 images",
        ),
    ],
)
def test_what_does_not_match_is_refused(result, change, words):
    with pytest.raises(UsageError, match=words):
        fuse([result, change(result)], [Path("a.npz"), Path("b.npz")])


def test_results_are_added_one_after_the_other(result):
    """The fusion of seven takes no more memory than that of two or three."""
    random = np.random.default_rng(0)
    several = list(random.dirichlet(np.ones(10), size=(7, len(result.names))))
    alive = []

    def read():
        for posteriors in several:
            assert sum(array() is not None for array in alive) < 3
            one = replace(result, posteriors=posteriors.copy())
            alive.append(weakref.ref(one.posteriors))
            yield one
            del one

    fused = fuse(read(), [Path(f"{number}.npz") for number in range(7)])
    np.testing.assert_array_max_ulp(fused.posteriors, np.mean(several, axis=0), maxulp=1)


def test_a_fusion_does_not_overwrite_its_inputs(result, tmp_path):
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file in files:
        write_result(file, result)
    (tmp_path / "link.npz").symlink_to(files[1])
    before = [file.read_bytes() for file in files]
    for out in (*files, tmp_path / "link.npz", tmp_path / "." / "a.npz"):
        with pytest.raises(UsageError, match="is one of the results and would be overwritten"):
            verydeep.fuse(files, out=out)
    assert [file.read_bytes() for file in files] == before


def test_networks_stand_in_the_order_in_which_they_appear(result):
    members = tuple(replace(result.facts.first, model=model, grid=grid) for grid, model in enumerate("ABA", 1))
    networks = replace(result.facts, members=members).networks
    assert [(network.model, network.grid) for network in networks] == [("A", 1), ("B", 2)]


def test_an_empty_name_is_no_result_file(models):
    for call in (
        lambda: verydeep.evaluate(models[0], "digits", out=""),
        lambda: verydeep.fuse(["a.npz", "b.npz"], out=""),
    ):
        with pytest.raises(UsageError, match="`out` is ''; it must be a path"):
            call()


def test_networks_of_other_classes_are_no_ensemble(models, tmp_path, capsys):
    config, tensors = read_model(Path(models[1]))
    write_model(tmp_path / "other", replace(config, class_names=tuple("0123456798")), tensors)
    with pytest.raises(SystemExit) as ended:
        evaluate(*models, str(tmp_path / "other"), "digits")
    assert ended.value.code == 2
    assert "networks have other classes" in capsys.readouterr().err


def test_an_interrupted_test_goes_on(models, tmp_path, monkeypatch, capsys):
    words = (models[0], "digits", "--batch-size", "50", "--out")
    evaluate(*words, str(tmp_path / "whole.npz"))
    decode, scored = chunk_loop._decoded, []

    def stop_after_three(*arguments):
        for number, chunk in enumerate(decode(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(chunk_loop, "_decoded", stop_after_three)
    with pytest.raises(SystemExit):
        evaluate(*words, str(tmp_path / "broken.npz"))
    kept = (
        f"verydeep: interrupted; what is finished is kept in {tmp_path / 'broken.npz.parts'}; repeat the command"
    )
    assert kept in capsys.readouterr().err
    assert not (tmp_path / "broken.npz").exists()
    assert len(list((tmp_path / "broken.npz.parts").glob("*.npy"))) == 3
    next((tmp_path / "broken.npz.parts").glob("000001-*.npy")).write_bytes(b"cut")

    def count(*arguments):
        for group, outcomes in decode(*arguments):
            scored.append(group.chunk.number)
            yield group, outcomes

    monkeypatch.setattr(chunk_loop, "_decoded", count)
    evaluate(*words, str(tmp_path / "broken.npz"))
    assert scored == [1, 3, 4, 5, 6, 7]
    whole, again = read_result(tmp_path / "whole.npz"), read_result(tmp_path / "broken.npz")
    assert (whole.posteriors == again.posteriors).all()
    assert not (tmp_path / "broken.npz.parts").exists()


def test_what_another_test_left_is_not_mixed_in(models, tmp_path, capsys):
    file = tmp_path / "result.npz"
    folder = tmp_path / "result.npz.parts"
    folder.mkdir()
    (folder / "test.json").write_text("{}")
    (folder / "000000-0123456789abcdef.npy").write_bytes(b"a finished chunk")
    with pytest.raises(SystemExit) as ended:
        evaluate(models[0], "digits", "--out", str(file))
    assert ended.value.code == 2
    assert "another, interrupted test" in capsys.readouterr().err


def test_a_test_resumes_only_with_the_same_preprocessing_engine_and_device(models, tmp_path, monkeypatch, capsys):
    config, tensors = read_model(Path(models[0]))
    model, file = tmp_path / "model", tmp_path / "result.npz"
    write_model(model, config, tensors)
    words = (str(model), "digits", "--batch-size", "50", "--out", str(file))
    decode = chunk_loop._decoded

    def stop_after_one(*arguments):
        outcomes = decode(*arguments)
        yield next(outcomes)
        next(outcomes)
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(chunk_loop, "_decoded", stop_after_one)
        with pytest.raises(SystemExit):
            evaluate(*words)
    (part,) = (tmp_path / "result.npz.parts").glob("*.npy")

    def refused(*more: str) -> bool:
        with pytest.raises(SystemExit):
            evaluate(*words, *more)
        return "another, interrupted test" in capsys.readouterr().err

    assert refused("--engine", "native")
    assert refused("--device", "cpu")
    shown = (model / "config.json").read_text()
    other = json.loads(shown)
    other["preprocessing"]["mean"] = [1.0, 2.0, 3.0]
    (model / "config.json").write_text(json.dumps(other))
    assert refused()
    key_file = part.with_name("test.json")
    key = json.loads(key_file.read_text())
    new_names = ("preprocessing", "engine", "device")
    key_file.write_text(json.dumps({name: value for name, value in key.items() if name not in new_names}))
    np.save(part, np.full_like(np.load(part), 0.25))
    evaluate(*words)  # an earlier version's parts did not say it: they are taken
    assert (read_result(file).posteriors == 0.25).all(1).any()


def torchrun(processes: int, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [*command, "-m", "verydeep", "evaluate", *words, "--part", "val"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_give_the_same_bits_as_one(models, tmp_path, processes):
    """On 359 images, a prime number: no share is even."""
    words = (models[0], "digits", "--batch-size", "20", "--json", "--out")
    alone = subprocess.run(
        [sys.executable, "-m", "verydeep", "evaluate", *words, str(tmp_path / "alone.npz"), "--part", "val"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    out, err = torchrun(processes, *words, str(tmp_path / "together.npz")).communicate(timeout=120)
    together, one = json.loads(out), json.loads(alone.stdout)
    assert together["num_images"] == 359, err
    assert together["confusion"] == one["confusion"]
    first, second = read_result(tmp_path / "alone.npz"), read_result(tmp_path / "together.npz")
    assert first.names == second.names
    assert (first.posteriors == second.posteriors).all()
    assert not (tmp_path / "together.npz.parts").exists()


@pytest.mark.slow
@pytest.mark.heavy
def test_a_process_that_is_killed_is_named_and_the_rest_is_done_next_time(models, tmp_path):
    file = tmp_path / "result.npz"
    words = (models[1], "digits", "--batch-size", "1", "--views", "crops", "--out", str(file))
    parts = tmp_path / "result.npz.parts"
    run = torchrun(2, *words)
    while not list(parts.glob("*.npy")):
        time.sleep(0.02)
        assert run.poll() is None
    workers = subprocess.run(
        ["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "exitcode" in err
    assert "-9" in err
    assert workers[-1] in err
    assert not file.exists()
    assert 0 < len(list(parts.glob("*.npy"))) < 359
    out, _ = torchrun(2, *words, "--json").communicate(timeout=120)
    assert json.loads(out)["num_images"] == 359
    assert np.isfinite(read_result(file).posteriors).all()
