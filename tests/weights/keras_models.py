"""Small Keras models of VGG networks, as people build and save them, Keras's answers, and ours."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from verydeep.evaluation.posterior import posterior_of_maps
from verydeep.images.color import Preprocessing
from verydeep.inference import engine_of
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import locate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Keras and its dependencies, about themselves
    import keras
    from keras import layers as kl

ENDINGS = (".h5", ".keras", ".weights.h5")


WHOLE = (".h5", ".keras")


RAW = Preprocessing((0.0, 0.0, 0.0))


NAMES = ("a", "b", "c")


A = ((4,), (8,), (16, 16), (32, 32), (32, 32))  # configuration A, a sixteenth as wide


WIDE = 256  # of fc6 and fc7


def convolution(channels: int, **settings) -> kl.Conv2D:
    return kl.Conv2D(channels, 3, **{"padding": "same", "activation": "relu"} | settings)


def stages(x, *, norm: bool = False, **settings):
    """The five stages of configuration A."""
    for stage in A:
        for channels in stage:
            if norm:
                x = kl.BatchNormalization()(convolution(channels, activation=None, use_bias=False)(x))
                x = kl.ReLU()(x)
            else:
                x = convolution(channels, **settings)(x)
        x = kl.MaxPooling2D()(x)
    return x


def base(side: int | None = 32, **settings) -> keras.Model:
    entry = keras.Input((side, side, 3))
    return keras.Model(entry, stages(entry, **settings), name="vgg")


def head(x, *widths: int, flat=kl.Flatten, last: str | None = "softmax"):
    x = flat()(x)
    for width in widths:
        x = kl.Dropout(0.5)(kl.Dense(width, "relu")(x))
    return kl.Dense(3, last)(x)


def filled(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights that keep the signal's size, and statistics of a used normalisation."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        deviation = (2 / np.prod(weight.shape[:-1])) ** 0.5 if len(weight.shape) > 1 else 0.05
        values = random.normal(0, deviation, weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            values = random.uniform(0.0005, 0.5, weight.shape)
        if weight.name in ("mean", "variance"):  # of levels
            values = random.uniform(100, 130, weight.shape) ** (1 + (weight.name == "variance"))
        if "seed" not in weight.path and weight.name != "count":
            weight.assign(values.astype(np.float32))
    return model


def save(model: keras.Model, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


def pixels(side: int = 32, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def theirs(model: keras.Model, shown: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        return np.asarray(model(shown.astype(np.float32), training=False).detach().cpu())


def ours(path: Path, shown: np.ndarray, preprocessing: Preprocessing | None = RAW, **told) -> np.ndarray:
    found = import_weights(locate(path), Metadata(preprocessing, NAMES, **told))
    return posterior_of_maps(engine_of(config_of(found), found.tensors).score_maps(shown))


def agree(model: keras.Model, path: Path, side: int = 32, preprocessing: Preprocessing | None = RAW) -> bool:
    shown = pixels(side)
    expected = theirs(model, shown)
    assert expected.std() > 1e-3
    return bool(np.abs(ours(path, shown, preprocessing) - expected).max() < 2e-5)


def flat() -> keras.Model:
    inner = base(64)
    return keras.Model(inner.input, head(inner.output, WIDE, WIDE))


def changed(place: int, *layers) -> keras.Model:
    """Configuration A with some layers in another's place."""
    mine = base().layers[1:]
    mine[place : place + 1] = [layer() for layer in layers]
    top = [kl.Flatten(), kl.Dense(WIDE, "relu"), kl.Dense(WIDE, "relu"), kl.Dense(3)]
    entry = x = keras.Input((64, 64, 3))
    for layer in [*mine, *top]:
        layer = type(layer).from_config(layer.get_config())
        x = layer(x)
    return keras.Model(entry, x)


def preprocessing(*layers) -> keras.Model:
    entry = x = keras.Input((32, 32, 3))
    for layer in layers:
        x = layer(x)
    return filled(keras.Model(entry, head(base()(x), WIDE, WIDE)))


def adapted() -> kl.Normalization:
    layer = kl.Normalization()
    layer.build((None, None, None, 3))
    return layer
