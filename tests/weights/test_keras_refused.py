"""Keras models that compute something else than a VGG network, or are damaged: a sentence for each."""

from __future__ import annotations

import json
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from keras_models import (
    ENDINGS,
    RAW,
    WHOLE,
    WIDE,
    base,
    changed,
    convolution,
    filled,
    flat,
    head,
    pixels,
    preprocessing,
    save,
    stages,
    theirs,
)

from verydeep.errors import ModelError
from verydeep.inference import engine_of
from verydeep.run_folder import TrainedOn
from verydeep.weights.files import read
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.layouts import keras as keras_layout
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import open_source
from verydeep.weights.published import PUBLISHED
from verydeep.weights.source import locate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Keras and its dependencies, about themselves
    import keras
    from keras import layers as kl

pytestmark = [
    pytest.mark.usefixtures("read_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras about NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5"),
]


def test_batch_norm_in_weights_alone_is_refused(tmp_path):
    """They tell neither its epsilon nor whether it stands behind ReLU."""
    entry = keras.Input((32, 32, 3))
    model = filled(keras.Model(entry, head(stages(entry, norm=True), WIDE, WIDE)))
    with pytest.raises(ModelError, match="batch_normalization does; save the whole model"):
        import_weights(locate(save(model, tmp_path / "a.weights.h5")))


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
        import_weights(locate(path))
    found = import_weights(locate(path), Metadata(RAW, features_only=True))
    assert found.architecture.num_classes == 0
    maps = engine_of(config_of(found), found.tensors).run(pixels(64), ["pool5"])["pool5"]
    np.testing.assert_allclose(maps, theirs(inner, pixels(64)).transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("last", ["sigmoid", "tanh", "relu"])
def test_scores_that_go_through_something_else_are_no_scores(last, ending, tmp_path):
    inner = base()
    model = keras.Model(inner.input, head(inner.output, WIDE, WIDE, last=last))
    with pytest.raises(ModelError, match="Dense.*, ReLU\\)" if last == "relu" else f"{last} of Dense"):
        import_weights(locate(save(model, tmp_path / f"a{ending}")))


@pytest.mark.parametrize("activation", ["relu", "tanh", "elu"])
@pytest.mark.parametrize("features_only", [False, True])
def test_weights_alone_do_not_tell_activations_and_say_so(activation, features_only, tmp_path, capsys):
    inner = base(activation=activation)
    model = filled(keras.Model(inner.input, head(inner.output, WIDE, WIDE)))
    said = "it has weights alone, which do not tell activations"
    path, given = (
        save(model, tmp_path / "a.weights.h5"),
        Metadata(RAW, ("a", "b", "c"), features_only=features_only),
    )
    assert any(
        note.startswith(said)
        for note in import_weights(locate(path), given if features_only else Metadata()).notes
    )
    open_source(path, RAW, ("a", "b", "c"))
    assert f"note: {path}: {said}" in capsys.readouterr().err
    whole = save(model, tmp_path / "a.keras")
    if activation == "relu":
        assert import_weights(locate(whole)).notes == []
    else:
        with pytest.raises(ModelError, match=f"{activation} of Conv2D"):
            import_weights(locate(whole))


def test_of_published_weights_activations_are_known(tmp_path, monkeypatch):
    from verydeep.weights import importing

    published = next(one for one in PUBLISHED if one.name == "keras:VGG19-notop")
    published = replace(published, metadata=replace(published.metadata, configuration="A"))
    monkeypatch.setattr(importing, "published_with", lambda *_: published)
    inner = base()
    path = save(filled(keras.Model(inner.input, head(inner.output, WIDE, WIDE))), tmp_path / "a.weights.h5")
    assert import_weights(locate(path)).notes == []


@pytest.mark.parametrize("padding", [1, 32])
def test_a_first_convolution_that_differs_is_said_in_one_sentence(padding, tmp_path):
    entry = keras.Input((64, 64, 3))
    model = keras.Model(entry, head(stages(kl.ZeroPadding2D(padding)(entry)), WIDE, WIDE))
    with pytest.raises(ModelError, match="Conv2D") as refused:
        import_weights(locate(save(model, tmp_path / "a.keras")))
    assert f", a 3x3 convolution with padding {padding + 1}, where" in str(refused.value)


def test_arithmetic_behind_padding_is_refused(tmp_path):
    """It changes the padding too, which would be zeros after preprocessing of ours."""
    entry = keras.Input((64, 64, 3))
    model = keras.Model(entry, head(stages(kl.Rescaling(1 / 127.5, -1)(kl.ZeroPadding2D(1)(entry))), WIDE, WIDE))
    with pytest.raises(ModelError, match="Rescaling"):
        import_weights(locate(save(model, tmp_path / "a.keras")))


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
        import_weights(locate(path))


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
        import_weights(locate(path))


@pytest.mark.parametrize("first", [kl.Rescaling, kl.Resizing])
def test_preprocessing_in_weights_alone_is_refused(first, tmp_path):
    model = preprocessing(kl.Rescaling(1 / 255) if first is kl.Rescaling else kl.Resizing(32, 32))
    with pytest.raises(ModelError, match=r"has weights alone.*save the whole model"):
        import_weights(locate(save(model, tmp_path / "a.weights.h5")))


def test_the_window_is_the_inputs(tmp_path):
    """224x896 pixels have a map of 7x28, whose area is a square's."""
    entry = keras.Input((32, 128, 3))
    path = save(keras.Model(entry, head(base(None)(entry), WIDE, WIDE)), tmp_path / "a.keras")
    with pytest.raises(ModelError, match="128x32 pixels"):
        import_weights(locate(path))
    top = [kl.Flatten(), kl.Dense(WIDE, "relu"), kl.Dense(WIDE, "relu"), kl.Dense(3)]
    unnamed = keras.Sequential([*base(None).layers[1:], *top])  # its input is said by what it was built for
    unnamed.build((None, 32, 128, 3))
    with pytest.raises(ModelError, match="128x32 pixels"):
        import_weights(locate(save(unnamed, tmp_path / "c.keras")))
    inner = base(48)
    path = save(keras.Model(inner.input, head(inner.output, WIDE, WIDE)), tmp_path / "b.keras")
    found = import_weights(locate(path))
    assert (found.architecture.window, found.metadata.trained_on) == (32, TrainedOn((48, 48)))


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
                import_weights(locate(save(model, tmp_path / f"{number}{ending}")))


@pytest.mark.parametrize(
    "config", ["[" * 100_000, "{}", "[]", "7", '{"class_name": "Sequential", "config": {"layers": 3}}']
)
def test_a_configuration_that_is_none_is_refused(config, tmp_path):
    path = save(filled(flat()), tmp_path / "a.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
        new.writestr("config.json", config)
    with pytest.raises(ModelError, match="configuration that is not"):
        import_weights(locate(tmp_path / "b.keras"))


def test_a_class_of_somebodys_own_is_not_kerass(tmp_path):
    path = save(filled(flat()), tmp_path / "a.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        config = json.loads(old.read("config.json"))
        config["config"]["layers"][1]["module"] = "mine"
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
        new.writestr("config.json", json.dumps(config))
    with pytest.raises(ModelError, match=r"mine\.Conv2D"):
        import_weights(locate(tmp_path / "b.keras"))


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
            keras_layout.read_layers(replace(raw, tensors=dict(raw.tensors), facts=facts))
        except ModelError:
            refused += 1
    assert 100 < refused < 600
