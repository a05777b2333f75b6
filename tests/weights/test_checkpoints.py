"""Checkpoints as people save them: the same scores as the network that they were made of, or a clear refusal."""

from __future__ import annotations

import argparse
import datetime
import enum
import json
import os
import pathlib
import pickle
import pydoc
import subprocess
import timeit
from collections import Counter, OrderedDict, defaultdict
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import close, scores
from hypothesis import given
from hypothesis import strategies as st
from peers import NARROWER, fill, timm_network, torchvision_network
from PIL import Image
from safetensors.torch import save_file
from sample_images import class_folders
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.run_folder import read_config, read_model
from verydeep.weights.choice import WRAPPERS, choose
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import PREPROCESSING
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")
TOLD = ("--preprocessing", "torchvision", "--class-names", "numbers")
HIDDEN = 4096 // NARROWER


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return torchvision_network("A", num_classes=5)


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def theirs(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    mean, deviation = (
        torch.tensor(part).view(3, 1, 1)
        for part in (PREPROCESSING["torchvision"].mean, PREPROCESSING["torchvision"].deviation)
    )
    with torch.inference_mode():
        return network.eval()((torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / deviation).numpy()


def gives_its_scores(path: pathlib.Path, network: nn.Module, pixels: np.ndarray, *options: str) -> bool:
    run = path.with_suffix(".run")
    main(["convert", str(path), str(run), *TOLD, *options])
    return close(scores(run, pixels, "native"), theirs(network, pixels))


class AttributeDict(dict):
    """As Lightning's, of hyperparameters."""


class Mode(enum.Enum):
    MIN = "min"


PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "backbone.",
    "encoder.",
    "network.",
    "model._orig_mod.",
    "_orig_mod.module.",
    "module._orig_mod.",
    "module.model.",
    "_forward_module.net.module.vgg16.",
)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_are_taken_off(prefix, ending, network, tmp_path):
    state = prefixed(prefix, network.state_dict())
    (torch.save if ending == ".pth" else save_file)(state, tmp_path / f"a{ending}")
    found = import_weights(locate(tmp_path / f"a{ending}"))
    assert found.architecture == Architecture("A", 5, 1 / NARROWER)
    assert np.array_equal(found.tensors["fc8.bias"], network.classifier[6].bias.detach().numpy())
    assert not found.notes


def trained(network: nn.Module) -> torch.optim.Optimizer:
    """An optimizer with momentum, whose tensors have the shapes of the network's."""
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
    for parameter in network.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    return optimizer


WHOLE = {
    "alone": lambda network: network,
    "with its optimizer": lambda network: {"model": network, "optimizer": trained(network).state_dict()},
    "with its optimizer, whole": lambda network: {"optimizer": trained(network), "model": network},
    "deep in lists": lambda network: {"all": [{"epoch": 3}, (network, None)]},
    "parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "of a class of its own": lambda network: WithNetwork(network),
}


class WithNetwork(nn.Module):
    """A module that nobody else has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.net = network
        self.mode = Mode.MIN


@pytest.mark.parametrize("old", [False, True], ids=["zip", "row"])
@pytest.mark.parametrize("what", WHOLE)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "norm"])
def test_networks_that_were_saved_whole(batch_norm, what, old, tmp_path):
    """They are pickles of modules: the tensors are called as in the state dict, and no class is loaded."""
    network = torchvision_network("A", batch_norm=batch_norm, num_classes=5)
    path = tmp_path / "a.pth"
    torch.save(WHOLE[what](network), path, _use_new_zipfile_serialization=not old)
    found = import_weights(locate(path))
    expected = tmp_path / "b.pth"
    torch.save(network.state_dict(), expected)
    wanted = import_weights(locate(expected))
    assert found.architecture == wanted.architecture
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(np.array_equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


def parallel_features(network: nn.Module) -> object:
    """As pytorch/examples wraps `features` alone."""
    wrapped = nn.Module()
    wrapped.features, wrapped.classifier = nn.DataParallel(network.features), network.classifier
    return {"epoch": 9, "arch": "vgg11", "state_dict": wrapped.state_dict(), "best_acc1": torch.tensor(70.0)}


def lightning(network: nn.Module) -> object:
    """With hyperparameters, callbacks and an optimizer's state."""
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "state_dict": prefixed("model.", network.state_dict()) | {"loss.weight": torch.ones(5)},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": AttributeDict(lr=0.1, mode=Mode.MIN, path=pathlib.PurePosixPath("a")),
        "callbacks": {"checkpoint": {"best": np.float64(0.5), "at": datetime.datetime(2020, 1, 2)}},
        "loops": defaultdict(list, a=[1]),
        "counts": Counter("abc"),
        "device": torch.device("cpu"),
        "args": argparse.Namespace(lr=0.1, dtype=torch.float16, random=np.random.default_rng(0)),
        "more": SimpleNamespace(x=np.arange(3)),
        "set": {1, 2},
    }


def gan(network: nn.Module) -> object:
    generator = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    return {"networks": {"generator": generator.state_dict(), "loss": [{"vgg": network.state_dict()}]}}


CHECKPOINTS = {
    "pytorch/examples": (parallel_features, ["best_acc1"]),
    "lightning": (lightning, ["optimizer_states", "state_dict.loss.weight"]),
    "numpy scalar": (lambda n: {"state_dict": n.state_dict(), "best": np.float64(0.5)}, []),
    "namespace": (lambda n: {"model": n.state_dict(), "args": argparse.Namespace(lr=0.1)}, []),
    "gan": (gan, ["networks"]),
    "parameters": (lambda n: dict(n.named_parameters()), []),
    "second head": (lambda n: n.state_dict() | prefixed("aux.", nn.Linear(9, 3).state_dict()), ["aux"]),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "row"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_network_is_found_in_a_checkpoint(name, old, network, tmp_path, crops):
    make, beside = CHECKPOINTS[name]
    torch.save(make(network), tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    notes = " ".join(import_weights(locate(tmp_path / "a.pth")).notes)
    assert all(word in notes for word in beside)
    assert bool(notes) == bool(beside)
    assert gives_its_scores(tmp_path / "a.pth", network, crops)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "row"])
def test_any_protocol_of_pickle(protocol, old, network, tmp_path):
    state = {name: tensor.half() if "weight" in name else tensor for name, tensor in network.state_dict().items()}
    state["features.0.weight"] = network.features[0].weight.detach().bfloat16()
    state["features.3.weight"] = (
        network.features[3].weight.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    )
    row = torch.cat([torch.zeros(3), state["features.3.bias"], torch.ones(2)])
    state["features.3.bias"] = row[3:-2]
    torch.save({"a": state}, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    found = import_weights(locate(tmp_path / "a.pth"))
    ours = {"conv1_1.weight": "features.0.weight", "conv2_1.weight": "features.3.weight"}
    ours |= {"conv2_1.bias": "features.3.bias", "fc7.weight": "classifier.3.weight"}
    for name, name_there in ours.items():
        assert np.array_equal(found.tensors[name].ravel(), state[name_there].float().numpy().ravel()), name
    assert found.dtypes == ("bfloat16", "float32", "float16")


def ema(network: nn.Module) -> dict:
    """As timm saves it."""
    other = torchvision_network("A", num_classes=5)
    return {"state_dict": other.state_dict(), "state_dict_ema": network.state_dict()}


def torchvisions_ema(network: nn.Module) -> dict:
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    other = fill(torchvision_network("A", num_classes=5), seed=1)
    return {"model": other.state_dict(), "model_ema": average.state_dict(), "epoch": 1}


@pytest.mark.parametrize(("make", "names"), [(ema, "state_dict"), (torchvisions_ema, "model")])
def test_of_two_networks_the_average_is_taken_and_the_choice_is_told(make, names, tmp_path, crops, capsys):
    network = fill(torchvision_network("A", num_classes=5), seed=2)
    saved = make(network)
    path = tmp_path / "a.pth"
    torch.save(saved, path)
    assert gives_its_scores(path, network, crops)
    said = capsys.readouterr().err
    assert f"note: {names}_ema is used, a running average of the weights" in said
    main(["inspect", str(path), "--json"])
    assert any(f"not {names}" in note for note in json.loads(capsys.readouterr().out)["notes"])
    card = json.loads((tmp_path / "a.run" / "config.json").read_text())
    assert any(f"{names}_ema is used" in note for note in card["provenance"]["notes"])

    other = torchvision_network("A", num_classes=5)
    other.load_state_dict(saved[names])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.pth").symlink_to(path)
    assert gives_its_scores(tmp_path / "b" / "a.pth", other, crops, "--tensors", names)
    assert "running average" not in capsys.readouterr().err
    assert (
        import_weights(locate(f"{path}::{names}")).tensors["fc8.bias"].tolist()
        == saved[names]["classifier.6.bias"].tolist()
    )


def test_other_averages_in_safetensors(network, tmp_path):
    state = prefixed("net.", torchvision_network("A", num_classes=5).state_dict())
    save_file(state | prefixed("ema_net.module.", fill(network, seed=3).state_dict()), tmp_path / "a.safetensors")
    found = import_weights(locate(tmp_path / "a.safetensors"))
    assert found.warnings[0].startswith("ema_net is used")
    assert np.array_equal(found.tensors["fc8.bias"], network.classifier[6].bias.detach())


def test_two_networks_without_an_average_are_asked_for(network, tmp_path, capsys):
    path = tmp_path / "a.pth"
    torch.save({"teacher": network.state_dict(), "student": torchvision_network("B").state_dict()}, path)
    with pytest.raises(ModelError, match=r"holds 2 VGG networks: teacher, student; .*FILE::teacher"):
        import_weights(locate(path))
    assert import_weights(locate(f"{path}::student")).architecture.configuration == "B"
    with pytest.raises(ModelError, match="has no VGG network called pupil; it has teacher, student"):
        import_weights(locate(f"{path}::pupil"))


def test_files_of_one_network_have_no_names(tmp_path, capsys):
    from verydeep.weights.opening import open_source

    with pytest.raises(UsageError, match="one network; leave out"):
        open_source("cifar10::model")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UsageError, match="one network; leave out"):
        import_weights(locate(tmp_path / "a.h5::model"))


COMMANDS = (
    "convert",
    "inspect",
    "predict",
    "evaluate",
    "extract",
    "transfer",
    "train",
    "export",
    "push",
    "visualize",
    "style",
    "bench",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_weights_chooses_among_them(command, network, tmp_path, capsys):
    """It says which network is not there, so it looked for it."""
    torch.save({"a": network.state_dict()}, tmp_path / "a.pth")
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    path, image, run = (str(tmp_path / name) for name in ("a.pth", "x.png", "run"))
    words = {
        "convert": [path, run],
        "inspect": [path],
        "predict": [path, image],
        "evaluate": [path, "digits"],
        "extract": [path, image, "--layers", "pool5", "--out", f"{run}.npz"],
        "transfer": [path, "digits", "--no-save"],
        "train": ["digits", run, "--from", path],
        "export": [path, "--out", f"{run}.onnx"],
        "push": [path, "owner/name", "--yes"],
        "visualize": [path, image, "--page", f"{run}.html"],
        "style": [path, image, image, "--out", f"{run}.png"],
        "bench": [path, "--engines", "verydeep"],
    }[command]
    with pytest.raises(SystemExit) as ended:
        main([command, *words, "--tensors", "state_dict_ema"])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "has no VGG network called state_dict_ema; it has a" in said


def with_head(*layers: nn.Module, first: str = "") -> nn.Module:
    network = torchvision_network("A", num_classes=5)
    network.classifier = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return fill(network)


def linear(*sizes: int) -> list[nn.Module]:
    return [nn.Linear(before, after) for before, after in pairwise(sizes)]


INPUTS = 512 // NARROWER * 49


def dropout_first() -> nn.Module:
    one, two, three = linear(INPUTS, HIDDEN, HIDDEN, 5)
    return with_head(nn.Dropout(), one, nn.ReLU(), nn.Dropout(), two, nn.ReLU(), three)


def dropout_in_the_last() -> nn.Module:
    one, two, three = linear(INPUTS, HIDDEN, HIDDEN, 5)
    return with_head(one, nn.ReLU(), nn.Dropout(), two, nn.ReLU(), nn.Sequential(nn.Dropout(), three))


def named_layers() -> nn.Module:
    one, two, three = linear(INPUTS, HIDDEN, HIDDEN, 5)
    return with_head(nn.Sequential(OrderedDict(fc1=one, a=nn.ReLU(), fc2=two, b=nn.ReLU(), out=three)))


def out_of_order() -> nn.Module:
    """By the alphabet, as safetensors lists them, the last comes first."""
    one, two, three = linear(INPUTS, HIDDEN, HIDDEN, 5)
    return with_head(nn.Sequential(OrderedDict(x=one, a=nn.ReLU(), y=two, b=nn.ReLU(), answer=three)))


class Attributes(nn.Module):
    """FC layers as attributes of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torchvision_network("A").features
        self.fc1, self.fc2, self.fc3 = linear(INPUTS, HIDDEN, HIDDEN, 5)

    def forward(self, images):
        hidden = self.fc1(self.features(images).flatten(1)).relu()
        return self.fc3(self.fc2(hidden).relu())


HEADS = [dropout_first, dropout_in_the_last, named_layers, out_of_order, lambda: fill(Attributes())]


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("make", HEADS)
def test_three_fc_layers_are_found_whatever_they_are_called(make, ending, tmp_path, crops):
    network, path = make(), tmp_path / f"a{ending}"
    (torch.save if ending == ".pth" else save_file)(network.state_dict(), path)
    assert gives_its_scores(path, network, crops)


@pytest.mark.parametrize("hidden", [(HIDDEN, 64), (250, 130), (7, 512), (3, 3)])
def test_fc_layers_may_have_channels_of_their_own(hidden, tmp_path, crops, capsys):
    first, second, third = linear(INPUTS, *hidden, 5)
    network, path = fill(with_head(first, nn.ReLU(), second, nn.ReLU(), third)), tmp_path / "a.pth"
    torch.save(network.state_dict(), path)
    assert gives_its_scores(path, network, crops)
    run = path.with_suffix(".run")
    assert close(scores(run, crops, "torch"), theirs(network, crops))
    config = read_config(run)
    assert config.architecture.hidden == hidden
    assert [config.architecture.tensors[f"fc{n}.bias"] for n in (6, 7, 8)] == [(hidden[0],), (hidden[1],), (5,)]
    main(["inspect", str(path)])
    assert f"its FC layers have {hidden[0]} and {hidden[1]} channels" in capsys.readouterr().out
    main(["export", str(run), "--out", str(tmp_path / "a.onnx")])  # compared with the network by onnxruntime
    again = import_weights(locate(tmp_path / "a.onnx"))
    assert again.architecture == config.architecture


def test_training_goes_on_from_fc_layers_of_their_own_channels(tmp_path):
    network, data = fill(with_head(*linear(INPUTS, 40, 24, 5))), class_folders(tmp_path / "data", {"a": 4, "b": 4})
    torch.save(network.state_dict(), tmp_path / "a.pth")
    main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "a"), *TOLD])
    words = ["train", str(data), str(tmp_path / "run"), "--from", str(tmp_path / "a"), "--window", "224"]
    main(
        [
            *words,
            "--train-scale",
            "224:224",
            "--epochs",
            "1",
            "--batch-size",
            "4",
            "--learning-rate",
            "1e-9",
            "--workers",
            "0",
        ]
    )
    config, tensors = read_model(tmp_path / "run")
    assert config.architecture.hidden == (40, 24)
    assert close(tensors["fc7.bias"], network.classifier[1].bias.detach().numpy())
    main([*words[:3], "--resume"])


@pytest.mark.parametrize("hidden", [[40], [40, 24, 8], [0, 5], [True, 4], ["40", 24], 40, [40, -1]])
def test_channels_that_cannot_be(hidden, tmp_path):
    main(["new", "A", str(tmp_path / "run"), "--width", "0.02", "--num-classes", "2", "--window", "32"])
    fields = json.loads((tmp_path / "run" / "config.json").read_text())
    fields["architecture"]["hidden"] = hidden
    (tmp_path / "run" / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=r"config\.json is not a model's config\.json: "):
        read_config(tmp_path / "run")


def convolution_without_bias() -> nn.Module:
    network = torchvision_network("A", batch_norm=True, num_classes=5)
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            module.bias = None
    return network


def test_convolutions_without_bias(tmp_path, crops):
    network = convolution_without_bias()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    assert gives_its_scores(tmp_path / "a.pth", network, crops)


OTHER_HEADS = {
    "one": lambda: with_head(nn.Linear(INPUTS, 5)),
    "two": lambda: with_head(*linear(INPUTS, HIDDEN, 5)),
    "four": lambda: with_head(*linear(INPUTS, HIDDEN, HIDDEN, 64, 5)),
    "batch norm": lambda: with_head(*linear(INPUTS, HIDDEN), nn.BatchNorm1d(HIDDEN), *linear(HIDDEN, HIDDEN, 5)),
    "trained activations": lambda: with_head(*linear(INPUTS, HIDDEN), nn.PReLU(), *linear(HIDDEN, HIDDEN, 5)),
    "convolutions": lambda: with_head(nn.Conv2d(32, 5, 7)),
}


@pytest.mark.parametrize("head", OTHER_HEADS)
def test_of_another_head_the_convolutions_alone_are_taken_where_that_is_told(head, tmp_path, crops, capsys):
    network, path = OTHER_HEADS[head](), tmp_path / "a.pth"
    torch.save(network.state_dict(), path)
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(path), str(tmp_path / "run"), *TOLD])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"to import only its convolutions: `verydeep convert {path} RUN --features-only`" in said
    assert said.count("\n") == 1
    features_are_theirs(path, tmp_path / "run", network, crops, "--features-only")


def features_are_theirs(path, run, network, crops, *options):
    from verydeep.inference import open_engine

    main(["convert", str(path), str(run), "--preprocessing", "torchvision", *options])
    ours = open_engine(run, engine="native").run(crops, ["pool5"])["pool5"]
    assert close(ours, theirs(network.features, crops))


@pytest.mark.parametrize("prefix", ["", "vgg.", "extractor.module."])
def test_features_without_their_name(prefix, network, tmp_path, crops):
    torch.save(prefixed(prefix, network.features.state_dict()), tmp_path / "a.pth")
    features_are_theirs(tmp_path / "a.pth", tmp_path / "run", network, crops)


class Parts(nn.Module):
    """Torchvision's parts under names of its own."""

    def __init__(self, network: nn.Module, features: str, head: str) -> None:
        super().__init__()
        self.add_module(features, network.features)
        self.add_module(head, network.classifier)


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (lambda n: nn.Sequential(n.features, n.avgpool, nn.Flatten(), n.classifier).state_dict(), "3"),
        (lambda n: Parts(n, "backbone", "head").state_dict(), "head"),
        (
            lambda n: prefixed("vgg.features.", n.features.state_dict()) | {"fc.weight": ONE, "fc.bias": ONE[0]},
            "fc",
        ),
    ],
)
def test_fc_layers_elsewhere_are_told(make, head, network, tmp_path):
    torch.save(make(network), tmp_path / "a.pth")
    said = f"it has FC layers beside its convolutions ({head}), which are not used"
    assert any(said in note for note in import_weights(locate(tmp_path / "a.pth")).notes)


ONE = torch.ones(1, 1)


def test_no_head_is_missed_where_there_is_none(network, tmp_path):
    saved = {"net": network.features.state_dict(), "optimizer": {"exp_avg": torch.ones(3, 3), "weight": ONE}}
    torch.save(saved, tmp_path / "a.pth")
    assert not any("FC layers" in note for note in import_weights(locate(tmp_path / "a.pth")).notes)


@pytest.mark.parametrize("configuration", ["A", "B", "D", "E"])
def test_parameters_without_running_statistics_say_what_is_missing(configuration, tmp_path):
    network = torchvision_network(configuration, batch_norm=True)
    for saved in (dict(network.named_parameters()), dict(network.features.named_parameters())):
        torch.save(saved, tmp_path / "a.pth")
        with pytest.raises(ModelError, match=r"without running means and variances.*net\.state_dict\(\), not"):
            import_weights(locate(tmp_path / "a.pth"))


def test_features_of_any_layout_can_be_had_alone(tmp_path):
    save_file(timm_network("A").state_dict(), tmp_path / "a.safetensors")
    found = import_weights(locate(tmp_path / "a.safetensors"), Metadata(features_only=True))
    assert found.architecture == Architecture("A", 0, 1 / NARROWER)


@pytest.mark.parametrize(
    "make", [nn.PReLU, lambda: nn.GroupNorm(4, 32), lambda: nn.InstanceNorm2d(32, affine=True)]
)
def test_layers_that_vgg_does_not_have_are_not_passed_by(make, network, tmp_path):
    """Their tensors lie among the convolutions'; without them it would be another network."""
    state = torchvision_network("A").state_dict() | prefixed("features.19.", make().state_dict())
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"has features\.19\.weight among its convolutions"):
        import_weights(locate(tmp_path / "a.pth"))


OTHER_FILES = {
    "a.pdparams": (lambda n: pickle.dumps({"features.0.weight": np.zeros(3)}), "file of PaddlePaddle"),
    "a.npz": (None, "an archive of NumPy's"),
    "a.zip": (None, "not a model: it is a zip archive of weights/a.pth; unpack it"),
    "a.pth.gz": (lambda n: b"\x1f\x8b\x08" + b"x" * 99, "compressed by gzip; unpack it"),
    "lfs.pth": (
        lambda n: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "a pointer of Git LFS in place of the file",
    ),
    "page.pth": (lambda n: b"\n<!DOCTYPE html><html>", "a web page"),
    "page.caffemodel": (lambda n: b"<html><head>", "a web page"),
    "model.ckpt.data-00000-of-00001": (lambda n: bytes(99), "of TensorFlow's"),
    "a.tflite": (lambda n: b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "a.gguf": (lambda n: b"GGUF" + bytes(99), "GGUF"),
    "a.tar": (lambda n: bytes(257) + b"ustar" + bytes(250), "a tar archive"),
    "a.npy": (lambda n: b"\x93NUMPY" + bytes(99), "one array of NumPy's"),
    "a.pkl": (lambda n: pickle.dumps([1, 2]), "a pickle that PyTorch did not write"),
    "quantised.pth": (None, "sparse or quantised"),
    "none.pth": (None, "holds no tensors by name"),
    "other.pth": (None, "not the names of a VGG network"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_what_is_no_file_of_weights_is_told_what_it_is(name, network, tmp_path):
    import zipfile

    make, said = OTHER_FILES[name]
    path = tmp_path / name
    if make:
        path.write_bytes(make(network))
    elif name == "a.npz":
        np.savez(path, conv1_1_W=np.zeros(3))
    elif name == "a.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/a.pth", "x")
    else:
        quantised = torch.quantize_per_tensor(torch.ones(4, 3, 3, 3), 0.1, 0, torch.qint8)
        saved = {"quantised.pth": {"features.0.weight": quantised}, "none.pth": {"epoch": 3}}
        torch.save(saved.get(name, nn.Linear(2, 2).state_dict()), path)
    with pytest.raises(ModelError, match=said) as refused:
        import_weights(locate(path))
    assert str(path) in str(refused.value)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_told_what_it_is(network, tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(ModelError, match=r"a TorchScript archive.*torch\.jit\.load\(FILE\)\.state_dict"):
        import_weights(locate(tmp_path / "a.pt"))


PART = st.text("abcdefgh_0123456789", min_size=1, max_size=8)


@given(
    st.lists(PART | st.sampled_from(sorted(WRAPPERS)), max_size=5),
    st.sampled_from(["torchvision", "ours", "features"]),
    st.lists(st.tuples(PART, PART), max_size=4),
)
def test_a_network_is_found_behind_any_names(parts, layout, others):
    """And the rest is told: no tensor is lost or taken twice."""
    shapes = dict(SHAPES[layout])
    named = {".".join([*parts, name]): shape for name, shape in shapes.items()}
    beside = {f"{one}.{other}.x": (3,) for one, other in others}
    choice = choose(beside | named)
    prefix = "features." if layout == "features" else ""
    taken = {name: inner for name, inner in choice.names.items() if name in named}
    assert set(taken.values()) == {prefix + name for name in shapes}
    assert taken.keys() == named.keys()
    behind = ".".join(part for part in parts if part not in WRAPPERS)
    if behind:  # what lies elsewhere is neither taken nor passed over in silence
        elsewhere = {name for name in beside if not name.startswith(f"{behind}.")}
        assert not elsewhere & choice.names.keys()
        assert {name.partition(".")[0] for name in elsewhere} <= {name.partition(".")[0] for name in choice.unused}


@given(
    st.lists(PART, min_size=1, max_size=3, unique=True),
    st.integers(0, 3),
    st.sampled_from(["torchvision", "ours"]),
)
def test_a_network_has_nothing_of_those_within_it(parts, at, layout):
    """Networks one within the other, at any depth; those that hold others have no FC layers of their own."""
    prefixes = ["".join(f"{part}." for part in parts[:depth]) for depth in range(len(parts) + 1)]
    whole = SHAPES[layout]
    bare = {name: shape for name, shape in whole.items() if name.startswith(("features", "conv"))}
    held = {prefix: whole if prefix == prefixes[-1] else bare for prefix in prefixes}
    shapes = {prefix + name: shape for prefix, names in held.items() for name, shape in names.items()}
    wanted = prefixes[min(at, len(parts))]
    choice = choose(shapes, wanted or ".")
    assert choice.names == {wanted + name: name for name in held[wanted]}


def test_convolutions_beside_an_average_do_not_get_its_fc_layers(network, tmp_path):
    other = torchvision_network("A", num_classes=5).state_dict()
    bare = {name: tensor.clone() for name, tensor in network.state_dict().items() if name.startswith("features.")}
    save_file(bare | prefixed("ema.", other), tmp_path / "a.safetensors")
    found = import_weights(locate(f"{tmp_path / 'a.safetensors'}::."))
    assert found.architecture.num_classes == 0
    assert np.array_equal(found.tensors["conv1_1.weight"], bare["features.0.weight"].numpy())
    assert any("not used" in note and "ema" in note for note in found.notes)
    average = import_weights(locate(tmp_path / "a.safetensors"))
    assert np.array_equal(average.tensors["fc8.weight"][:, :, 0, 0], other["classifier.6.weight"].numpy())


ARCHITECTURE = Architecture("A", 3, 0.1)
TORCHVISIONS = {name: tuple(t.shape) for name, t in torchvision_network("A").state_dict().items()}
FEATURES = {name: shape for name, shape in TORCHVISIONS.items() if name.startswith("features.")}
SHAPES = {
    "ours": ARCHITECTURE.tensors,
    "torchvision": TORCHVISIONS,
    "features": {name.removeprefix("features."): shape for name, shape in FEATURES.items()},
}


class Reduced:
    """Unpickled, it calls something."""

    def __init__(self, *what: object) -> None:
        self.what = what

    def __reduce__(self) -> tuple:
        return self.what


EVIL = {
    "os.system": lambda made: Reduced(os.system, (f"touch {made}",)),
    "eval": lambda made: Reduced(eval, (f"open({str(made)!r}, 'w')",)),
    "subprocess": lambda made: Reduced(subprocess.check_output, (["touch", str(made)],)),
    "open": lambda made: Reduced(open, (str(made), "w")),
    "within another class": lambda made: Reduced(argparse.Namespace, (Reduced(os.system, (f"touch {made}",)),)),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "row"])
@pytest.mark.parametrize("name", EVIL)
def test_a_program_in_a_pickle_is_refused_and_not_run(name, old, network, tmp_path):
    made = tmp_path / "made"
    saved = {"state_dict": network.state_dict(), "x": EVIL[name](made)}
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(ModelError, match=r"asks for .*which could run any program"):
        import_weights(locate(tmp_path / "a.pth"))
    assert not made.exists()


def test_what_other_modules_would_run_is_not_run(network, tmp_path):
    """Their names are not known here, so nothing of theirs is called or imported."""
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'made')!r}).touch()"
    saved = {
        "state_dict": network.state_dict(),
        "x": Reduced(pydoc.pipepager, ("x", f"touch {tmp_path / 'made'}")),
    }
    saved |= {"y": Reduced(timeit.timeit, (code,))}
    torch.save(saved, tmp_path / "a.pth")
    assert import_weights(locate(tmp_path / "a.pth")).architecture == Architecture("A", 5, 1 / NARROWER)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "shape", [(4, 3, 3, 300), (1 << 40, 3, 3, 3), (4, 3, 3, -3), (4, 3, 3, 2.5), (4, 3, 3), (4, "3", 3, 3)]
)
@pytest.mark.parametrize("offset", [0, -5, 1 << 40])
def test_tensors_stay_within_their_numbers(shape, offset, network, tmp_path):
    """Whatever a pickle says of them; nothing beside them in memory is read."""
    weight = network.features[0].weight.detach()
    storage = torch.storage.TypedStorage(wrap_storage=weight.untyped_storage(), dtype=weight.dtype, _internal=True)
    lying = Reduced(torch._utils._rebuild_tensor_v2, (storage, offset, shape, (27, 9, 3, 1), False, {}))
    torch.save(network.state_dict() | {"features.0.weight": lying}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"damaged|not the names of a VGG network"):
        import_weights(locate(tmp_path / "a.pth"))


def test_things_within_themselves_end(network, tmp_path):
    endless: dict = {"a": network.state_dict()}
    endless["again"] = endless
    wide: dict = {}
    for _ in range(30):
        wide = {"a": wide, "b": wide}
    for number, saved in enumerate((endless, wide)):
        torch.save(saved, tmp_path / f"{number}.pth")
        with pytest.raises(ModelError, match="too many things within each other"):
            import_weights(locate(tmp_path / f"{number}.pth"))


def test_the_choice_is_told_wherever_a_model_is_opened(tmp_path, capsys):
    from verydeep.weights.opening import open_source

    torch.save(ema(torchvision_network("A", num_classes=5)), tmp_path / "a.pth")
    told = (PREPROCESSING["torchvision"], tuple("abcde"))
    config, _ = open_source(tmp_path / "a.pth", *told)
    said = capsys.readouterr().err
    assert said == f"note: {tmp_path / 'a.pth'}: {config.provenance['notes'][0]}\n"
    assert "state_dict_ema is used" in said
    config, _ = open_source(f"{tmp_path / 'a.pth'}::state_dict", *told)
    assert capsys.readouterr().err == ""
    assert config.provenance["source"].endswith("a.pth::state_dict")


class Normalized(Attributes):
    """With a normalisation between its FC layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(HIDDEN)


STRANGE = {
    "an activation among ours": (
        lambda: (
            {name: torch.zeros(shape) for name, shape in ARCHITECTURE.tensors.items()}
            | {"prelu1_1.weight": torch.ones(1)}
        ),
        r"has prelu1_1\.weight among its convolutions",
    ),
    "a normalisation in timm's head": (
        lambda: timm_network("A").state_dict() | {"pre_logits.norm.weight": torch.ones(256)},
        r"has pre_logits\.norm\.weight in its head",
    ),
    "a normalisation among attributes": (
        lambda: Normalized().state_dict(),
        r"has norm\.weight beside its FC layers, which VGG does not have",
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_layers_of_other_networks_are_seen_in_every_layout(name, tmp_path):
    make, said = STRANGE[name]
    torch.save(make(), tmp_path / "a.pth")
    with pytest.raises(ModelError, match=said):
        import_weights(locate(tmp_path / "a.pth"))
