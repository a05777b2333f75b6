"""Another library's file -> weights of ours: it is read, recognised, and gets what belongs to it.

Preprocessing and class names are never guessed: they are known because the file is a published one, or says so, or
somebody told them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.configurations import STRIDE, Architecture, LocalResponseNorm
from verydeep.errors import ModelError, UsageError, few, printable
from verydeep.images import imagenet
from verydeep.images.color import Preprocessing
from verydeep.run_folder import CONFIG, ModelConfig, TrainedOn, all_finite
from verydeep.weights.choice import groups
from verydeep.weights.files import read
from verydeep.weights.layouts import recognize
from verydeep.weights.published import (
    OXFORD_TRAINED_ON,
    PREPROCESSING,
    TORCHVISION_TRAINED_ON,
    Published,
    by_checksum,
    checksum,
)
from verydeep.weights.recognize import Layers, Tensors, architecture_of_layers, is_network, named
from verydeep.weights.source import UNKNOWN, Known, Source, read_card, weights_path
from verydeep.weights.windows import include_pooling, window_of

OXFORD_NAMES = {"VGG_ILSVRC_16_layers": "D", "VGG_ILSVRC_19_layers": "E"}  # of Oxford's Caffe networks
OXFORD_LICENCE = "CC-BY-4.0"
MOST_LETTERS = 700  # of an error about a file, which may name it again
MOST_SCALE = 10_000  # pixels, of what a card may say: no training had a larger S


@dataclass
class Found:
    """Weights that were read and recognised.

    Attributes:
        source: where they come from.
        path: the file that was read.
        kind: of the file, a key of `verydeep.weights.files.KINDS`.
        layout: whose names and axes they had, a key of `LAYOUTS`.
        architecture: that they are of.
        tensors: with our names, in float32.
        known: everything that belongs to them, as far as it is known.
        dtypes: types of the numbers in the file.
        sha256: of the file.
        published: the published file that this is, if it is one.
        window_known: whether the side of the network's window is known; if not, it is as fc6's shape seems to say.
        not_finite: tensors of the file, by our names, with NaN or infinite numbers.
        chosen: which network of the file it is and why, where that was not clear.
        doubts: when its scores are wrong, a sentence each.
        notes: what people should know, a sentence each.
        facts: what else the file says; of an ONNX graph without trained numbers the `shapes` of its weights, where
            there are no tensors.

    """

    source: Source
    path: Path
    kind: str
    layout: str
    architecture: Architecture
    tensors: Tensors
    known: Known
    dtypes: tuple[str, ...]
    sha256: str
    published: Published | None = None
    window_known: bool = True
    not_finite: tuple[str, ...] = ()
    chosen: str = ""
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def examine(source: Source, told: Known = UNKNOWN) -> Found:
    """Read weights of another library, recognise them, and find what is known about them.

    Raises:
        ModelError: as `open_source`.

    """
    path = weights_path(source.path)
    raw = read(path, source.network)
    kind, facts, dtypes = raw.kind, raw.facts, tuple(dict.fromkeys(raw.dtypes.values()))
    sha256 = checksum(path)
    published = by_checksum("sha256", sha256)
    if published is None and kind == "hdf5":
        published = by_checksum("md5", checksum(path, "md5"))
    with _of(path):
        layout, layers = recognize(raw)
        if told.features_only:
            layers.fully_connected, layers.problem = [], None
        with _suggesting_features(layers, source):
            window = window_of(layers, told.window) if layers.fully_connected else None
            window_known = window is not None or not layers.fully_connected
            if window:
                include_pooling(layers, window)
            beside, notes = layers.beside, layers.notes
            architecture, tensors = (architecture_of_layers(layers), {}) if "shapes" in facts else named(layers)
            _check_outputs(architecture)
    found = Found(source, path, kind, layout, architecture, tensors, told, dtypes, sha256, published, window_known)
    found.facts, found.chosen = facts, printable(facts.get("chosen", ""))
    beside = facts.get("beside", []) + groups(beside)
    if found.chosen:
        found.notes.append(found.chosen)
    if beside:
        found.notes.append(printable(f"not used, as it is not the network's: {few(beside, quoted=False)}"))
    found.doubts = [printable(note) for note in notes + facts.get("notes", []) if published is None]
    found.notes += found.doubts
    _drop_what_is_not_finite(found)
    with _of(path):
        of_file = _from_facts(found, facts)
        if told.preprocessing and facts.get("preprocesses"):
            raise UsageError(f"{path} preprocesses images itself, within the network; leave the preprocessing out")
    if facts.get("preprocesses"):
        found.notes.append("it preprocesses images itself, within the network; this is its preprocessing here")
    for known in (source.known, published.known if published else UNKNOWN, of_file, _beside(path)):
        found.known = found.known.completed_by(known)
    _settle(found)
    return found


def config_of(found: Found) -> ModelConfig:
    """What stands beside the weights of a model of ours.

    Raises:
        ModelError: its window, its preprocessing or its class names are not known, or its weights are no numbers.

    """
    known = found.known
    if "shapes" in found.facts:
        raise ModelError(
            f"{found.path} has shapes and no trained numbers: its weights are made by ConstantOfShape nodes"
        )
    if known.preprocessing is None or known.class_names is None or not found.window_known:
        raise ModelError(_question(found))
    side = round(found.architecture.window * 256 / 224)
    facts = {
        "source": found.source.name,
        "sha256": found.sha256,
        "layout": found.layout,
        "licence": known.licence,
        "origin": known.origin,
        "notes": found.notes,
    }
    return ModelConfig(
        found.architecture,
        known.preprocessing,
        known.class_names,
        known.trained_on or TrainedOn((side, side)),
        {name: fact for name, fact in facts.items() if fact},
    )


def window_question(window: int) -> str:
    """What is not known where average pooling may come before fc6.

    Args:
        window: that fc6 seems to have, in pixels.

    """
    side = window // STRIDE
    return (
        f"on what size of images it was trained (its first FC layer takes a map of {side}x{side}: the last map of "
        f"{window}-pixel images, or an average-pooled map of larger images, often 224)"
    )


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Say which file it is that is not as it should be."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path} {printable(error, MOST_LETTERS)}") from None


@contextmanager
def _suggesting_features(layers: Layers, source: Source) -> Iterator[None]:
    """Where FC layers are not VGG's, but convolutions are, say that these can be had alone."""
    shapes = [layer.weight.shape for layer in layers.convolutions]
    has_head = bool(layers.fully_connected or layers.problem)
    try:
        yield
    except ModelError as error:
        if not has_head or not is_network(shapes):
            raise
        raise ModelError(
            f"{error}; to take its convolutions alone: verydeep convert {source.name} RUN --features-only"
        ) from None


def _check_outputs(architecture: Architecture) -> None:
    if architecture.num_classes == 1:
        raise ModelError(
            "has one output, as networks that end with a sigmoid have; over one class a softmax is 1 for every "
            "image. Give its last FC layer two outputs: weights of zeros and its own, and likewise biases"
        )


def _question(found: Found) -> str:
    """Ask for all that is not known at once."""
    unknown, options, other = [], [], ""
    if found.known.preprocessing is None:
        unknown.append("how pictures are to be preprocessed for these weights")
        options.append(f"--preprocessing {' | '.join(PREPROCESSING)}")
        other = " (or --mean, --deviation and --channels instead of a name)"
    if found.known.class_names is None:
        unknown.append(f"what its {found.architecture.num_classes} classes are called")
        options.append("--class-names imagenet | numbers | FILE")
    if not found.window_known:
        unknown.append(window_question(found.architecture.window))
        options.append("--window PIXELS")
    return (
        f"{found.path}: nobody says {' and '.join(unknown)}, and it is not guessed; tell it by: "
        f"verydeep convert {found.source.name} RUN {' '.join(options)}{other}"
    )


def _drop_what_is_not_finite(found: Found) -> None:
    """Weights whose classifier is NaN are features; any other number that is not finite is damage."""
    found.not_finite = tuple(name for name, tensor in found.tensors.items() if not all_finite(tensor))
    if not found.not_finite:
        return
    if not all(name.startswith("fc") for name in found.not_finite):
        raise ModelError(
            f"{found.path}: {found.not_finite[0]} has NaN or infinite numbers; the weights cannot be used"
        )
    found.architecture, found.window_known = replace(found.architecture, num_classes=0, window=224), True
    found.tensors = {name: found.tensors[name] for name in found.architecture.tensors}
    found.notes.append(
        f"{found.not_finite[0]} has NaN or infinite numbers: the convolutions alone are taken, as features"
    )


def _settle(found: Found) -> None:
    """Bring what is known and what was recognised together."""
    architecture, known = found.architecture, found.known
    configuration = known.configuration
    if configuration and configuration != architecture.configuration:
        if {configuration, architecture.configuration} != {"A", "A-LRN"}:
            raise UsageError(
                f"{found.path} is configuration {architecture.configuration}, not {configuration}; leave it out"
            )
        found.architecture = architecture = replace(architecture, configuration=configuration)
    if architecture.configuration == "A" and found.layout == "verydeep" and not configuration:
        found.notes.append("weights do not tell A from A-LRN: A is taken; --configuration A-LRN says otherwise")
    if not architecture.num_classes:
        found.known = replace(known, class_names=())
    elif known.class_names and len(known.class_names) != architecture.num_classes:
        found.notes.append(
            f"{len(known.class_names)} class names came with {architecture.num_classes} classes: they are not used"
        )
        found.known = replace(known, class_names=None)
    if architecture.local_response_norm != LocalResponseNorm():
        found.notes.append(f"it has {architecture.local_response_norm}, not AlexNet's")
    if architecture.hidden:
        found.notes.append("its FC layers have {} and {} channels".format(*architecture.hidden))
    if "float64" in found.dtypes:
        found.notes.append("its numbers are float64 and are rounded to float32")
    if architecture.num_classes and found.published and not found.known.class_names:
        found.known = replace(found.known, class_names=imagenet.class_names())


def _from_facts(found: Found, facts: dict[str, Any]) -> Known:
    """What the file itself says."""
    if "known" in facts:
        return facts["known"]  # type: ignore[no-any-return]
    if found.kind == "matlab":
        names = imagenet.named(facts.get("wordnet_numbers") or [""]) or facts.get("class_names")
        mean = facts.get("mean")
        preprocessing = Preprocessing((mean[0], mean[1], mean[2])) if mean else None
        is_oxfords = mean is not None and bool(np.allclose(mean, PREPROCESSING["matconvnet"].mean, atol=0.01))
        return Known(
            preprocessing,
            tuple(names) if names else None,
            OXFORD_TRAINED_ON if is_oxfords else None,
            OXFORD_LICENCE if is_oxfords and found.architecture.num_classes == imagenet.NUM_CLASSES else None,
            "MatConvNet",
        )
    name = facts.get("name")
    if (
        found.kind == "caffe"
        and OXFORD_NAMES.get(str(name)) == found.architecture.configuration
        and found.architecture.num_classes == imagenet.NUM_CLASSES
        and any(layer["name"] == "fc8" for layer in facts["layers"])
    ):
        return Known(
            PREPROCESSING["oxford"],
            imagenet.class_names(),
            OXFORD_TRAINED_ON,
            OXFORD_LICENCE,
            f"Oxford's {name}, for Caffe",
        )
    return UNKNOWN


def _beside(path: Path) -> Known:
    """What timm's config.json beside the weights says."""
    card = read_card(path.parent)
    if card is None or not isinstance(card.get("pretrained_cfg"), dict):
        return UNKNOWN
    fields = card["pretrained_cfg"]
    try:  # the card may come from a stranger: nothing in it is taken for what it should be
        mean, deviation = (tuple(round(255 * float(part), 6) for part in fields[name]) for name in ("mean", "std"))
        preprocessing = Preprocessing(mean, deviation, "RGB")  # type: ignore[arg-type]
        side = round(int(fields.get("input_size", (3, 224, 224))[1]) / float(fields.get("crop_pct", 0.875)))
        if side > MOST_SCALE:
            raise ValueError(f"crop_pct is {fields['crop_pct']}")
        names = card.get("label_names") or fields.get("label_names")
        if not isinstance(names, list | None):
            raise ValueError("label_names is no list")
        tag, licence = fields.get("tag") or "", fields.get("license")
        if not names and str(tag).endswith("in1k"):
            names = list(imagenet.class_names())
        return Known(
            preprocessing,
            tuple(map(printable, names)) if names else None,
            TrainedOn((side, side)) if tag != "tv_in1k" else TORCHVISION_TRAINED_ON,
            printable(licence) if licence else None,
            printable(f"timm's {card.get('architecture', 'network')}" + (f".{tag}" if tag else "")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError, ModelError) as error:
        raise ModelError(f"{path.parent / CONFIG} is not timm's: {printable(error)}") from None
