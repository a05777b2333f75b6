"""Arguments of Python functions: one sentence where one is missing, or of another type than is wanted."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep import perceptual
from verydeep.arguments import check_type, fits
from verydeep.errors import ArgumentError, ImageError, UsageError

RANGE = (0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        (3, int, True),
        (np.int64(3), int, True),
        (True, int, False),
        (3.0, int, False),
        (3, float, True),
        (np.float32(3), float, True),
        ("3", float, False),
        (None, int | None, True),
        ("a", str | PathLike[str], True),
        (Path("a"), str | PathLike[str], True),
        (b"a", str | PathLike[str], False),
        ((), tuple[int, ...], True),
        ([64, 96], tuple[int, ...], True),
        (range(3), tuple[int, ...], True),
        (64, tuple[int, ...], False),
        ("64", tuple[int, ...], False),
        (["64"], tuple[int, ...], False),
        ((64,), tuple[int, int], False),
        ("relu1_1", Sequence[str], False),
        (np.zeros(3), Sequence[str], False),
        ((name for name in "ab"), Iterable[str], True),
        ("other", Literal["one", "other"], True),
        ("word", Literal["one", "other"], False),
        (["one"], Sequence[Literal["one", "other"]], True),
        (["word"], Sequence[Literal["one", "other"]], False),
        (1, Literal["one", "other"], False),
    ],
)
def test_what_fits(value, annotation, wanted):
    assert fits(value, annotation) == wanted


def test_the_message_names_the_argument_what_it_is_and_what_is_wanted():
    with pytest.raises(ArgumentError) as error:
        check_type("scales", 64, tuple[int, ...])
    assert str(error.value) == ("`scales` is 64; it must be a list of whole numbers, such as (64,): write (64,)")
    assert isinstance(error.value, (UsageError, TypeError))


@pytest.fixture(scope="module")
def model():
    return verydeep.load("cifar10")


OF_FUNCTIONS = {
    "top of a word": (lambda m: verydeep.predict("cifar10", "a.jpg", top="2"), "`top` is '2'"),
    "top of a method": (lambda m: m.predict(IMAGE, top="2"), "`top` is '2'"),
    "one scale": (lambda m: verydeep.predict("cifar10", "a.jpg", scales=64), r"write \(64,\)"),
    "a word as a scale": (lambda m: verydeep.evaluate("cifar10", "d", scales="64"), "`scales` is '64'"),
    "one layer": (lambda m: verydeep.extract("cifar10", "a", layers="fc7", out="a.npz"), r"write \['fc7'\]"),
    "one result": (lambda m: verydeep.fuse("a.npz"), r"write \['a.npz'\]"),
    "a model for its name": (lambda m: verydeep.predict(m, "a.jpg"), "what it was loaded by, 'cifar10'"),
    "models": (lambda m: verydeep.evaluate([m], "d"), "what it was loaded by, 'cifar10'"),
    "an image": (lambda m: verydeep.predict("cifar10", Image.new("RGB", (9, 9))), r"load\(model\).predict"),
    "nothing": (lambda m: verydeep.load(None), "`model` is None; it must be a path or a name"),
    "no layers of nothing": (lambda m: verydeep.layer_names(None), "`model` is a NoneType"),
    "a setting": (lambda m: verydeep.Recipe(epochs="3"), "`epochs` is '3'"),
    "one S": (lambda m: verydeep.Recipe(train_scale=256), "`train_scale` is 256; it must be 2 whole numbers"),
    "a network": (lambda m: verydeep.Architecture("D", num_classes="10"), "`num_classes` is '10'"),
    "a protocol": (lambda m: verydeep.Dense(64), r"write \(64,\)"),
    "a protocol's name": (lambda m: m.posterior([IMAGE], "dense"), "`protocol` is 'dense'"),
    "a map": (lambda m: m.score_map(IMAGE, scale="64"), "`scale` is '64'"),
    "no range": (lambda m: perceptual.ContentLoss("cifar10"), r"ContentLoss lacks `range`: least .* \(0, 1\)"),
    "no model": (lambda m: perceptual.LPIPS(range=RANGE), "LPIPS lacks `model`: a model on disk"),
    "a part": (
        lambda m: verydeep.evaluate("cifar10", "d", part="tset"),
        "`part` is 'tset'; .* mean test",
    ),
    "a combination": (
        lambda m: verydeep.transfer("cifar10", "d", out="o", combine="mean"),
        "one of stack, average",
    ),
    "a pool": (
        lambda m: verydeep.extract("cifar10", "a", layers=["fc7"], out="a.npz", pool="flat"),
        "one of mean, max, gram, none",
    ),
    "an engine": (
        lambda m: verydeep.train("d", "r", engine="openvino"),
        "one of auto, native, torch",
    ),
    "a precision": (
        lambda m: verydeep.Recipe(precision="float16"),
        "did you mean bfloat16",
    ),
    "a zero byte": (
        lambda m: verydeep.new("A", "a\0b"),
        r"`run` is 'a\\x00b'; no path and no name has a zero byte",
    ),
    "one in a list": (lambda m: verydeep.fuse(["a.npz", "b\0"]), "no path and no name has a zero byte"),
    "an empty path": (lambda m: verydeep.predict("cifar10", "a.jpg", maps=""), "`maps` is ''; it must be a path"),
    "Q twice": (lambda m: verydeep.Dense((64, 80, 64)), "`scales` has a scale twice: 64 80 64"),
    "no Q": (lambda m: verydeep.Dense(()), "a test needs a scale"),
    "a split's size": (
        lambda m: verydeep.transfer("cifar10", "d", out="o", per_class=9),
        "`per_class` is of random splits",
    ),
    "an unknown word": (lambda m: verydeep.predict("cifar10", "a.jpg", tops=3), r"predict: .*'tops'; help"),
    "lr": (lambda m: verydeep.Recipe().with_settings({"lr": 1}), "did you mean learning_rate?"),
}
IMAGE = np.zeros((70, 80, 3), np.uint8)


@pytest.mark.parametrize("case", OF_FUNCTIONS)
def test_a_wrong_argument_is_named(case, model):
    call, said = OF_FUNCTIONS[case]
    with pytest.raises(UsageError, match=said):
        call(model)


@pytest.mark.parametrize("ask", ["predict", "posterior", "score_map"])
def test_a_tensor_is_told_how_it_becomes_an_image(model, ask):
    tensor = torch.zeros(3, 64, 64)
    with pytest.raises(ImageError, match=r"the image is a Tensor; .* \(255 \* x\)\.byte\(\)\.permute\(1, 2, 0\)"):
        getattr(model, ask)(tensor)
    model.predict((255 * tensor).byte().permute(1, 2, 0).cpu().numpy())  # as the message says


def test_functions_are_pickled_by_their_names():
    assert pickle.loads(pickle.dumps(verydeep.predict)) is verydeep.predict


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_a_loaded_model_is_tapped_and_compared_by_as_from_disk(engine):
    model = verydeep.load("cifar10", engine=engine)
    assert f"engine: {engine}" in repr(model)
    assert verydeep.layer_names(model) == verydeep.layer_names("cifar10")
    images, others = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tap, of_name = (verydeep.features(one, ["relu2_2"], range=RANGE) for one in (model, "cifar10"))
    assert torch.equal(tap(images)["relu2_2"], of_name(images)["relu2_2"])
    loss, of_name = (perceptual.ContentLoss(one, range=RANGE) for one in (model, "cifar10"))
    assert torch.equal(loss(images, others), of_name(images, others))


def test_a_loss_shows_what_it_compares():
    loss = perceptual.ContentLoss("cifar10", ["relu1_2"], range=RANGE, reduction="sum")
    shown = "ContentLoss(configuration='D', layers=('relu1_2',), range=(0, 1), reduction='sum')"
    assert repr(loss) == shown
