"""A model of ours -> a file that another library loads."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import Architecture
from verydeep.errors import UsageError, require
from verydeep.files import write_json, write_whole
from verydeep.images.color import Preprocessing
from verydeep.run_folder import CONFIG, WEIGHTS, ModelConfig, write_weights
from verydeep.weights.layouts import keras, timm, torchvision
from verydeep.weights.published import OXFORD_MEAN
from verydeep.weights.recognize import Tensors

LAYOUTS = {"torchvision": torchvision, "timm": timm, "keras": keras}
"""Libraries that weights can be written for."""

ENDINGS = {
    "torchvision": (".pth", ".pt", ".safetensors"),
    "timm": (".pth", ".pt", ".bin", ".safetensors", ""),
    "keras": (".weights.h5",),
}
"""What a file for each library may be called; timm takes a folder too, which has the preprocessing with it."""


def write_for(library: str, out: Path, config: ModelConfig, tensors: Tensors) -> None:
    """Write weights as a library loads them.

    Args:
        library: one of `LAYOUTS`.
        out: the file, whose ending decides its kind; for timm a folder too.
        config: of the model.
        tensors: its weights, by our names.

    Raises:
        UsageError: the library has no such network, or does not load such a file.
        VerydeepError: what writes the file is not installed.

    """
    if not any(out.name.endswith(ending) if ending else not out.suffix for ending in ENDINGS[library]):
        wanted = ", ".join(ending or "a folder" for ending in ENDINGS[library])
        raise UsageError(f"{out} is not what {library} loads; its name has to end with {wanted}")
    if hidden := config.architecture.hidden:
        raise UsageError(
            f"{library} builds VGG networks with 4096 channels in fc6 and fc7, this one has {hidden[0]} and "
            f"{hidden[1]}; export it as ONNX"
        )
    theirs = LAYOUTS[library].tensors_for(config.architecture, tensors)
    if library == "keras":
        _write_keras(out, config.architecture, theirs)
    elif out.suffix in (".safetensors", ""):
        card = None if out.suffix else timm_card(config)  # before anything is written: it may refuse
        write_weights(out if out.suffix else out / WEIGHTS, theirs, {"format": "pt"})
        if card:
            write_json(out / CONFIG, card)
    else:
        _write_torch(out, theirs)


def feeding(library: str, preprocessing: Preprocessing) -> str:
    """How the library must be fed so that it gives our answers, in its own words.

    Args:
        library: one of `LAYOUTS`.
        preprocessing: of the model.

    """
    mean, deviation = np.array(preprocessing.mean), np.array(preprocessing.deviation)
    if library == "keras":
        if preprocessing.channels == "BGR" and np.allclose(mean, OXFORD_MEAN) and (deviation == 1).all():
            return "feed it by keras.applications.vgg16.preprocess_input"
        order = "[..., ::-1]" if preprocessing.channels == "BGR" else ""
        return f"feed it ((pixels - {_numbers(mean)}) / {_numbers(deviation)}){order}, of RGB levels of 0 to 255"
    first = ", then reversed by .flip(-3)" if preprocessing.channels == "BGR" else ""
    normalize = f"Normalize(mean={_numbers(mean / 255)}, std={_numbers(deviation / 255)})"
    return f"feed it {normalize} of RGB levels of 0 to 1{first}"


def timm_card(config: ModelConfig) -> dict[str, Any]:
    """The config.json by which `timm.create_model("local-dir:FOLDER", pretrained=True)` knows a network.

    Raises:
        UsageError: timm cannot build or feed this network.

    """
    architecture, preprocessing = config.architecture, config.preprocessing
    if not architecture.num_classes:
        raise UsageError(
            "timm builds networks with FC layers, this one has none; write a file, OUT.safetensors, whose tensors "
            "load_state_dict takes with strict=False"
        )
    if preprocessing.channels == "BGR":
        raise UsageError(
            "timm feeds networks RGB, this one takes BGR; write a file, OUT.safetensors, and reverse the channels"
        )
    if architecture.width != 1:
        raise UsageError(
            f"timm builds networks of the paper's width, this one's is {architecture.width:g}; write a file, "
            "OUT.safetensors, and load it into a network that is as narrow"
        )
    side = architecture.window
    name = torchvision.CONFIGURATIONS_THERE[architecture.configuration] + "_bn" * architecture.batch_norm
    return {
        "architecture": name,
        "num_classes": architecture.num_classes,
        "num_features": 4096,
        "label_names": list(config.class_names),
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": side / config.trained_on.test_scale,
            "crop_mode": "center",
            "mean": [part / 255 for part in preprocessing.mean],
            "std": [part / 255 for part in preprocessing.deviation],
            "num_classes": architecture.num_classes,
            "pool_size": [7, 7],
            "first_conv": "features.0",
            "classifier": "head.fc",
            "license": config.provenance.get("licence"),
        },
    }


def _numbers(values: NDArray[Any]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _write_torch(out: Path, theirs: Tensors) -> None:
    require("torch", "train", "writing PyTorch's files")
    import torch

    tensors = {name: torch.from_numpy(np.asarray(tensor, order="C")) for name, tensor in theirs.items()}
    content = BytesIO()  # where a disk is full, torch has no sentence for it
    torch.save(tensors, content)
    write_whole(out, lambda aside: aside.write_bytes(content.getbuffer()))


def _write_keras(out: Path, architecture: Architecture, theirs: Tensors) -> None:
    require("h5py", "weights", "writing Keras's files")
    import h5py

    def write(aside: Path) -> None:
        content = BytesIO()  # where a disk is full, HDF5 ends the process
        with h5py.File(content, "w") as file:
            for group, name in keras.group_names(architecture).items():
                file.create_group(f"{group}/vars").attrs["name"] = name
            file.create_group("vars")
            for name, tensor in theirs.items():
                file.create_dataset(name, data=tensor)
        aside.write_bytes(content.getbuffer())

    write_whole(out, write)
