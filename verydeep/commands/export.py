"""`verydeep export`: a model -> a file or a folder that others read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.errors import UsageError
from verydeep.inference import engine_of
from verydeep.linear.classifier import say_network_alone
from verydeep.notes import say
from verydeep.run_folder import JOURNAL, ModelConfig
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network

ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass
class Export:
    """Write a model in a form that others read.

    onnx: one file, for any number of pictures of any size, with the score map and the posterior as outputs.
    openvino: the same as OpenVINO's two files. Both are compared with the network at three sizes first.
    hub: a folder with a model card, which every MODEL argument reads and `verydeep push` sends.
    torchvision, timm, keras: what the library loads: .pth or .safetensors, for timm also a folder with
    the preprocessing; .weights.h5 for Keras.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, one of its weights, another library's weights, or the name of published ones."""
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT")]
    """File to write, or folder to make."""
    to: Literal["onnx", "openvino", "hub", "torchvision", "timm", "keras"] = "onnx"
    """The form."""
    pixels: FlagCreatePairsOff[bool] = False
    """onnx, openvino: the file takes pixels of 0 to 255, R, G, B, and preprocesses them itself."""
    results: tuple[Path, ...] = ()
    """hub: tests of the model, as `verydeep evaluate --out` keeps them, whose figures the card tells."""
    licence: str | None = None
    """hub: licence of the weights, as SPDX names it: CC-BY-4.0, say. By default the one that came with them."""
    half: FlagCreatePairsOff[bool] = False
    """hub: write the weights in float16, half as large."""
    name: str | None = None
    """hub: OWNER/NAME that the folder will have on the Hub, for its card."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""

    def __post_init__(self) -> None:
        self.model = with_network(self.model, self.tensors)

    def run(self) -> None:
        """Write it, and tell how it was checked."""
        if self.to != "hub" and (self.results or self.licence or self.name or self.half):
            raise UsageError("--results, --licence, --name and --half are of a folder for the Hub; use --to hub")
        if self.pixels and self.to not in ENDINGS:
            raise UsageError(f"--pixels is of {' and '.join(ENDINGS)}; --to {self.to} has weights alone")
        if self.to in ENDINGS and self.out.suffix != ENDINGS[self.to]:
            raise UsageError(f"{self.out} has to end with {ENDINGS[self.to]} for --to {self.to}")
        if self.to != "hub":  # whose folder may be there, if it is empty
            for path in self._files():
                if path.exists():
                    raise UsageError(f"{path} exists; choose another name")
        config, tensors = open_source(self.model)
        say_network_alone(Path(self.model), "exported")
        if self.to in ENDINGS:
            self._checked(config, tensors)
        elif self.to == "hub":
            write_for_hub(self.out, self.model, config, tensors, self.results, self.licence, self.name, self.half)
            print(f"{self.out}: weights and card; `verydeep push {self.out} OWNER/NAME` sends them")
        else:
            from verydeep.weights.writing import feeding, write_for

            write_for(self.to, self.out, config, tensors)
            if self.to != "timm" or self.out.suffix:  # timm's folder carries the preprocessing itself
                say(f"for our answers, {feeding(self.to, config.preprocessing)}")
            print(f"{self.out}: weights for {self.to}")

    def _files(self) -> list[Path]:
        """What is made: OpenVINO's form has its weights beside."""
        return [self.out, self.out.with_suffix(".bin")] if self.to == "openvino" else [self.out]

    def _checked(self, config: ModelConfig, tensors: dict[str, Any]) -> None:
        if not config.architecture.num_classes:
            raise UsageError(
                f"{self.model} has no FC layers and gives no scores; --to {self.to} takes a classifier"
            )
        if self.to == "onnx":
            from verydeep.exports.onnx_file import write_onnx as write

            engine = "onnxruntime"
        else:
            from verydeep.exports.openvino_files import write_openvino as write

            engine = "OpenVINO"
        for difference in write(self.out, engine_of(config, tensors, device="cpu"), tensors, pixels=self.pixels):
            print(
                f"{difference.width}x{difference.height}: {engine}'s score map differs by "
                f"{difference.score_map:.1e} of the largest score, the posterior by {difference.posterior:.1e}"
            )
        print(f"{self.out}: {sum(path.stat().st_size for path in self._files()) / 1e6:.1f} MB")


def write_for_hub(
    folder: Path,
    model: str,
    config: ModelConfig,
    tensors: dict[str, Any],
    results: tuple[Path, ...],
    licence: str | None,
    name: str | None,
    half: bool = False,
) -> None:
    """Write a folder for the Hub, its card with what the results and the run's journal tell."""
    from verydeep.evaluation.results import read_result
    from verydeep.exports.card import Story
    from verydeep.exports.hub_folder import write_hub_folder
    from verydeep.training.journal import read_journal

    epochs = [record for record in read_journal(Path(model) / JOURNAL) if "validation_error" in record]
    licence = licence or config.provenance.get("licence")
    story = Story(name or folder.name, tuple(map(read_result, results)), epochs, licence)
    write_hub_folder(folder, config, tensors, story, half)
