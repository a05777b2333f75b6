"""Another library's file -> weights of ours: it is read, recognised, and gets what belongs to it.

Preprocessing and class names are never guessed: they are known because the file is a published one, or says so, or
the user gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verydeep.configurations import STRIDE, Architecture, LocalResponseNorm
from verydeep.errors import ModelError, UsageError, command_line, few, printable
from verydeep.files import digest_of
from verydeep.images import imagenet
from verydeep.images.color import Preprocessing
from verydeep.run_folder import CONFIG, ModelConfig, TrainedOn, all_finite
from verydeep.typed import as_type
from verydeep.weights.choice import groups
from verydeep.weights.class_names import ClassNames, as_they_came, check_names, class_names
from verydeep.weights.files import read
from verydeep.weights.formats import MODEL_FILES
from verydeep.weights.layouts import recognize
from verydeep.weights.metadata import UNKNOWN, Metadata
from verydeep.weights.published import (
    PREPROCESSING,
    TORCHVISION_TRAINED_ON,
    Checksum,
    Published,
    published_with,
)
from verydeep.weights.recognize import (
    Layers,
    Tensors,
    architecture_of_layers,
    include_pooling,
    is_network,
    window_of,
    with_our_names,
)
from verydeep.weights.source import Source, read_card, weights_path

MOST_LETTERS = 700  # of an error about a file, which may name it again
MOST_SCALE = 10_000  # pixels, of what a card may say: no training had a larger S


@dataclass
class Imported:
    """Weights that were read and recognised.

    Attributes:
        source: where they come from.
        path: the file that was read.
        format: of the file, a key of `verydeep.weights.formats.FORMATS`.
        layout: whose names and axes they had, the name of a module of `verydeep.weights.layouts`.
        architecture: that they are of.
        tensors: with our names, in float32.
        metadata: everything that belongs to them, as far as it is known.
        dtypes: types of the numbers in the file.
        sha256: of the file.
        published: the published file that this is, if it is one.
        window_known: whether the side of the network's window is known; if not, it is as fc6's shape seems to say.
        not_finite: tensors of the file, by our names, with NaN or infinite numbers.
        warnings: those of the notes that whoever uses the weights has to know, as scores may be wrong.
        notes: what people should know, a sentence each.
        facts: what else the file says; of an ONNX graph without trained numbers the `shapes` of its weights, where
            there are no tensors.

    """

    source: Source
    path: Path
    format: str
    layout: str
    architecture: Architecture
    tensors: Tensors
    metadata: Metadata
    dtypes: tuple[str, ...]
    sha256: str
    published: Published | None = None
    window_known: bool = True
    not_finite: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def import_weights(source: Source, given: Metadata = UNKNOWN, names: ClassNames | None = None) -> Imported:
    """Read weights of another library, recognise them, and find what is known about them.

    Args:
        source: where they are.
        given: what the user says; it goes before anything that is known otherwise.
        names: of the classes, as the user gives them.

    Raises:
        ModelError: as `open_source`.
        UsageError: what the user says does not fit the file.

    """
    path = weights_path(source.path)
    checkpoint = read(path, source.network)
    facts, sha256 = checkpoint.facts, digest_of(path)
    published = published_with(Checksum("sha256", sha256))
    if published is None and checkpoint.format == "hdf5":
        published = published_with(Checksum("md5", digest_of(path, "md5")))
    dtypes = tuple(dict.fromkeys(checkpoint.dtypes.values()))
    with _of(path):
        layout, layers = recognize(checkpoint)
        if given.features_only:
            layers.fully_connected, layers.problem = [], None
        with _suggesting_features(layers, source):
            window = window_of(layers, given.window) if layers.fully_connected else None
            window_known = window is not None or not layers.fully_connected
            if window:
                include_pooling(layers, window)
            shapes_alone = "shapes" in facts
            architecture, tensors = (
                (architecture_of_layers(layers), {}) if shapes_alone else with_our_names(layers)
            )
            _check_outputs(architecture)
    if given.preprocessing and layers.preprocesses:
        raise UsageError(f"{path} preprocesses images inside the network; leave the preprocessing out")
    warnings = [note for note in layers.notes + facts.get("notes", []) if published is None]
    warnings = [printable(warning) for warning in [facts.get("chosen", ""), *warnings] if warning]
    found = Imported(
        source,
        path,
        checkpoint.format,
        layout,
        architecture,
        tensors,
        given,
        dtypes,
        sha256,
        published,
        window_known,
        warnings=warnings,
        notes=list(warnings),
        facts=facts,
    )
    if unused := facts.get("unused", []) + groups(layers.unused):
        found.notes.append(printable(f"not used, as it is not the network's: {few(unused, quoted=False)}"))
    if layers.preprocesses:
        found.notes.append("the network itself preprocesses images; this is its preprocessing here")
    _drop_what_is_not_finite(found)
    of_published = published.metadata if published else UNKNOWN
    # timm's card belongs to the file of weights of its folder, not to any other that lies there.
    card = _timms_metadata(path) if layout in ("timm", "torchvision") and path.name in MODEL_FILES else UNKNOWN
    for known in (source.metadata, of_published, layers.metadata, card):
        found.metadata = found.metadata.completed_by(known)
    _settle_architecture(found)
    _settle_class_names(found, names)
    return found


def config_of(found: Imported) -> ModelConfig:
    """What stands beside the weights of a model of ours.

    Raises:
        ModelError: its window, its preprocessing or its class names are not known, or its weights are no numbers.

    """
    metadata = found.metadata
    if "shapes" in found.facts:
        raise ModelError(
            f"{found.path} has shapes but no trained weights: its weights are made by ConstantOfShape nodes"
        )
    if metadata.preprocessing is None or metadata.class_names is None or not found.window_known:
        raise ModelError(_question(found))
    trained_on = TrainedOn.of_window(found.architecture.window)
    facts = {
        "source": found.source.name,
        "sha256": found.sha256,
        "layout": found.layout,
        "licence": metadata.licence,
        "origin": metadata.origin,
        "notes": found.notes,
    }
    return ModelConfig(
        found.architecture,
        metadata.preprocessing,
        metadata.class_names,
        metadata.trained_on or trained_on,
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
            f"{error}; to import only its convolutions: "
            f"{command_line('convert', source.name, 'RUN', '--features-only')}"
        ) from None


def _check_outputs(architecture: Architecture) -> None:
    if architecture.num_classes == 1:
        raise ModelError(
            "has one output, so it probably ends with a sigmoid; a softmax over one class is always 1. Give its "
            "last FC layer another output before its own, with weights and bias 0"
        )


def _question(found: Imported) -> str:
    """Ask for all that is not known at once."""
    first, *others = PREPROCESSING
    names, other_names = (
        ("imagenet", "numbers") if found.architecture.num_classes == 1000 else ("numbers", "imagenet")
    )
    unknown = {
        "how images are preprocessed": found.metadata.preprocessing is None and f"--preprocessing {first}",
        f"what its {found.architecture.num_classes} classes are called": found.metadata.class_names is None
        and f"--class-names {names}",
        window_question(found.architecture.window): not found.window_known and "--window PIXELS",
    }
    options = {what: option for what, option in unknown.items() if option}
    more = [
        f"--preprocessing {', '.join(others)}, or `mean`, `deviation` and `channels`"
        if found.metadata.preprocessing is None
        else "",
        f"--class-names {other_names} or a file" if found.metadata.class_names is None else "",
    ]
    choice = "; or give " + "; ".join(filter(None, more)) if any(more) else ""
    return (
        f"{found.path} does not say {' and '.join(options)}; convert it once: "
        f"{command_line('convert', found.source.name, 'RUN', *' '.join(options.values()).split())}{choice}"
    )


def _drop_what_is_not_finite(found: Imported) -> None:
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
        f"{found.not_finite[0]} has NaN or infinite numbers: only the convolutions are used, as features"
    )


def _settle_architecture(found: Imported) -> None:
    """Bring what is known about the network and what was recognised together."""
    recognised, known = found.architecture.configuration, found.metadata.configuration
    if known and known != recognised:
        if (known, recognised) != ("A-LRN", "A"):  # of a file that does not tell
            raise UsageError(f"{found.path} is configuration {recognised}, not {known}; leave it out")
        found.architecture = replace(found.architecture, configuration=known)
    if found.layout == "verydeep" and recognised == "A" and not known:
        found.notes.append(
            "these weights fit A and A-LRN; A is used. If they are A-LRN's: "
            f"{command_line('convert', 'SOURCE', 'RUN', '--config', 'A-LRN')}"
        )
    if found.architecture.local_response_norm != LocalResponseNorm():
        found.notes.append(f"it has {found.architecture.local_response_norm}, not AlexNet's")
    if found.architecture.hidden:
        found.notes.append("its FC layers have {} and {} channels".format(*found.architecture.hidden))
    if "float64" in found.dtypes:
        found.notes.append("its weights are float64; they are rounded to float32")


def _settle_class_names(found: Imported, given: ClassNames | None) -> None:
    count, known = found.architecture.num_classes, found.metadata.class_names
    if given is not None:
        known = class_names(given, count)
    elif not count:
        known = ()
    elif known:
        try:
            if len(known) != count:
                raise ValueError(f"there are {len(known)} of them for {count} classes")
            check_names(known)
        except ValueError as error:
            found.notes.append(f"the class names that came with it are not used: {printable(error)}")
            known = None
    if count and found.published and not known:
        known = imagenet.class_names()
    found.metadata = replace(found.metadata, class_names=known)


def _timms_metadata(path: Path) -> Metadata:
    """What timm's config.json beside the weights says."""
    card = read_card(path.parent)
    if card is None or not isinstance(card.get("pretrained_cfg"), dict):
        return UNKNOWN
    fields = card["pretrained_cfg"]
    try:  # the card may come from a stranger: nothing in it is taken for what it should be
        mean, deviation = (tuple(round(255 * float(part), 6) for part in fields[name]) for name in ("mean", "std"))
        side = round(int(fields.get("input_size", (3, 224, 224))[1]) / float(fields.get("crop_pct", 0.875)))
        if side > MOST_SCALE:
            raise ValueError(f"crop_pct is {fields['crop_pct']}")
        names = as_type(
            tuple[str, ...] | None, card.get("label_names") or fields.get("label_names"), "label_names"
        )
        tag, licence = fields.get("tag") or "", fields.get("license")
        if not names and str(tag).endswith("in1k"):
            names = imagenet.class_names()
        return Metadata(
            Preprocessing(mean, deviation, "RGB"),  # type: ignore[arg-type]
            as_they_came(names) if names else None,
            TrainedOn((side, side)) if tag != "tv_in1k" else TORCHVISION_TRAINED_ON,
            printable(licence) if licence else None,
            printable(f"timm's {card.get('architecture', 'network')}" + (f".{tag}" if tag else "")),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError, ModelError) as error:
        raise ModelError(f"{path.parent / CONFIG} is not timm's: {printable(error)}") from None
