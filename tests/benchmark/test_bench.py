"""Engines side by side: what is measured, that they take turns, and what happens when one is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.accounting import account, multiply_adds
from verydeep.benchmark.engines import ENGINES, choose
from verydeep.benchmark.measure import Measurements, Process, Processes, Timing
from verydeep.benchmark.reference import class_scores
from verydeep.benchmark.runners import plain_network
from verydeep.benchmark.table import text_table, three_digits
from verydeep.benchmark.task import Task, batch_cases, cut, dense_cases, random_model
from verydeep.cli import main
from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import UsageError
from verydeep.images.color import Preprocessing
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.run_folder import write_model

MEASURED = ("verydeep", "verydeep-torch", "torch", "onnxruntime")


def in_torch(architecture, tensors) -> VGG:
    network = VGG(architecture)
    network.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()})
    return network.eval()


def trained_like(architecture: Architecture) -> dict[str, np.ndarray]:
    """Random weights whose biases and statistics are not 0 and 1, as after training."""
    random = np.random.default_rng(1)
    tensors = random_model(architecture)[1]
    for tensor in tensors.values():
        if tensor.ndim == 1:
            tensor += random.random(tensor.shape, np.float32) / 4
    return tensors


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
@torch.no_grad()
def test_float64_in_numpy_is_torchs(name, batch_norm, photographs):
    architecture = Architecture(name, 5, 0.05, 32, batch_norm)
    tensors = trained_like(architecture)
    preprocessing = Preprocessing(deviation=(58.0, 57.0, 56.0), channels="BGR" if name == "C" else "RGB")
    pixels = np.stack([photographs[0][:75, :101], photographs[1][100:175, 60:161]])
    network = in_torch(architecture, tensors).double()
    x = (torch.from_numpy(pixels) - torch.tensor(preprocessing.mean, dtype=torch.float64)) / torch.tensor(
        [58.0, 57.0, 56.0]
    )
    x = x.flip(-1) if preprocessing.channels == "BGR" else x
    expected = network(x.permute(0, 3, 1, 2)).numpy()
    found = class_scores(architecture, tensors, preprocessing, pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", CONFIGURATIONS)
@torch.no_grad()
def test_the_plain_network_is_the_network(name, photographs):
    architecture = Architecture(name, 5, 0.05, 64, batch_norm=name == "B")
    tensors = trained_like(architecture)
    preprocessing = Preprocessing(deviation=(58.0,) * 3, channels="BGR")
    pixels = photographs[0][None, :64, :64]
    images = torch.from_numpy(preprocessing.apply(pixels))
    ours = Preprocess(preprocessing)(torch.from_numpy(pixels))
    torch.testing.assert_close(images, ours)
    network = in_torch(architecture, tensors)
    linear = plain_network(architecture, tensors, dense=False)
    torch.testing.assert_close(linear(images), network(images))
    larger = torch.from_numpy(preprocessing.apply(photographs[0][None, :100, :130]))
    dense = plain_network(architecture, tensors, dense=True)
    torch.testing.assert_close(dense(larger), network.score_map(larger))


@given(st.sampled_from(list(CONFIGURATIONS)), st.integers(32, 300), st.integers(32, 300))
@settings(max_examples=30)
def test_multiply_adds_are_those_that_torch_counts(name, height, width):
    from torch.utils.flop_counter import FlopCounterMode

    architecture = Architecture(name, 7, 0.05, 32)
    network = VGG(architecture).to("meta")
    # LRN is not counted; here it is a convolution.
    with (
        pytest.MonkeyPatch.context() as patch,
        FlopCounterMode(display=False) as counter,
    ):
        patch.setattr("verydeep.network.forward.local_response_norm", lambda x, _: x)
        network.score_map(torch.empty(1, 3, height, width, device="meta"))
    assert 2 * multiply_adds(architecture, height, width) == counter.get_total_flops()
    assert multiply_adds(architecture, 32, 32) == sum(row.multiply_adds for row in account(architecture))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(1, 50), st.integers(1, 5))
def test_pieces_have_their_size_and_the_first_ones_do_not_depend_on_how_many(height, width, down, across, count):
    images = [Image.new("RGB", (across, down), "red"), Image.new("RGB", (down, across), "blue")]
    pieces = cut(images, count, height, width)
    assert pieces.shape == (count, height, width, 3)
    assert (pieces[0] == (255, 0, 0)).all()
    assert (cut(images, 1, height, width) == pieces[:1]).all()


def test_dense_cases_show_each_image_with_its_mirror_image_in_its_own_shape(photographs):
    architecture = Architecture("A", 5, 0.05, 32)
    images = [Image.fromarray(photographs[0]), Image.fromarray(photographs[1][:, :300])]
    cases, pixels = dense_cases(architecture, images, (64, 96))
    assert [case.name for case in cases] == ["dense, Q = 64", "dense, Q = 96"]
    assert cases[0].batches == ((2, 64, 95, 3), (2, 91, 64, 3))
    assert cases[0].num_images == 2
    assert cases[0].multiply_adds == 2 * (
        multiply_adds(architecture, 64, 95) + multiply_adds(architecture, 91, 64)
    )
    assert (pixels[1][0][0] == pixels[1][0][1][:, ::-1]).all()


@pytest.fixture(scope="module")
def task(tmp_path_factory, photographs) -> Task:
    folder = tmp_path_factory.mktemp("task")
    architecture = Architecture("A", 10, 0.1, 32)
    write_model(folder / "model", *random_model(architecture))
    cases, pixels = batch_cases(architecture, [Image.fromarray(photographs[0])], (1, 3), 32, 32)
    task = Task(folder, folder / "model", 1, False, cases)
    task.write_pixels(pixels)
    return task


def state(process: Process) -> str:
    """T where it is stopped, which a signal does at its next moment."""
    for _ in range(100):
        found = Path(f"/proc/{process._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if found == "T":
            break
        time.sleep(0.001)
    return found


@pytest.mark.heavy
def test_engines_take_turns_and_those_that_fail_stop_no_other(task, monkeypatch):
    """Before each piece of work all are stopped. One is killed before its second turn, one has nothing to read."""
    monkeypatch.setattr(Processes, "_prepare", lambda self: None)
    seen: list[str] = []
    pids: list[int] = []
    engines = choose(MEASURED, ())

    def advance(count: int) -> None:
        timings = bench.measured.timings.get("torch")
        if len(bench.measured.opening) < 3 or len(pids) == 3:
            return
        seen.extend(state(process) for process in bench._running.values())
        if timings and len(timings[0].seconds) == 1:
            pids.extend(process._process.pid for process in bench._running.values())
            os.kill(bench._running["torch"]._process.pid, signal.SIGKILL)

    with Processes(task, engines, lambda count: advance(count)) as bench:
        measured = bench.measure(3, 0.01)
    assert len(seen) >= 3 * 8  # two scores and two turns of each
    assert set(seen) == {"T"}
    assert measured.failed["torch"] == "ended by signal 9"
    assert re.match(r"NoSuchFile: .*network\.onnx", measured.failed["onnxruntime"])
    assert len(measured.failed) == 2
    assert set(measured.timings) == {"verydeep", "verydeep-torch"}
    for timings in measured.timings.values():
        assert [len(case.seconds) for case in timings] == [3, 3]
        assert all(0 < case.error < 1e-5 for case in timings)
        assert all(20e6 < case.peak_memory < 4e9 for case in timings)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_ratios_are_taken_within_each_round():
    """The machine is three times as slow in the last round: the ratio of the medians would be 1."""
    one, other = [Timing([1.0, 1.0, 4.0])], [Timing([2.0, 2.0, 2.0])]
    assert Measurements({"ours": one, "theirs": other}).ratio("ours", "theirs", 0) == 2
    one, other = [Timing([1.0, 3.0, 3.0])], [Timing([2.0, 6.0, 1.5])]
    assert Measurements({"ours": one, "theirs": other}).ratio("ours", "theirs", 0) == 2


@pytest.mark.parametrize(
    ("number", "text"), [(0.01234, "0.0123"), (2, "2.00"), (54.53, "54.5"), (999.4, "999"), (1234.5, "1,234")]
)
def test_three_digits(number, text):
    assert three_digits(number) == text


SMALL = "--config A --width 0.1 --num-classes 10 --window 32 --rounds 1 --seconds 0 --threads 1"


def test_json_a_table_and_a_chart(tmp_path, capsys):
    chart = tmp_path / "chart.svg"
    words = [*SMALL.split(), "--batch-sizes", "2", "--engines", "torch", "verydeep", "--chart", str(chart)]
    main(["bench", *words, "--json"])
    out = json.loads(capsys.readouterr().out)
    assert out["network"] == "A at width 0.1, 32x32"
    assert out["threads"] == 1
    assert out["base"] == "torch"
    assert {row["engine"] for row in out["rows"]} == {"torch", "verydeep"}
    for row in out["rows"]:
        assert row["case"] == "batch 2"
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"][0])
        assert row["error"] < 1e-5
        operations = row["images_per_second"] * 2 * multiply_adds(Architecture("A", 10, 0.1, 32), 32, 32)
        assert row["share_of_peak"] == pytest.approx(operations / out["peak"]["float32"])
        assert (row["ratio"] == 1) == (row["engine"] == "torch")
    words = "".join(ElementTree.parse(chart).getroot().itertext())
    assert "verydeep" in words
    assert "batch 2" in words


def test_a_trained_models_table_and_what_is_not_installed(task, tmp_path, capsys, monkeypatch):
    """Whole images of a folder, in shapes of their own."""
    from verydeep.benchmark import engines

    monkeypatch.setattr(engines, "find_spec", lambda module: None if module == "openvino" else module)
    for number, size in enumerate([(60, 40), (44, 70)]):
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / f"{number}.png")
    words = "--dense 32 40 --rounds 1 --seconds 0 --engines verydeep openvino"
    main(["bench", str(task.run), *words.split(), "--images", str(tmp_path), "--out", str(tmp_path / "table.md")])
    err = capsys.readouterr().err
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["dense, Q = 32", "dense, Q = 40"]
    assert lines[5].startswith("× verydeep: how many times as fast as verydeep")
    assert f"weights: {task.run}; images: 2 images of {tmp_path}; peak: float32 " in err
    assert "openvino: not measured: openvino is not installed" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--engines torhc", "no engine is called 'torhc'.*did you mean torch"),
        (f"--exclude {' '.join(ENGINES)}", "no engine left"),
        (
            "--engines torch --base openvino",
            "--base openvino is not among the engines to measure; there are torch",
        ),
        ("--engines torch --base fast", "--base fast is not an engine; there are torch"),
        ("--rounds 0", "--rounds is 0; it must be at least 1"),
        ("--threads 0", "--threads is 0"),
        ("--batch-sizes 0", "--batch-sizes must be different numbers"),
        ("--batch-sizes 2 2", "--batch-sizes must be different numbers"),
        ("--dense 256 --size 224 224", "--dense shows one image at a time"),
        ("--dense 256 --batch-sizes 1", "--dense shows one image at a time"),
        ("--size 100 224", "image is 224x100 pixels"),
        ("--out table.csv", "--out table.csv has to end with .md"),
        ("--markdown", "--markdown is called --out TABLE.md now"),
        ("--pictures photos", "--pictures is called --images now"),
        ("--chart chart.pdf", "has to end with .png or .svg"),
        ("--config F", "no configuration is called 'F'"),
        ("--window 100", "--window is 100"),
        ("--dense 0", "--dense 0 is smaller than the network's window"),
        ("--seconds nan", "--seconds is nan; it must be 0 or more"),
        ("--seconds -1", "--seconds is -1; it must be 0 or more"),
        ("cifar10", "cifar10 is a model, and has its own --width; leave it out"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--width", "0.1", *words.split()])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err


def test_without_names_the_usual_engines_are_measured_and_all_on_demand():
    assert [engine.name for engine in choose((), ())] == ["verydeep", "torch", "onnxruntime", "openvino"]
    assert choose(("all",), ()) == list(ENGINES.values())
    assert "torch" not in [engine.name for engine in choose(("all",), ("torch",))]
    with pytest.raises(UsageError, match="no engine is called 'all'"):
        choose((), ("all",))


def test_what_was_not_measured_says_so_and_ratios_are_explained():
    row = {"case": "batch 1", "engine": "verydeep", "images_per_second": 9.0, "milliseconds_per_image": 111.0}
    row |= {"ratio": 2.0, "error": None, "peak_memory": 1e8, "share_of_peak": None}
    table = text_table([row], "D", "torch")
    assert table.rows == [("batch 1", "verydeep", "9.00", "111", "2.00", "not measured", "100 MB", "not measured")]
    assert "how many times as fast as torch" in table.caption


def test_every_engine_is_described():
    assert all(engine.name == name and engine.summary for name, engine in ENGINES.items())
    with pytest.raises(UsageError, match="no engine is called 'x'"):
        choose((), ("x",))
