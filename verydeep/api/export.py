"""`verydeep.export`: a model -> a file or a folder that others read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from verydeep.arguments import checked
from verydeep.comparison.metrics import LPIPS
from verydeep.errors import UsageError, as_text, command_line, escaped
from verydeep.evaluation.results import read_result
from verydeep.exports.card import CardFacts
from verydeep.exports.check import Difference, DistanceDifference
from verydeep.exports.hub_folder import check_repository, write_hub_folder
from verydeep.exports.runtimes import write_onnx, write_onnx_metric, write_openvino
from verydeep.feature_layers import check_vgg16
from verydeep.files import all_or_none, check_out
from verydeep.inference import engine_of
from verydeep.linear.classifier import say_network_alone
from verydeep.lock import writing_file
from verydeep.notes import say
from verydeep.results import Result
from verydeep.run_folder import JOURNAL, ModelConfig
from verydeep.training.journal import is_epoch, read_journal
from verydeep.weights.features import open_features
from verydeep.weights.lpips import LAYERS
from verydeep.weights.opening import open_source
from verydeep.weights.recognize import Tensors
from verydeep.weights.source import with_network
from verydeep.weights.writing import feeding, write_for

To = Literal["onnx", "openvino", "hub", "torchvision", "timm", "keras"]
CHECKED = {"onnx": (".onnx", "onnxruntime", write_onnx), "openvino": (".xml", "OpenVINO", write_openvino)}
"""Forms whose answers are compared: the ending of the file, the engine that computes, and what writes it."""


@dataclass(frozen=True, repr=False)
class Exported(Result):
    """A model as others read it.

    Attributes:
        path: the file, or the folder.
        to: the form.
        bytes: of all files of a form that was compared; None for others.
        differences: how far another engine's answers are from the network's, at three sizes.

    """

    path: str
    to: str
    bytes: int | None = None
    differences: tuple[Difference, ...] | tuple[DistanceDifference, ...] = ()

    def __str__(self) -> str:
        path = escaped(self.path)
        if self.to == "hub":
            return f"{path}: weights and card; {command_line('push', self.path, 'OWNER/NAME')} sends them"
        if self.bytes is None:
            return f"{path}: weights for {self.to}"
        lines = [one.in_words(CHECKED[self.to][1]) for one in self.differences]
        return "\n".join([*lines, f"{path}: {self.bytes / 1e6:.1f} MB"])


@checked
def export(
    model: str | PathLike[str],
    *,
    to: To = "onnx",
    out: str | PathLike[str],
    metric: Literal["lpips"] | None = None,
    pixels: bool = False,
    results: Sequence[str | PathLike[str]] = (),
    licence: str | None = None,
    half: bool = False,
    name: str | None = None,
    tensors: str | None = None,
) -> Exported:
    """Write a model in a format for other software. Nothing is overwritten.

    onnx is one file for any number of images of any size; its outputs are the score map and the posterior.
    openvino is the same as OpenVINO's two files. Both are compared with the network at three sizes first. hub is a
    folder with a model card, which is a model for every command and which `verydeep.push` sends. torchvision, timm
    and keras are what the library loads: .pth or .safetensors, for timm also a folder with the preprocessing;
    .weights.h5 for Keras.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        to: the form.
        out: file to write, or folder to make.
        metric: for onnx: write LPIPS on this network instead. It takes two images of 0 to 1 and gives their
            distance, and the distance at each pixel.
        pixels: for onnx and openvino: the file takes pixels of 0 to 255, R, G, B, and preprocesses them itself.
        results: for hub: tests of the model, files that `verydeep.evaluate` wrote; the model card shows their
            figures.
        licence: for hub: licence of the weights as SPDX names it, such as CC-BY-4.0 (default: the one that came
            with them).
        half: for hub: write the weights in float16, half as large.
        name: for hub: OWNER/NAME that the folder will have on the Hub, for its card.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.

    Raises:
        UsageError: arguments do not go together, `out` is there already, or the form cannot hold this network.
        ModelError: the model cannot be read.
        VerydeepError: a library is not installed, or another engine's answers are not the network's.

    """
    path, source = Path(out), with_network(model, tensors)
    if to != "hub" and (results or licence or name or half):
        raise UsageError("`results`, `licence`, `name` and `half` are of a folder for the Hub; use `to=hub`")
    if name and "/" in name:
        check_repository(name)
    if pixels and to not in CHECKED:
        raise UsageError(f"`pixels` is of {' and '.join(CHECKED)}; `to={to}` writes weights only")
    if metric is not None and to != "onnx":
        raise UsageError(f"`metric` is written as ONNX; `to={to}` holds a network")
    if to in CHECKED and path.suffix != CHECKED[to][0]:
        raise UsageError(f"{path} has to end with {CHECKED[to][0]} for `to={to}`")
    with writing_file(path) if to != "hub" else nullcontext():
        files = [path, path.with_suffix(".bin")] if to == "openvino" else [path]
        for file in files if to != "hub" else ():  # whose folder may be there, if it is empty
            if file.exists():
                raise UsageError(f"{file} exists; choose another name")
            check_out(file)
        if metric:
            return _export_metric(path, source, pixels)
        config, weights = open_source(source)
        say_network_alone(Path(source), "exported")
        if to == "hub":
            write_for_hub(path, source, config, weights, results, licence, name, half)
        elif to not in CHECKED:
            with all_or_none(files):
                write_for(to, path, config, weights)
            if to != "timm" or path.suffix:  # timm's folder carries the preprocessing itself
                say(f"for our answers, {feeding(to, config.preprocessing)}")
            if not config.architecture.num_classes and to != "keras":
                say("it has no FC layers: load_state_dict takes it with strict=False")
        elif not config.architecture.num_classes:
            raise UsageError(f"{model} has no FC layers; `to={to}` needs a classifier")
        else:
            engine = engine_of(config, weights, device="cpu")
            with all_or_none(files):
                differences = CHECKED[to][2](path, engine, weights, pixels=pixels)
            return Exported(str(out), to, sum(file.stat().st_size for file in files), tuple(differences))
        return Exported(str(out), to)


def _export_metric(path: Path, model: str, pixels: bool) -> Exported:
    """Write LPIPS as ONNX."""
    config, weights = open_features(model)
    check_vgg16(config.architecture, "LPIPS")
    metric = LPIPS(engine_of(config, weights, LAYERS, device="cpu"))
    differences = write_onnx_metric(path, metric, weights, pixels=pixels)
    return Exported(str(path), "onnx", path.stat().st_size, tuple(differences))


def write_for_hub(
    folder: Path,
    model: str,
    config: ModelConfig,
    tensors: Tensors,
    results: Sequence[str | PathLike[str]],
    licence: str | None,
    name: str | None,
    half: bool = False,
) -> None:
    """Write a folder for the Hub, its card with what the results and the run's journal tell."""
    epochs = [*filter(is_epoch, read_journal(Path(model) / JOURNAL))]
    licence = licence or config.provenance.get("licence")
    facts = CardFacts(
        name or as_text(folder.name), tuple(read_result(Path(result)) for result in results), epochs, licence
    )
    write_hub_folder(folder, config, tensors, facts, half)
