"""Other libraries' networks, saved by them: here they give the scores that they give there, and go back."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close, gives
from peers import KERAS, TORCHVISION, keras_network, keras_scores, timm_network, torchvision_network
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models import VGG16_Weights

from verydeep.api.features import features, layer_names
from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.protocols import CentreCrop
from verydeep.inference import open_engine
from verydeep.model import load
from verydeep.run_folder import ModelConfig, TrainedOn, read_model, write_model
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import open_source
from verydeep.weights.published import OXFORD_MEAN, PREPROCESSING
from verydeep.weights.source import locate
from verydeep.weights.writing import write_for

pytestmark = [
    pytest.mark.usefixtures("read_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras about NumPy
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5"),
]


def convert(*words: object) -> None:
    main(["convert", *map(str, words)])


def export(model: Path, out: Path, library: str) -> None:
    main(["export", str(model), "--out", str(out), "--to", library])


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("configuration", TORCHVISION)
@torch.inference_mode()
def test_torchvision(configuration, batch_norm, tmp_path, images):
    network = torchvision_network(configuration, batch_norm)
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    convert(
        tmp_path / "theirs.pth", tmp_path / "run", "--preprocessing", "torchvision", "--class-names", "numbers"
    )
    config, tensors = read_model(tmp_path / "run")
    assert config.architecture == Architecture(configuration, 7, 1 / 16, 224, batch_norm)

    transform = VGG16_Weights.IMAGENET1K_V1.transforms(antialias=True)
    theirs = network(torch.stack([transform(image) for image in images])).numpy()
    crop = VGG16_Weights.IMAGENET1K_V1.transforms(mean=(0, 0, 0), std=(1 / 255,) * 3, antialias=True)
    pixels = np.stack([crop(image).permute(1, 2, 0).round().numpy().astype(np.uint8) for image in images])
    assert gives(tmp_path / "run", pixels, theirs)

    export(tmp_path / "run", tmp_path / "back.pth", "torchvision")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    original = network.state_dict()
    assert back.keys() == original.keys()
    assert all(torch.equal(back[name], original[name]) for name in original)
    again = import_weights(locate(tmp_path / "back.pth")).tensors
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    network.load_state_dict(back)


@torch.inference_mode()
def test_the_centre_crop_is_torchvisions(tmp_path, images):
    """From the image to the posterior, each with all of its own."""
    network = torchvision_network("D")
    save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    convert(tmp_path / "theirs.safetensors", tmp_path / "run", *PREPROCESSED)
    transform = VGG16_Weights.IMAGENET1K_V1.transforms(antialias=True)
    theirs = network(torch.stack([transform(image) for image in images])).softmax(1)
    ours = load(tmp_path / "run", engine="torch").posterior(images, CentreCrop((256,)))
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


PREPROCESSED = ("--preprocessing", "torchvision", "--class-names", "numbers")


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("configuration", TORCHVISION)
@torch.inference_mode()
def test_timm(configuration, batch_norm, tmp_path, images):
    network = timm_network(configuration, batch_norm)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(timm_card(network)))
    found = import_weights(locate(tmp_path / "model.safetensors"))
    assert (found.layout, found.metadata.preprocessing) == ("timm", PREPROCESSING["torchvision"])
    assert found.architecture == Architecture(configuration, 7, 1 / 16, 224, batch_norm)
    with pytest.raises(ModelError, match="classes are called"):
        open_engine(tmp_path)
    convert(tmp_path, tmp_path / "run", "--class-names", "numbers")

    from timm.data import create_transform, resolve_data_config

    settings = resolve_data_config({}, model=network)
    transform = create_transform(**settings)
    theirs = network(torch.stack([transform(image) for image in images])).numpy()
    plain = create_transform(**settings | {"mean": (0, 0, 0), "std": (1 / 255,) * 3})
    pixels = np.stack([plain(image).permute(1, 2, 0).round().numpy().astype(np.uint8) for image in images])
    assert gives(tmp_path / "run", pixels, theirs)

    export(tmp_path / "run", tmp_path / "back.safetensors", "timm")
    back, original = load_file(tmp_path / "back.safetensors"), network.state_dict()
    assert back.keys() == original.keys()
    assert all(torch.equal(back[name], original[name]) for name in original)
    network.load_state_dict(back)


def timm_card(network) -> dict:
    """The config.json that timm writes beside weights for the Hub."""
    fields = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
    kept = {name: network.pretrained_cfg[name] for name in fields if name in network.pretrained_cfg}
    return {"architecture": "vgg16", "num_classes": network.num_classes, "pretrained_cfg": kept}


def test_a_folder_for_timm_has_the_preprocessing(tmp_path):
    """timm itself loads it from the folder; full width, as its own table has it, but for the tensors' numbers."""
    from timm.data import resolve_data_config

    config = ModelConfig(
        Architecture("A", 7, 1, 224),
        PREPROCESSING["matconvnet"],
        tuple("abcdefg"),
        TrainedOn((256, 256)),
    )
    network = timm_network("A")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    write_for("timm", tmp_path / "folder", config, import_weights(locate(tmp_path / "a.safetensors")).tensors)
    card = json.loads((tmp_path / "folder" / "config.json").read_text())
    settings = resolve_data_config({}, pretrained_cfg=card["pretrained_cfg"])
    np.testing.assert_allclose(255 * np.array(settings["mean"]), OXFORD_MEAN)
    np.testing.assert_allclose(settings["std"], 1 / 255)
    assert settings["crop_pct"] == 0.875
    opened, _ = read_model_from(tmp_path / "folder")
    assert opened.class_names == tuple("abcdefg")
    assert opened.preprocessing == config.preprocessing


def read_model_from(path: Path):
    from verydeep.weights.opening import open_source

    return open_source(path)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("configuration", KERAS)
def test_keras(configuration, ending, tmp_path, crops):
    network = keras_network(configuration)
    path = tmp_path / f"theirs{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save_weights(path) if ending == ".weights.h5" else network.save(path)
    convert(path, tmp_path / "run", "--preprocessing", "oxford", "--class-names", "numbers")
    config, tensors = read_model(tmp_path / "run")
    assert config.architecture == Architecture(configuration, 7, 1 / 16)
    assert gives(tmp_path / "run", crops, keras_scores(network, crops))

    export(tmp_path / "run", tmp_path / "back.weights.h5", "keras")
    before = [weight for layer in network.layers for weight in layer.get_weights()]
    for layer in network.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    network.load_weights(tmp_path / "back.weights.h5")
    after = [weight for layer in network.layers for weight in layer.get_weights()]
    assert len(after) == len(before)
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))
    again = import_weights(locate(tmp_path / "back.weights.h5")).tensors
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)


def test_kerass_older_weights_files(tmp_path, crops):
    """As Keras publishes its own: names of layers and weights are attributes."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    network = keras_network("D", num_classes=5)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        save_weights_to_hdf5_group(file, network)
    convert(tmp_path / "old.h5", tmp_path / "run", "--preprocessing", "oxford", "--class-names", "numbers")
    ours = open_engine(tmp_path / "run").score_maps(crops)[:, :, 0, 0]
    assert close(ours, keras_scores(network, crops))


@pytest.mark.parametrize("library", ["torchvision", "timm", "keras"])
def test_without_a_top_it_is_features(library, tmp_path, crops):
    path = tmp_path / ("theirs.weights.h5" if library == "keras" else "theirs.safetensors")
    shown = torch.from_numpy(crops).flip(3).permute(0, 3, 1, 2) - torch.tensor(OXFORD_MEAN).flip(0).view(3, 1, 1)
    if library == "keras":
        network = keras_network("D", top=False)
        network.save_weights(path)
        theirs = keras_scores(network, crops).transpose(0, 3, 1, 2)
    elif library == "timm":
        network = timm_network("D", num_classes=0)
        save_file(network.state_dict(), path)
        theirs = network.features(shown).detach().numpy()
    else:
        network = torchvision_network("D")
        save_file({f"features.{name}": t for name, t in network.features.state_dict().items()}, path)
        theirs = network.features(shown).detach().numpy()
    convert(path, tmp_path / "run", "--preprocessing", "oxford")
    config, tensors = read_model(tmp_path / "run")
    assert config.architecture == Architecture("D", 0, 1 / 16)
    assert set(tensors) == {name for name in Architecture("D").tensors if name.startswith("conv")}
    ours = open_engine(tmp_path / "run", engine="native").run(crops, ["pool5"])["pool5"]
    assert close(ours, theirs)
    with pytest.raises(UsageError, match="features only"):
        load(tmp_path / "run").predict(Image.new("RGB", (256, 256)))


@torch.inference_mode()
def test_features_go_back_and_are_theirs(tmp_path, images):
    """fifth pooling's maps of our features are torchvision's."""
    network = torchvision_network("B")
    save_file(
        {f"features.{name}": t for name, t in network.features.state_dict().items()}, tmp_path / "f.safetensors"
    )
    convert(tmp_path / "f.safetensors", tmp_path / "run", "--preprocessing", "torchvision")
    transform = VGG16_Weights.IMAGENET1K_V1.transforms(antialias=True)
    theirs = network.features(torch.stack([transform(image) for image in images])).numpy()
    crop = VGG16_Weights.IMAGENET1K_V1.transforms(mean=(0, 0, 0), std=(1 / 255,) * 3, antialias=True)
    pixels = np.stack([crop(image).permute(1, 2, 0).round().numpy().astype(np.uint8) for image in images])
    ours = open_engine(tmp_path / "run", engine="native").run(pixels, ["pool5"])["pool5"]
    assert close(ours, theirs)
    export(tmp_path / "run", tmp_path / "back.pth", "torchvision")
    assert list(torch.load(tmp_path / "back.pth", weights_only=True)) == [
        f"features.{name}" for name in network.features.state_dict()
    ]


def test_a_classifier_of_nan_is_left_out(tmp_path, capsys):
    """As torchvision's IMAGENET1K_FEATURES has it."""
    state = torchvision_network("D").state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier"):
            tensor.fill_(float("nan"))
    torch.save(state, tmp_path / "features.pth")
    main(["inspect", str(tmp_path / "features.pth"), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_classes"] == 0
    assert facts["not_finite"] == ["fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"]
    assert any("as features" in note for note in facts["notes"])
    convert(tmp_path / "features.pth", tmp_path / "run", "--preprocessing", "amdegroot")
    assert read_model(tmp_path / "run")[0].class_names == ()
    with pytest.raises(SystemExit) as ended:
        Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
        main(["predict", str(tmp_path / "run"), str(tmp_path / "a.png")])
    assert ended.value.code == 2
    assert "features only" in capsys.readouterr().err


def test_nan_elsewhere_is_damage(tmp_path):
    state = torchvision_network("D").state_dict()
    state["features.2.weight"][0, 0, 0, 0] = float("inf")
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"conv1_2\.weight has NaN or infinite"):
        import_weights(locate(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("wrapped", ["state_dict", "module.", "_orig_mod."])
def test_checkpoints_and_wrapped_networks(wrapped, tmp_path):
    state = torchvision_network("A").state_dict()
    if wrapped == "state_dict":
        torch.save({"epoch": 3, "state_dict": state, "best": 0.5}, tmp_path / "a.pth")
    else:
        torch.save({wrapped + name: tensor for name, tensor in state.items()}, tmp_path / "a.pth")
    assert import_weights(locate(tmp_path / "a.pth")).architecture == Architecture("A", 7, 1 / 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_types_become_float32(dtype, ending, tmp_path):
    state = {name: tensor.to(dtype) for name, tensor in torchvision_network("A").state_dict().items()}
    torch.save(state, tmp_path / f"a{ending}") if ending == ".pth" else save_file(state, tmp_path / f"a{ending}")
    found = import_weights(locate(tmp_path / f"a{ending}"))
    assert torch.equal(torch.from_numpy(found.tensors["conv1_1.weight"]), state["features.0.weight"].float())
    assert any("rounded" in note for note in found.notes) == (dtype == torch.float64)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool])
def test_numbers_of_a_quantized_network_are_not_taken_for_weights(dtype, tmp_path):
    state = {name: tensor.to(dtype) for name, tensor in torchvision_network("A").state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=rf"a\.safetensors has weights of type {str(dtype)[6:]}, as quantized"):
        import_weights(locate(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("card", [None, '{"model_type": "vgg"}', "{}"])
def test_another_programs_configuration_does_not_make_a_folder_ours(card, tmp_path):
    """Weights that lie in it are found by their usual name, or are asked for."""
    if card is not None:
        (tmp_path / "config.json").write_text(card)
    save_file(torchvision_network("A").state_dict(), tmp_path / "model.safetensors")
    for source in (tmp_path, tmp_path / "model.safetensors"):
        assert open_source(source, "torchvision", "numbers")[0].architecture == Architecture("A", 7, 1 / 16)
    (tmp_path / "model.safetensors").rename(tmp_path / "vgg.safetensors")
    if card:
        with pytest.raises(ModelError, match="give the file of weights itself"):
            open_source(tmp_path)


@pytest.mark.parametrize("configuration", ["A-LRN", "C", "D"])
def test_our_own_names_without_a_run_folder(configuration, tmp_path):
    from verydeep.network.vgg import VGG

    architecture = Architecture(configuration, 5, 0.1, 64, batch_norm=configuration == "D")
    network = VGG(architecture)
    for tensor in network.state_dict().values():
        tensor.uniform_(0, 1) if tensor.is_floating_point() else tensor.fill_(9)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    told = Metadata(configuration="A-LRN") if configuration == "A-LRN" else Metadata()
    found = import_weights(locate(tmp_path / "a.pth"), told)
    assert found.architecture == architecture
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in network.state_dict().items())
    if configuration == "A-LRN":
        assert any("A-LRN" in note for note in import_weights(locate(tmp_path / "a.pth")).notes)


@pytest.mark.parametrize(
    ("library", "fields", "reason"),
    [
        ("torchvision", {"configuration": "C"}, "no network C"),
        ("timm", {"configuration": "A-LRN"}, "no network A-LRN"),
        ("keras", {"configuration": "B"}, "no network B"),
        ("keras", {"configuration": "D", "batch_norm": True}, "batch normalisation"),
        ("torchvision", {"configuration": "D", "window": 64}, "window"),
        (
            "torchvision",
            {"window": 224, "hidden": (48, 20)},
            "4096 channels .* this one has 48 and 20",
        ),
        ("timm", {"configuration": "A", "window": 224, "hidden": (4096, 20)}, "this one has 4096 and 20"),
        ("timm folder", {"window": 224, "hidden": (48, 48)}, "this one has 48 and 48"),
        ("timm folder", {"window": 224}, "timm builds networks of the paper's width, this one's is 0.05"),
        ("keras", {"window": 224, "hidden": (1, 1)}, "this one has 1 and 1"),
    ],
)
def test_what_a_library_has_not_is_not_written(library, fields, reason, tmp_path):
    architecture = Architecture(**{"num_classes": 3, "width": 0.05, "window": 32} | fields)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors.items()}
    config = ModelConfig(architecture, PREPROCESSING["torchvision"], ("a", "b", "c"), TrainedOn((256, 256)))
    out = tmp_path / {"keras": "out.weights.h5", "timm folder": "out"}.get(library, "out.safetensors")
    with pytest.raises(UsageError, match=reason):
        write_for(library.removesuffix(" folder"), out, config, tensors)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_timm_could_not_feed_is_not_begun(tmp_path):
    architecture = Architecture("A", 3, 0.05)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors.items()}
    config = ModelConfig(architecture, PREPROCESSING["oxford"], ("a", "b", "c"), TrainedOn((256, 256)))
    with pytest.raises(UsageError, match="timm feeds networks RGB"):
        write_for("timm", tmp_path / "folder", config, tensors)
    assert not list(tmp_path.iterdir())


STRANGE = {
    "a mean of two": ({"mean": [0.5, 0.5]}, "three finite means"),
    "no number": ({"std": ["x", 1, 1]}, "could not convert"),
    "nothing to divide by": ({"std": [0, 0, 0]}, "positive deviations"),
    "no crop": ({"crop_pct": 0}, "division by zero"),
    "an endless crop": ({"crop_pct": 1e-300}, "crop_pct is 1e-300"),
    "an inverted crop": ({"crop_pct": -1}, "training's scale"),
    "no size": ({"input_size": 3}, "not subscriptable"),
    "names that are one": ({"label_names": "abcde"}, "label_names is 'abcde'; it must be a list"),
    "names that are none": ({"label_names": ["a", ["b"], "c"]}, "label_names is .* a word in quotes"),
}


@pytest.fixture(scope="module")
def timm_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(timm_network("A", num_classes=3).state_dict(), path)
    return path


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_card_beside_weights_is_an_error_that_names_it(what, timm_weights, tmp_path):
    fields, reason = STRANGE[what]
    card = timm_card(timm_network("A", num_classes=3))
    card["pretrained_cfg"].update(fields)
    (tmp_path / "config.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").symlink_to(timm_weights)
    with pytest.raises(ModelError, match=rf"config\.json is not timm's: .*{reason}"):
        import_weights(locate(tmp_path))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "b", "a"], "classes 0 and 2 are both called 'a'"),
        (["a", " ", "c"], "class 1 has an empty name"),
        (["a", "b"], "there are 2 of them for 3 classes"),
    ],
)
def test_class_names_that_do_not_tell_classes_apart_are_not_used(names, reason, timm_weights, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(timm_card(timm_network("A", num_classes=3)) | {"label_names": names})
    )
    (tmp_path / "model.safetensors").symlink_to(timm_weights)
    found = import_weights(locate(tmp_path))
    assert found.metadata.class_names is None
    assert f"the class names that came with it are not used: {reason}" in found.notes
    with pytest.raises(ModelError, match="does not say what its 3 classes are called"):
        load(tmp_path)
    assert load(tmp_path, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


def test_a_strangers_words_do_not_steer_the_terminal(timm_weights, tmp_path, images, capsys):
    card = timm_card(timm_network("A", num_classes=3))
    card["label_names"] = ["a\x1b[2J", "b\nlicence  MIT", "c"]
    card["pretrained_cfg"].update(license={"\x1b": 1}, tag=["\x1b[31m"])
    (tmp_path / "config.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").symlink_to(timm_weights)
    images[0].save(tmp_path / "a.png")
    config = load(tmp_path).config
    assert config.class_names == (r"a\x1b[2J", "b licence MIT", "c")
    write_model(
        tmp_path / "run", replace(config, class_names=("\x1b[2J",) * 3), import_weights(locate(tmp_path)).tensors
    )
    for words in (
        ["inspect", tmp_path],
        ["inspect", tmp_path / "run"],
        ["predict", tmp_path / "run", tmp_path / "a.png"],
    ):
        main([str(word) for word in words])
        assert "\x1b" not in capsys.readouterr().out


def test_a_configuration_that_nests_without_end_is_an_error(timm_weights, tmp_path, capsys):
    (tmp_path / "config.json").write_text("[" * 100_000)
    (tmp_path / "model.safetensors").symlink_to(timm_weights)
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        load(tmp_path)


def test_a_model_is_taken_wherever_a_model_is_wanted(tmp_path, images, capsys):
    """A file of another library, not converted: predict names classes by it."""
    network = timm_network("A", num_classes=1000)
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    card = timm_card(network)
    card["pretrained_cfg"]["tag"] = "tv_in1k"
    (folder / "config.json").write_text(json.dumps(card))
    images[0].save(tmp_path / "a.png")
    main(["predict", str(folder), str(tmp_path / "a.png"), "--top", "1", "--json"])
    first = json.loads(capsys.readouterr().out)["predictions"][0]
    with torch.inference_mode():
        model = load(folder)
        assert model.config.trained_on == TrainedOn((256, 256))
        assert first["class"] in VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    write_model(tmp_path / "run", model.config, read_model_from(folder)[1])
    assert load(tmp_path / "run").predict(images[0], 1)[0].class_name == first["class"]
    batch = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        tapped = features(folder, ["relu1_1", "pool5"], range=(0, 1))(batch)
        ours = features(tmp_path / "run", ["relu1_1", "pool5"], range=(0, 1))(batch)
    assert all(torch.equal(tapped[name], ours[name]) for name in ("relu1_1", "pool5"))
    assert layer_names(folder) == layer_names(tmp_path / "run")
    words = ["extract", str(tmp_path / "a.png"), "--layers", "pool5", "--scales", "64", "--out"]
    for model, out in ((folder, "theirs.npz"), (tmp_path / "run", "ours.npz")):
        main([words[0], str(model), *words[1:], str(tmp_path / out)])
    with np.load(tmp_path / "theirs.npz") as one, np.load(tmp_path / "ours.npz") as other:
        assert np.array_equal(one["pool5"], other["pool5"])
    with pytest.raises(SystemExit) as ended:
        main(["transfer", str(folder), "digits"])
    assert ended.value.code == 2
    assert "is not a run folder" in capsys.readouterr().err
    capsys.readouterr()
    measured = ["--engines", "verydeep", "--batch-sizes", "1", "--rounds", "1", "--seconds", "0.01", "--json"]
    main(["bench", str(folder), *measured])
    assert json.loads(capsys.readouterr().out)
