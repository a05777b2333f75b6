"""The native engine gives what torch gives in float64: whole networks, their layers, and odd circumstances."""

from __future__ import annotations

import copy
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from verydeep.configurations import CONFIGURATIONS, Architecture, Convolution
from verydeep.errors import UsageError, VerydeepError
from verydeep.images.color import Preprocessing
from verydeep.inference import open_engine
from verydeep.inference.torch_engine import TorchEngine
from verydeep.network.initialize import initialize
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig, TrainedOn, write_model

native = pytest.importorskip("verydeep.inference.native")

from verydeep import _native  # noqa: E402

INSTRUCTIONS = _native.available_instructions()
PRECISIONS = [
    (instructions, precision)
    for instructions in INSTRUCTIONS
    for precision in ("float32", "bfloat16", "int16")
    if _native.has(instructions, precision)
]
PRECISIONS_HERE = [precision for instructions, precision in PRECISIONS if instructions == INSTRUCTIONS[-1]]
# Narrow networks have fewer sums over which roundings cancel: torch's own bfloat16 errs by up to 2.2e-2 in them.
MOST_ERROR = {"float32": 1e-5, "bfloat16": 2.5e-2, "int16": 5e-3}


def network_of(architecture: Architecture, channels: str = "RGB") -> tuple[VGG, ModelConfig]:
    """A network as He's rule begins it, with statistics that batch normalisation could have met."""
    network = VGG(architecture).eval()
    initialize(network, "he", 0)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.data.uniform_(low, high, generator=generator)
        elif isinstance(module, torch.nn.Conv2d):
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    config = ModelConfig(
        architecture,
        Preprocessing((123.7, 116.8, 103.9), (58.4, 57.1, 57.4), channels),
        tuple(map(str, range(architecture.num_classes))),
        TrainedOn((architecture.window,) * 2),
    )
    return network, config


def tensors_of(network: VGG) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


@torch.inference_mode()
def exact(network: VGG, config: ModelConfig, pixels: np.ndarray) -> np.ndarray:
    """Score maps in float64, by torch."""
    preprocessing = config.preprocessing
    preprocess = Preprocess(preprocessing)
    images = preprocess(torch.from_numpy(pixels)).double()
    maps = network.double().score_map(images).numpy()
    network.float()
    return maps


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative error in the L2 norm."""
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def images_of(photographs: list[np.ndarray], height: int, width: int, count: int) -> np.ndarray:
    return np.stack([np.roll(photographs[i % 2], 31 * i, 1)[:height, :width] for i in range(count)])


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_network_gives_what_it_gives_in_float64(configuration, batch_norm, photographs):
    architecture = Architecture(configuration, num_classes=10, width=0.25, window=64, batch_norm=batch_norm)
    network, config = network_of(architecture, "BGR" if batch_norm else "RGB")
    pixels = images_of(photographs, 131, 97, 3)
    wanted = exact(network, config, pixels)
    for instructions, precision in PRECISIONS:
        engine = native.NativeEngine(
            config, tensors_of(network), precision=precision, instructions=instructions, threads=2
        )
        assert error(engine.score_maps(pixels), wanted) <= MOST_ERROR[precision], instructions


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("configuration", list("DBE"))
def test_at_full_width_fewer_bits_err_little_more_than_torchs_bfloat16_does(configuration, photographs):
    """torch multiplies directly in bfloat16: what Winograd's transforms add to that is half of it at most.

    Integers have more bits, of which large neighbours take some; E's last layers are of these in bfloat16 too.
    """
    network, config = network_of(Architecture(configuration, num_classes=100, window=64))
    pixels = images_of(photographs, 160, 128, 2)
    wanted = exact(network, config, pixels)
    errors = {
        precision: error(
            native.NativeEngine(config, tensors_of(network), precision=precision).score_maps(pixels), wanted
        )
        for precision in PRECISIONS_HERE
    }
    assert errors["float32"] <= 4e-6  # 2.7e-6 with weights of 24 bits in the FC layers, 3.2e-6 with 20
    torchs = error(TorchEngine(network, config, torch.device("cpu"), "bfloat16").score_maps(pixels), wanted)
    assert errors.get("bfloat16", 0) <= (0.95 if configuration == "E" else 1.5) * torchs
    assert errors.get("int16", 0) <= 0.4 * torchs


@pytest.mark.parametrize("width", [0.02, 0.1, 0.3])
def test_narrow_networks_of_channels_that_fill_no_vector(width, photographs):
    network, config = network_of(Architecture("D", num_classes=3, width=width, window=32))
    pixels = images_of(photographs, 70, 45, 2)
    wanted = exact(network, config, pixels)
    for instructions in INSTRUCTIONS:
        engine = native.NativeEngine(config, tensors_of(network), instructions=instructions, threads=3)
        assert error(engine.score_maps(pixels), wanted) <= 1e-5


@pytest.mark.parametrize("batch", [1, 5, 70])
def test_any_batch_gives_the_maps_of_its_images(batch, photographs):
    network, config = network_of(Architecture("B", num_classes=4, width=0.1, window=32))
    engine = native.NativeEngine(config, tensors_of(network), threads=2)
    pixels = images_of(photographs, 64, 40, batch)
    maps = engine.score_maps(pixels)
    assert maps.shape == (batch, 4, 2, 1)
    assert maps.dtype == np.float32
    for number in {0, batch // 2, batch - 1}:
        assert np.array_equal(maps[number], engine.score_maps(pixels[number : number + 1])[0])
    assert engine.score_maps(pixels[:0]).shape == (0, 4, 2, 1)


@pytest.mark.parametrize("precision", PRECISIONS_HERE)
def test_any_number_of_threads_gives_the_same_bits(precision, photographs):
    """Of layers whose weights few threads read each for itself, and many together."""
    network, config = network_of(Architecture("A", num_classes=4, window=32))
    pixels = images_of(photographs, 96, 64, 2)
    maps = [
        native.NativeEngine(config, tensors_of(network), precision=precision, threads=threads).score_maps(pixels)
        for threads in (1, 2, 3, 64)
    ]
    assert all(np.array_equal(one, maps[0]) for one in maps[1:])


def test_every_thread_treats_the_smallest_numbers_as_the_caller(photographs):
    """Who first flushes them to zero, and then does not, has the bits of one thread both times."""
    network, config = network_of(Architecture("A", num_classes=4, width=0.25, window=32))
    with torch.no_grad():
        network.conv1_1.weight.mul_(1e-20)
        network.conv1_1.bias.mul_(1e-20)
        network.conv2_1.weight.mul_(1e-21)
        network.conv2_1.bias.zero_()
    pixels = images_of(photographs, 160, 160, 2)
    engines = [native.NativeEngine(config, tensors_of(network), threads=threads) for threads in (1, 7)]
    found = []
    try:
        for flush in (True, False):
            torch.set_flush_denormal(flush)
            one, several = (engine.run(pixels, ["relu2_1"])["relu2_1"] for engine in engines)
            assert one.tobytes() == several.tobytes()
            found.append(np.count_nonzero(one))
    finally:
        torch.set_flush_denormal(False)
    if torch.set_flush_denormal(False):  # the processor can
        assert found[0] < found[1]


def test_a_mirror_image_need_not_lie_in_order(photographs):
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=32))
    engine = native.NativeEngine(config, tensors_of(network))
    mirrored = images_of(photographs, 64, 40, 2)[:, :, ::-1]
    assert np.array_equal(engine.score_maps(mirrored), engine.score_maps(mirrored.copy()))


def test_a_large_image_is_shown_in_strips(photographs, monkeypatch):
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=32))
    engine = native.NativeEngine(config, tensors_of(network))
    pixels = photographs[0][None]
    whole = engine.score_maps(pixels)
    monkeypatch.setattr("verydeep.inference.engine.MOST_PIXELS", 100_000)
    assert error(engine.score_maps(pixels), whole) < 1e-6


@pytest.mark.parametrize("configuration", ["A-LRN", "C", "D"])
@torch.inference_mode()
def test_every_layer_can_be_had(configuration, photographs):
    network, config = network_of(Architecture(configuration, num_classes=4, width=0.1, window=32))
    engine = native.NativeEngine(config, tensors_of(network))
    pixels = images_of(photographs, 64, 51, 2)
    seen: dict[str, torch.Tensor] = {}
    for layer in network.architecture.layers:
        if isinstance(layer, Convolution):
            name = layer.place
            network.get_submodule(layer.name).register_forward_hook(
                lambda module, inputs, output, name=name: seen.update({f"conv{name}": output})
            )
    images = Preprocess(config.preprocessing)(torch.from_numpy(pixels))
    fc8 = network.score_map(images)
    wanted = seen | {f"relu{name.removeprefix('conv')}": sums.relu() for name, sums in seen.items()} | {"fc8": fc8}
    for name, tensor in wanted.items():
        assert error(engine.run(pixels, [name])[name], tensor.numpy()) < 1e-5, name
    layers = [node.name for node in engine.nodes]
    together = engine.run(pixels, layers)
    assert list(together) == layers
    for name in wanted:
        assert error(together[name], wanted[name].numpy()) < 1e-5, name
    last = max(number for number in range(1, 5) if f"relu5_{number}" in layers)
    pooled = torch.nn.functional.max_pool2d(wanted[f"relu5_{last}"], 2)
    assert error(together["pool5"], pooled.numpy()) < 1e-5
    assert np.array_equal(np.maximum(together["fc6"], 0), together["relu6"])


def test_weights_that_are_not_numbers_give_scores_that_are_none(photographs):
    network, config = network_of(Architecture("A-LRN", num_classes=4, width=0.1, window=32))
    tensors = tensors_of(network)
    tensors["conv3_1.bias"][0] = np.nan
    for instructions, precision in PRECISIONS:
        engine = native.NativeEngine(config, tensors, precision=precision, instructions=instructions)
        assert np.isnan(engine.score_maps(images_of(photographs, 64, 64, 1))).all()


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_place_that_cannot_be_pooled(batch_norm):
    """A convolution computes its pooling along: one place is too few, unless the engine ends before."""
    architecture = Architecture("D", width=0.06, window=32, num_classes=3, batch_norm=batch_norm)
    network, config = network_of(architecture)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    image = np.zeros((1, 8, 8, 3), np.uint8)
    whole = native.NativeEngine(config, tensors)
    assert whole.run(image, ["relu4_2"])["relu4_2"].shape[2:] == (1, 1)
    for layer in ("relu4_3", "bn4_3") if batch_norm else ("relu4_3", "conv4_3"):
        with pytest.raises(UsageError, match="8x8 pixels; layer pool4 needs both sides to be at least 16"):
            whole.run(image, [layer])
        shorter = native.NativeEngine(config, tensors, [layer])
        assert shorter.run(image, [layer])[layer].shape[2:] == (1, 1)


def test_wrong_input_is_told_in_a_sentence(photographs):
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=64))
    engine = native.NativeEngine(config, tensors_of(network))
    with pytest.raises(UsageError, match="image is 64x63 pixels; this network needs both sides to"):
        engine.score_maps(np.zeros((1, 63, 64, 3), np.uint8))
    with pytest.raises(UsageError, match=r"shape \(64, 64, 3\) and type uint8 holds no images"):
        engine.score_maps(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="no layer 'conv9_9'"):
        engine.run(np.zeros((1, 64, 64, 3), np.uint8), ["conv9_9"])
    with pytest.raises(UsageError, match="needs both sides to be at least 32"):
        engine.run(np.zeros((1, 9, 9, 3), np.uint8), ["pool5"])
    with pytest.raises(UsageError, match="this processor has no mmx"):
        native.NativeEngine(config, tensors_of(network), instructions="mmx")


def test_threads_may_call_at_once(photographs):
    network, config = network_of(Architecture("D", num_classes=4, width=0.2, window=32))
    engines = [native.NativeEngine(config, tensors_of(network), threads=2) for _ in range(2)]
    sizes = [(64, 64), (96, 40), (33, 120), (70, 70)]
    pixels = [images_of(photographs, *size, 2) for size in sizes]
    wanted = [engines[0].score_maps(one) for one in pixels]
    wrong = []

    def call(number: int) -> None:
        for turn in range(5):
            which = (number + turn) % len(sizes)
            if not np.array_equal(engines[number % 2].score_maps(pixels[which]), wanted[which]):
                wrong.append((number, turn))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def score_in_child(engine, pixels, answers) -> None:
    answers.put(engine.score_maps(pixels))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_with_torch_in_the_process_goes_on(photographs):
    network, config = network_of(Architecture("A", num_classes=4, width=0.2, window=32))
    engine = native.NativeEngine(config, tensors_of(network), threads=2)
    pixels = images_of(photographs, 96, 96, 2)
    wanted = engine.score_maps(pixels)
    (torch.randn(500, 500) @ torch.randn(500, 500)).sum()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=score_in_child, args=(engine, pixels, answers))
    child.start()
    assert np.array_equal(answers.get(timeout=60), wanted)
    child.join(60)
    assert child.exitcode == 0
    assert np.array_equal(engine.score_maps(pixels), wanted)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=32))
    folder = tmp_path_factory.mktemp("models") / "run"
    write_model(folder, config, tensors_of(network))
    return folder


def test_a_spawned_process_and_torch_after_it(run):
    """In a process of its own: the engine first, torch next, both again."""
    code = f"""
import sys
from pathlib import Path
import numpy as np
import verydeep
model = verydeep.load({str(run)!r})
pixels = np.full((1, 64, 64, 3), 100, np.uint8)
first = model.engine.score_maps(pixels)
assert "torch" not in sys.modules, "torch was loaded"
import torch
(torch.randn(300, 300) @ torch.randn(300, 300)).sum()
reference = verydeep.load({str(run)!r}, engine="torch").engine.score_maps(pixels)
assert np.allclose(reference, first, rtol=1e-4, atol=1e-6), abs(reference - first).max()
assert np.array_equal(model.engine.score_maps(pixels), first)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_engine_that_is_asked_for_is_taken(run, monkeypatch):
    assert isinstance(open_engine(run), native.NativeEngine)
    assert isinstance(open_engine(run, device="cpu"), native.NativeEngine)
    assert isinstance(open_engine(run, engine="torch"), TorchEngine)
    with pytest.raises(UsageError, match="use `engine=torch`"):
        open_engine(run, device="cuda", engine="native")
    for room in ("verydeep.inference", "verydeep.processor"):
        monkeypatch.setattr(f"{room}.native_module", lambda: None)
    monkeypatch.setattr("verydeep.processor.EXTENSION_SUFFIXES", ())  # nor is there another package that has it
    assert isinstance(open_engine(run), TorchEngine)
    with pytest.raises(VerydeepError, match="without a C\\+\\+ compiler"):
        open_engine(run, engine="native")


def test_a_driver_without_a_gpu_leaves_the_processor(run, monkeypatch):
    monkeypatch.setattr("verydeep.inference.has_gpu", lambda: True)
    expected = TorchEngine if torch.cuda.is_available() else native.NativeEngine
    assert isinstance(open_engine(run), expected)


def test_the_environment_overrules(run, monkeypatch):
    monkeypatch.setenv("VERYDEEP_INSTRUCTIONS", "portable")
    monkeypatch.setenv("VERYDEEP_THREADS", "3")
    engine = open_engine(run)
    assert engine._network.instructions == "portable"
    assert engine._network.threads == 3
    monkeypatch.setenv("VERYDEEP_INSTRUCTIONS", "mmx")
    with pytest.raises(UsageError, match="'mmx', which this processor lacks"):
        open_engine(run)
    monkeypatch.setenv("VERYDEEP_THREADS", "many")
    monkeypatch.delenv("VERYDEEP_INSTRUCTIONS")
    with pytest.raises(UsageError, match="'many'"):
        open_engine(run)


def test_processes_of_torchrun_share_the_processors(monkeypatch):
    from verydeep.processor import num_threads

    monkeypatch.delenv("VERYDEEP_THREADS", raising=False)
    alone = num_threads()
    assert 1 <= alone <= (os.cpu_count() or 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert num_threads() == max(1, alone // 2)


def test_a_call_takes_no_more_scratch_than_is_said_and_a_batch_is_bounded():
    network, config = network_of(Architecture("D", num_classes=4, width=0.5, window=32))
    engine = native.NativeEngine(config, tensors_of(network))
    one, many = engine.scratch_bytes(1, 224, 224), engine.scratch_bytes(1000, 224, 224)
    assert one < many < 600_000_000
    assert engine.scratch_bytes(10_000, 224, 224) == many
    few = native.NativeEngine(config, tensors_of(network), ["relu2_1"])
    assert 0 < few.scratch_bytes(1, 224, 224) < one
    with pytest.raises(UsageError):
        engine.scratch_bytes(1, 16, 16)


def test_odd_calls_are_answered_or_refused():
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=32))
    engine = native.NativeEngine(config, tensors_of(network))
    assert copy.copy(engine) is engine
    nothing = np.zeros((0, 64, 48, 3), np.uint8)
    assert engine.run(nothing, ["relu2_1", "fc8"])["relu2_1"].shape == (0, 13, 32, 24)
    with pytest.raises(UsageError, match=r"must be \(batch, height, width, 3\)"):
        engine.run_preprocessed(np.zeros((1, 64, 64, 4), np.float32), ["pool1"])
    found = engine.distances(
        np.zeros((0, 64, 48, 3), np.float32), {"relu2_1": np.ones(13, np.float32)}, epsilon=1.0
    )
    assert found["relu2_1"].shape == (0, 32, 24)
    with pytest.raises(UsageError, match="3 images, which are no pairs"):
        engine.distances(np.zeros((3, 64, 64, 3), np.float32), {"relu1_1": np.ones(6, np.float32)}, epsilon=1e-10)


AT_THE_END = """
import sys, threading, time
import numpy as np
from verydeep.inference import open_engine

engine, pixels = open_engine(sys.argv[1], engine="native", threads=1), np.zeros((4, 64, 64, 3), np.uint8)

def work():
    while True:
        engine.score_maps(pixels)

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""


def test_daemon_threads_at_work_do_not_abort_the_end_of_the_process(tmp_path):
    network, config = network_of(Architecture("A", num_classes=4, width=0.1, window=32))
    write_model(tmp_path / "run", config, tensors_of(network))
    command = [sys.executable, "-c", AT_THE_END, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
