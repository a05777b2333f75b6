"""Random files of weights as people save them, opened by us; scores beside those of the network that was saved."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import peers
import torch
from onnxruntime import InferenceSession
from outcomes import AGREE, REFUSED, Outcome, differ
from safetensors.torch import save_file
from torch import nn

from verydeep.errors import VerydeepError
from verydeep.exports.graph import graph
from verydeep.images.color import Preprocessing
from verydeep.network.features import Features
from verydeep.network.vgg import VGG
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate

CLASSES = 7
MOST_APART = 1e-4  # of scores of about 1
TOLD = Metadata(Preprocessing((0.0, 0.0, 0.0)), tuple(f"class {number}" for number in range(CLASSES)))
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "network.")
PLACES = ("state_dict", "model", "model_state_dict", "weights", "vgg", "G")

State = dict[str, torch.Tensor]


@cache
def network(batch_norm: bool, seed: int) -> nn.Module:
    return peers.fill(peers.torchvision_network("A", batch_norm, CLASSES), seed)


def narrow(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0, (2 / inputs) ** 0.5)
    return layer


def another_head(random: np.random.Generator, theirs: nn.Module) -> tuple[nn.Module, bool]:
    """The network with one of the heads that people give it; and whether three FC layers can stand for it."""
    state, whole = theirs.state_dict(), peers.torchvision_network("A", any_norm(theirs), CLASSES)
    whole.load_state_dict(state)
    first, second, last = (whole.classifier[at] for at in (0, 3, 6))
    heads: tuple[tuple[list[nn.Module], bool], ...] = (
        ([first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), last], True),
        ([nn.Dropout(), first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), last], True),
        (
            [first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), nn.Sequential(nn.Dropout(), last)],
            True,
        ),
        ([narrow(first.in_features, 48), nn.ReLU(), narrow(48, 20), nn.ReLU(), narrow(20, CLASSES)], True),
        ([first, nn.ReLU(), nn.Dropout(), narrow(second.in_features, CLASSES)], False),
        ([narrow(first.in_features, CLASSES)], False),
    )
    layers, is_vgg = heads[int(random.integers(len(heads)))]
    whole.classifier = nn.Sequential(*layers)
    return whole.eval(), is_vgg


def any_norm(theirs: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in theirs.modules())


def checkpoint(random: np.random.Generator, state: State, other: State) -> dict[str, Any]:
    """A state dict, wrapped as frameworks wrap it; maybe with the other network beside it as the raw one."""
    if random.random() < 0.25:
        state = {name.replace("features.", "features.module."): tensor for name, tensor in state.items()}
    for wrapper in random.choice(WRAPPERS, size=int(random.integers(0, 3))):
        state = {wrapper + name: tensor for name, tensor in state.items()}
    if random.random() < 0.3:
        return dict(state)
    place = str(random.choice(PLACES))
    found: dict[str, Any] = {
        "epoch": 3,
        place: dict(state),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    if random.random() < 0.4:
        found |= {"args": argparse.Namespace(lr=0.1, out=PurePosixPath("out")), "best": np.float64(70.1)}
    if random.random() < 0.3:
        found["hyper_parameters"] = {"loss": torch.nn.CrossEntropyLoss, "weights": torch.ones(3)}
    if place == "state_dict" and other and random.random() < 0.5:  # timm's two
        found = {"state_dict": dict(other), "state_dict_ema": dict(state), "epoch": 3}
    elif random.random() < 0.3:
        found = {"outer": found, "seed": 7}
    return found


def images(random: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(random.normal(0, 1, (2, 3, 224, 224))).float()


def compare(
    path: Path, pixels: torch.Tensor, expected: np.ndarray, told: Metadata = TOLD, what: str = ""
) -> Outcome:
    """Open a file; are the scores of these images the expected ones?"""
    try:
        found = import_weights(locate(path), told)
        config, tensors = config_of(found), found.tensors
    except VerydeepError as error:
        return Outcome(REFUSED, str(error))
    ours = VGG(config.architecture).eval()
    ours.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    with torch.inference_mode():
        if config.architecture.num_classes:
            seen = ours(pixels).numpy()
        else:
            seen = Features(ours, ["pool5"])(pixels)["pool5"].flatten(1).numpy()
    if seen.shape != expected.shape or not np.abs(seen - expected).max() < MOST_APART * max(
        1, np.abs(expected).max()
    ):
        return differ(f"{what}: scores {seen[0, :5]} where the network gives {expected[0, :5]}")
    return Outcome(AGREE)


def scores(theirs: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return theirs(pixels).flatten(1).numpy()


def checkpoint_case(random: np.random.Generator, folder: Path) -> Outcome:
    """PyTorch's files and safetensors."""
    batch_norm, pixels = bool(random.integers(2)), images(random)
    theirs, is_vgg = network(batch_norm, int(random.integers(3))), True
    if random.random() < 0.4:
        theirs, is_vgg = another_head(random, theirs)
    saved = checkpoint(random, theirs.state_dict(), network(batch_norm, 7).state_dict())
    told = TOLD
    if not is_vgg and random.random() < 0.5:
        told = Metadata(TOLD.preprocessing, features_only=True)
        expected = scores(theirs.features, pixels)
    else:
        expected = scores(theirs, pixels)
    flat = all(isinstance(value, torch.Tensor) for value in saved.values())
    path = folder / ("saved.safetensors" if flat and random.random() < 0.4 else "saved.pth")
    if path.suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in saved.items()}, path)
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=bool(random.integers(2)))
    return compare(path, pixels, expected, told, f"{list(saved)[:3]}")


def pooled_case(random: np.random.Generator, folder: Path) -> Outcome:
    """A network that pools its last map to less than 7x7 is none of a smaller window: it must be told."""
    theirs = peers.torchvision_network("A", False, CLASSES)
    side = int(random.integers(1, 7))
    theirs.avgpool = nn.AdaptiveAvgPool2d(side)
    theirs.classifier[0] = narrow(
        theirs.classifier[0].in_features // 49 * side * side, theirs.classifier[3].in_features
    )
    path, pixels = folder / "saved.pth", images(random)
    saved = checkpoint(random, theirs.eval().state_dict(), {})
    torch.save(saved, path)
    expected, what = scores(theirs, pixels), f"pooled to {side}x{side}"
    asked = compare(path, pixels, expected, what=what)
    if asked.kind != REFUSED or "--window" not in asked.words:
        return differ(f"{what}: {asked}, where --window is to be asked for")
    return compare(path, pixels, expected, replace(TOLD, window=224), what)


@cache
def keras_network(configuration: str) -> Any:
    return peers.keras_network(configuration, CLASSES)


def keras_case(random: np.random.Generator, folder: Path) -> Outcome:
    """Keras's files of all kinds."""
    theirs = keras_network(str(random.choice(["D", "E"])))
    pixels = images(random)
    path = folder / str(random.choice(["saved.keras", "saved.weights.h5", "saved.h5"]))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # Keras: that .h5 is old
        (theirs.save_weights if path.name == "saved.weights.h5" else theirs.save)(path)
        expected = np.asarray(theirs(pixels.numpy().transpose(0, 2, 3, 1)).detach().cpu())
    return compare(path, pixels, expected, what=path.name)


@cache
def onnx_file(batch_norm: bool, seed: int) -> bytes:
    """What PyTorch's exporter makes of a network."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch: that another exporter is newer
        torch.onnx.export(network(batch_norm, seed), (torch.zeros(1, 3, 224, 224),), content, dynamo=False)
    return content.getvalue()


def onnx_case(random: np.random.Generator, folder: Path) -> Outcome:
    """ONNX graphs: PyTorch's, and our own, which onnxruntime computes."""
    batch_norm, seed, pixels = bool(random.integers(2)), int(random.integers(2)), images(random)
    path = folder / "saved.onnx"
    if random.random() < 0.5:
        path.write_bytes(onnx_file(batch_norm, seed))
        return compare(path, pixels, scores(network(batch_norm, seed), pixels), what="PyTorch's ONNX")
    source = folder / "saved.pth"
    torch.save(network(batch_norm, seed).state_dict(), source)
    path.write_bytes(graph(*open_source(source, TOLD.preprocessing, TOLD.class_names)).SerializeToString())
    (score_map,) = InferenceSession(path).run(["score_map"], {"images": pixels.numpy()})
    return compare(path, pixels, score_map.mean(axis=(2, 3)), what="our ONNX")
