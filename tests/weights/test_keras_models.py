"""Keras models as people fine-tune and save them: read with Keras's own answers, or refused with a sentence."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import torch
from keras_models import (
    ENDINGS,
    RAW,
    WHOLE,
    WIDE,
    A,
    adapted,
    agree,
    base,
    changed,
    convolution,
    filled,
    flat,
    head,
    ours,
    pixels,
    preprocessing,
    save,
    stages,
    theirs,
)

from verydeep.cli import main
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.run_folder import read_model
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
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
            import_weights(locate(save(model, tmp_path / f"a{ending}")))
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
                import_weights(locate(tmp_path / "a.h5"))
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
    found = import_weights(locate(tmp_path / f"a{ending}"))
    assert found.architecture.batch_norm
    stored = next(weight for weight in model.weights if weight.name == "moving_variance")
    np.testing.assert_allclose(found.tensors["bn1_1.running_var"] + 1e-5, np.asarray(stored) + 1e-3, rtol=1e-5)


def test_zero_padding_before_a_valid_convolution_is_the_same_padding(tmp_path):
    model = filled(changed(4, kl.ZeroPadding2D, lambda: convolution(16, padding="valid")))
    path = save(model, tmp_path / "a.keras")
    scores = ours(path, pixels(64))
    expected = torch.from_numpy(theirs(model, pixels(64))).softmax(1)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    with pytest.raises(ModelError, match="padding 2"):
        import_weights(locate(save(changed(4, kl.ZeroPadding2D, lambda: convolution(16)), tmp_path / "b.keras")))


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
    found = import_weights(locate(path))
    assert wanted is None or found.metadata.preprocessing == wanted
    with pytest.raises(UsageError, match="preprocesses images inside the network"):
        import_weights(locate(path), Metadata(RAW))


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


def test_convolutions_as_fc_layers(tmp_path):
    x = base(64)
    y = kl.Conv2D(WIDE, 2, activation="relu")(x.output)
    y = kl.Conv2D(3, 1)(kl.Conv2D(WIDE, 1, activation="relu")(y))
    model = filled(keras.Model(x.input, kl.Softmax()(kl.GlobalAveragePooling2D()(y))))
    assert agree(model, save(model, tmp_path / "a.keras"), 64)


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
    assert "preprocesses images inside the network" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
