"""Keras models as people fine-tune and save them: read with Keras's own answers, or refused with a sentence."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from verydeep.cli import main
from verydeep.engines import scorer_of
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.posterior import posterior_of_maps
from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn, read_model
from verydeep.weights import layouts
from verydeep.weights.files import read
from verydeep.weights.foreign import config_of, examine
from verydeep.weights.source import Known, locate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Keras and its dependencies, about themselves
    import keras
    from keras import layers as kl

pytestmark = [
    pytest.mark.usefixtures("read_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras about NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5"),
]

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
        if weight.name in ("gamma", "moving_variance", "variance"):
            values = random.uniform(0.0005, 0.5, weight.shape)
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
    found = examine(locate(path), Known(preprocessing, NAMES, **told))
    return posterior_of_maps(scorer_of(config_of(found), found.tensors).score_maps(shown))


def agree(model: keras.Model, path: Path, side: int = 32, preprocessing: Preprocessing | None = RAW) -> bool:
    shown = pixels(side)
    expected = theirs(model, shown)
    assert expected.std() > 1e-3
    return bool(np.abs(ours(path, shown, preprocessing) - expected).max() < 2e-5)


def sequential() -> keras.Model:
    return keras.Sequential(
        [base(), kl.Flatten(), kl.Dense(WIDE, "relu"), kl.Dense(WIDE, "relu"), kl.Dense(3, "softmax")]
    )


def nested() -> keras.Model:
    entry = keras.Input((32, 32, 3))
    return keras.Model(entry, head(base()(entry), WIDE, WIDE))


def nested_head() -> keras.Model:
    """A model of two models, as people who swap heads have it."""
    top = keras.Sequential([kl.Flatten(), kl.Dense(WIDE, "relu"), kl.Dense(WIDE, "relu"), kl.Dense(3, "softmax")])
    return keras.Sequential([keras.Input((32, 32, 3)), base(), top])


def flat() -> keras.Model:
    inner = base(64)
    return keras.Model(inner.input, head(inner.output, WIDE, WIDE))


def augmented() -> keras.Model:
    entry = keras.Input((32, 32, 3))
    x = keras.Sequential([kl.RandomFlip("horizontal"), kl.RandomRotation(0.1)])(entry)
    return keras.Model(entry, head(stages(kl.GaussianNoise(0.1)(x)), WIDE, WIDE))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("made", [sequential, nested, nested_head, flat, augmented])
def test_a_vgg_in_any_form_gives_kerass_answers(made, ending, tmp_path):
    model = filled(made())
    if ending == ".weights.h5" and made is augmented:  # the noise is a layer that weights alone do not explain
        with pytest.raises(ModelError, match="save the whole model"):
            examine(locate(save(model, tmp_path / f"a{ending}")))
        return
    side = model.input_shape[1]
    assert agree(model, save(model, tmp_path / f"a{ending}"), side)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("trained", [[1], [2, 9], [12]])
def test_frozen_layers_within_a_model_keep_their_places(trained, ending, tmp_path):
    """Keras 2's form has the weights that are trained before the others."""
    model = filled(sequential())
    for place, layer in enumerate(model.layers[0].layers):
        layer.trainable = place in trained
    assert agree(model, save(model, tmp_path / f"a{ending}"))


def test_weights_alone_of_keras_2_whose_order_is_lost_are_refused(tmp_path):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    model = filled(sequential())
    for frozen in (False, True):
        for layer in model.layers[0].layers[:9]:
            layer.trainable = not frozen
        with h5py.File(tmp_path / "a.h5", "w") as file:
            save_weights_to_hdf5_group(file, model)
        if frozen:
            with pytest.raises(ModelError, match="order of their names; save the whole model"):
                examine(locate(tmp_path / "a.h5"))
        else:
            shown = pixels()
            np.testing.assert_allclose(ours(tmp_path / "a.h5", shown, window=32), theirs(model, shown), atol=2e-5)


def test_the_old_names_of_kerass_published_files(tmp_path):
    """`block1_conv1_W_1:0`, as in vgg16_weights_tf_dim_ordering_tf_kernels.h5."""
    model = filled(flat())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}_{part}_1:0" for part in "Wb"]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group[name] = weight
    shown = pixels(64)
    np.testing.assert_allclose(ours(tmp_path / "a.h5", shown, window=64), theirs(model, shown), atol=2e-5)


@pytest.mark.parametrize("ending", WHOLE)
def test_batch_norms_epsilon_is_kerass(ending, tmp_path):
    entry = keras.Input((32, 32, 3))
    model = filled(keras.Model(entry, head(stages(entry, norm=True), WIDE, WIDE)))
    assert agree(model, save(model, tmp_path / f"a{ending}"))
    found = examine(locate(tmp_path / f"a{ending}"))
    assert found.architecture.batch_norm
    stored = next(weight for weight in model.weights if weight.name == "moving_variance")
    np.testing.assert_allclose(found.tensors["bn1_1.running_var"] + 1e-5, np.asarray(stored) + 1e-3, rtol=1e-5)


def test_batch_norm_in_weights_alone_is_refused(tmp_path):
    """They tell neither its epsilon nor whether it stands behind ReLU."""
    entry = keras.Input((32, 32, 3))
    model = filled(keras.Model(entry, head(stages(entry, norm=True), WIDE, WIDE)))
    with pytest.raises(ModelError, match="batch_normalization does; save the whole model"):
        examine(locate(save(model, tmp_path / "a.weights.h5")))


HEADS = {
    "GlobalAveragePooling2D": lambda x: head(x, WIDE, WIDE, flat=kl.GlobalAveragePooling2D),
    "GlobalMaxPooling2D": lambda x: head(x, WIDE, WIDE, flat=kl.GlobalMaxPooling2D),
    "Dense.*16": lambda x: head(x, 16),
    "Dense.*3": lambda x: head(x),
    "Dense.*24": lambda x: head(x, WIDE, 24, WIDE),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("seen", HEADS)
def test_another_head_is_named_and_the_convolutions_can_be_had(seen, ending, tmp_path):
    entry = keras.Input((64, 64, 3))
    inner = base(64)
    model = filled(keras.Model(entry, HEADS[seen](inner(entry))))
    path = save(model, tmp_path / f"a{ending}")
    words = "global_" if ending == ".weights.h5" and "Global" in seen else seen
    with pytest.raises(ModelError, match=rf"(?i)head of its own \(.*{words}.*--features-only"):
        examine(locate(path))
    found = examine(locate(path), Known(RAW, features_only=True))
    assert found.architecture.num_classes == 0
    (maps,) = scorer_of(config_of(found), found.tensors).activations(pixels(64), ["pool5"])
    np.testing.assert_allclose(maps, theirs(inner, pixels(64)).transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("last", ["sigmoid", "tanh", "relu"])
def test_scores_that_go_through_something_else_are_no_scores(last, ending, tmp_path):
    inner = base()
    model = keras.Model(inner.input, head(inner.output, WIDE, WIDE, last=last))
    with pytest.raises(ModelError, match="Dense.*, ReLU\\)" if last == "relu" else f"{last} of Dense"):
        examine(locate(save(model, tmp_path / f"a{ending}")))


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


OTHERS = {
    "a leaky ReLU": (2, [lambda: convolution(8, activation=None), kl.LeakyReLU], "LeakyReLU"),
    "an ELU": (0, [lambda: convolution(4, activation="elu")], "elu of Conv2D"),
    "no ReLU": (0, [lambda: convolution(4, activation=None)], "have a ReLU"),
    "ReLU to 6": (0, [lambda: convolution(4, activation=None), lambda: kl.ReLU(6.0)], "have a ReLU"),
    "a slope": (0, [lambda: convolution(4, activation=None), lambda: kl.ReLU(negative_slope=0.1)], "have a ReLU"),
    "valid padding": (0, [lambda: convolution(4, padding="valid")], "have a 3x3 convolution"),
    "strides": (0, [lambda: convolution(4, strides=2)], "strides"),
    "dilation": (4, [lambda: convolution(16, dilation_rate=2)], "dilation_rate"),
    "groups": (4, [lambda: convolution(16, groups=2)], "groups"),
    "a pooling of 3x3": (1, [lambda: kl.MaxPooling2D(3, 2, "same")], "pool_size"),
    "an average pooling": (3, [lambda: kl.AveragePooling2D(2)], "AveragePooling2D"),
    "a missing pooling": (3, [lambda: kl.Activation("relu")], "Activation"),
    "batch norm behind ReLU": (0, [lambda: convolution(4), kl.BatchNormalization], "BatchNormalization"),
    "a 1x1 convolution": (4, [lambda: kl.Conv2D(16, 1, activation="relu")], "have a 3x3 convolution"),
    "a 5x5 convolution": (4, [lambda: kl.Conv2D(16, 5, padding="same", activation="relu")], "3x3 convolution"),
    "a separable convolution": (4, [lambda: kl.SeparableConv2D(16, 3, padding="same")], "SeparableConv2D"),
    "another order": (0, [kl.MaxPooling2D, lambda: convolution(4)], "MaxPooling2D"),
}


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("what", OTHERS)
def test_what_no_vgg_network_computes_is_refused(what, ending, tmp_path):
    place, layers, said = OTHERS[what]
    path = save(changed(place, *layers), tmp_path / f"a{ending}")
    with pytest.raises(ModelError, match=said):
        examine(locate(path))


def test_zero_padding_before_a_valid_convolution_is_the_same_padding(tmp_path):
    model = filled(changed(4, kl.ZeroPadding2D, lambda: convolution(16, padding="valid")))
    path = save(model, tmp_path / "a.keras")
    scores = ours(path, pixels(64))
    expected = torch.from_numpy(theirs(model, pixels(64))).softmax(1)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    with pytest.raises(ModelError, match="padding 2"):
        examine(locate(save(changed(4, kl.ZeroPadding2D, lambda: convolution(16)), tmp_path / "b.keras")))


def preprocessing(*layers) -> keras.Model:
    entry = x = keras.Input((32, 32, 3))
    for layer in layers:
        x = layer(x)
    return filled(keras.Model(entry, head(base()(x), WIDE, WIDE)))


def adapted() -> kl.Normalization:
    layer = kl.Normalization()
    layer.build((None, None, None, 3))
    return layer


FIRST = {
    "a 255th": (lambda: [kl.Rescaling(1 / 255)], Preprocessing((0, 0, 0), (255, 255, 255))),
    "minus one to one": (lambda: [kl.Rescaling(1 / 127.5, offset=-1)], Preprocessing((127.5,) * 3, (127.5,) * 3)),
    "ImageNet's": (
        lambda: [
            kl.Rescaling(1 / 255),
            kl.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506]),
        ],
        None,
    ),
    "a division": (lambda: [lambda x: x / 255.0, lambda x: 2 * x - 1], Preprocessing((127.5,) * 3, (127.5,) * 3)),
    "Keras's own": (
        lambda: [keras.applications.vgg16.preprocess_input],
        Preprocessing((123.68, 116.779, 103.939), (1, 1, 1), "BGR"),
    ),
    "statistics": (lambda: [adapted()], None),
}


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("what", FIRST)
def test_preprocessing_within_the_model_is_read(what, ending, tmp_path):
    layers, wanted = FIRST[what]
    model = preprocessing(*layers())
    path = save(model, tmp_path / f"a{ending}")
    assert agree(model, path, preprocessing=None)
    found = examine(locate(path))
    assert wanted is None or found.known.preprocessing == wanted
    with pytest.raises(UsageError, match="preprocesses images itself"):
        examine(locate(path), Known(RAW))


NOT_FIRST = {
    "Resizing": lambda: kl.Resizing(32, 32),
    "Lambda": lambda: kl.Lambda(lambda x: x / 255),
    "CenterCrop": lambda: kl.CenterCrop(32, 32),
    "Rescaling": lambda: kl.Rescaling(np.arange(32 * 32 * 3).reshape(32, 32, 3).tolist()),
    "above 0": lambda: kl.Rescaling(-1.0),
}


@pytest.mark.parametrize("what", NOT_FIRST)
def test_preprocessing_that_cannot_be_read_is_refused(what, tmp_path):
    path = save(preprocessing(NOT_FIRST[what]()), tmp_path / "a.keras")
    with pytest.raises(ModelError, match=what):
        examine(locate(path))


@pytest.mark.parametrize("first", [kl.Rescaling, kl.Resizing])
def test_preprocessing_in_weights_alone_is_refused(first, tmp_path):
    model = preprocessing(kl.Rescaling(1 / 255) if first is kl.Rescaling else kl.Resizing(32, 32))
    with pytest.raises(ModelError, match=r"has weights alone.*save the whole model"):
        examine(locate(save(model, tmp_path / "a.weights.h5")))


@pytest.mark.parametrize("flattened", ["channels_last", "channels_first"])
def test_channels_first_are_flattened_as_they_are(flattened, tmp_path):
    entry = x = keras.Input((3, 64, 64))
    for stage in A:
        for channels in stage:
            x = convolution(channels, data_format="channels_first")(x)
        x = kl.MaxPooling2D(data_format="channels_first")(x)
    model = filled(keras.Model(entry, head(x, WIDE, WIDE, flat=lambda: kl.Flatten(data_format=flattened))))
    path = save(model, tmp_path / "a.keras")
    shown = pixels(64)
    expected = theirs(model, shown.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(ours(path, shown), expected, atol=2e-5)


def test_the_window_is_the_inputs(tmp_path):
    """224x896 pixels have a map of 7x28, whose area is a square's."""
    entry = keras.Input((32, 128, 3))
    path = save(keras.Model(entry, head(base(None)(entry), WIDE, WIDE)), tmp_path / "a.keras")
    with pytest.raises(ModelError, match="128x32 pixels"):
        examine(locate(path))
    top = [kl.Flatten(), kl.Dense(WIDE, "relu"), kl.Dense(WIDE, "relu"), kl.Dense(3)]
    unnamed = keras.Sequential([*base(None).layers[1:], *top])  # its input is said by what it was built for
    unnamed.build((None, 32, 128, 3))
    with pytest.raises(ModelError, match="128x32 pixels"):
        examine(locate(save(unnamed, tmp_path / "c.keras")))
    inner = base(48)
    path = save(keras.Model(inner.input, head(inner.output, WIDE, WIDE)), tmp_path / "b.keras")
    found = examine(locate(path))
    assert (found.architecture.image_size, found.known.trained_on) == (32, TrainedOn((48, 48)))


def test_convolutions_as_fc_layers(tmp_path):
    x = base(64)
    y = kl.Conv2D(WIDE, 2, activation="relu")(x.output)
    y = kl.Conv2D(3, 1)(kl.Conv2D(WIDE, 1, activation="relu")(y))
    model = filled(keras.Model(x.input, kl.Softmax()(kl.GlobalAveragePooling2D()(y))))
    assert agree(model, save(model, tmp_path / "a.keras"), 64)


def test_networks_that_are_no_chain_are_refused(tmp_path):
    entry = keras.Input((32, 32, 3))
    x = convolution(4)(entry)
    twice = convolution(4)
    models = {
        "Add": keras.Model(entry, kl.Flatten()(kl.Add()([x, convolution(4)(x)]))),
        "2 outputs": keras.Model(entry, [x, kl.Flatten()(x)]),
        "more than once": keras.Model(entry, twice(twice(x))),
    }
    for number, (said, model) in enumerate(models.items()):
        for ending in WHOLE:
            with pytest.raises(ModelError, match=said):
                examine(locate(save(model, tmp_path / f"{number}{ending}")))


@pytest.mark.parametrize(
    "config", ["[" * 100_000, "{}", "[]", "7", '{"class_name": "Sequential", "config": {"layers": 3}}']
)
def test_a_configuration_that_is_none_is_refused(config, tmp_path):
    path = save(filled(flat()), tmp_path / "a.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
        new.writestr("config.json", config)
    with pytest.raises(ModelError, match="configuration that is not"):
        examine(locate(tmp_path / "b.keras"))


def test_a_class_of_somebodys_own_is_not_kerass(tmp_path):
    path = save(filled(flat()), tmp_path / "a.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        config = json.loads(old.read("config.json"))
        config["config"]["layers"][1]["module"] = "mine"
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
        new.writestr("config.json", json.dumps(config))
    with pytest.raises(ModelError, match=r"mine\.Conv2D|Conv2D"):
        examine(locate(tmp_path / "b.keras"))


def test_a_keras_model_is_converted_and_predicts(tmp_path, capsys):
    model = preprocessing(kl.Rescaling(1 / 255))
    path = save(model, tmp_path / "a.keras")
    main(["convert", str(path), str(tmp_path / "run"), "--class-names", "numbers"])
    config, _ = read_model(tmp_path / "run")
    assert config.preprocessing == Preprocessing((0, 0, 0), (255, 255, 255))
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "convert",
                str(path),
                str(tmp_path / "other"),
                "--preprocessing",
                "oxford",
                "--class-names",
                "numbers",
            ]
        )
    assert ended.value.code == 2
    assert "preprocesses images itself" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def changed_at_random(part, random: np.random.Generator):
    """A copy of JSON with one of its values exchanged."""
    strange = [None, "x", -1, 2.5, [], {}, True, [[1, 2]], float("inf"), {"class_name": "x"}, "channels_first"]
    if not isinstance(part, dict | list) or not part or random.random() < 0.02:
        return strange[random.integers(len(strange))]
    key = random.choice(list(part)) if isinstance(part, dict) else int(random.integers(len(part)))
    copied = dict(part) if isinstance(part, dict) else list(part)
    copied[key] = changed_at_random(part[key], random)
    return copied


def test_configurations_from_strangers(tmp_path):
    """A sentence, or a network, whatever stands in them."""
    path = save(preprocessing(kl.Rescaling(1 / 255)), tmp_path / "a.keras")
    raw = read(path)
    random = np.random.default_rng(0)
    config = json.loads(raw.facts["config"])
    refused = 0
    for _ in range(600):
        facts = raw.facts | {"config": json.dumps(changed_at_random(config, random))}
        try:
            layouts.keras.incoming(replace(raw, tensors=dict(raw.tensors), facts=facts))
        except ModelError:
            refused += 1
    assert 100 < refused < 600
