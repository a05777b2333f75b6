"""`verydeep.describe`: a network layer by layer, and Section 2.3's argument in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike, fspath
from typing import Any

from verydeep.accounting import LayerAccount, StageArgument, account, stage_arguments, training_memory
from verydeep.arguments import checked
from verydeep.configurations import ALL_CONFIGURATIONS, BESIDE_TABLE_1, STRIDE, Architecture, refuse_settings
from verydeep.errors import UsageError
from verydeep.reports.text_table import TextTable
from verydeep.results import Result, in_bytes, rendered


@dataclass(frozen=True, repr=False)
class Description(Result):
    """What a network costs.

    Attributes:
        architecture: of the network.
        size: side of the image that the figures are for.
        layers: a row for each layer.
        stages: Section 2.3's argument, a row a stage.
        batch_size: images in a training step, for its memory.

    """

    architecture: Architecture
    size: int
    layers: tuple[LayerAccount, ...]
    stages: tuple[StageArgument, ...]
    batch_size: int = 256

    @property
    def training_bytes(self) -> dict[str, int]:
        """Bytes of memory that a training takes beside the program and its images, by engine."""
        return {
            engine: training_memory(self.architecture, self.batch_size, native=engine == "native").total
            for engine in ("native", "torch")
        }

    @property
    def parameters(self) -> int:
        """Weights and biases of all layers."""
        return sum(row.parameters for row in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        return sum(row.multiply_adds for row in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return sum(row.weight_bytes for row in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all layers' outputs for one image in float32."""
        return sum(row.activation_bytes for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain data."""
        architecture = self.architecture
        return {
            "configuration": architecture.configuration,
            "weight_layers": architecture.weight_layers,
            "num_classes": architecture.num_classes,
            "width": architecture.width,
            "window": architecture.window,
            "batch_norm": architecture.batch_norm,
            "size": self.size,
            "parameters": self.parameters,
            "convolution_parameters": sum(row.parameters for row in self.layers if row.name.startswith("conv")),
            "multiply_adds": self.multiply_adds,
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "batch_size": self.batch_size,
            "training_bytes": self.training_bytes,
            "layers": [
                {
                    **asdict(row),
                    "shape": list(row.shape),
                    "weight_bytes": row.weight_bytes,
                    "activation_bytes": row.activation_bytes,
                }
                for row in self.layers
            ],
            "stages": [
                {
                    **asdict(stage),
                    "kernels": list(stage.kernels),
                    "receptive_field": stage.receptive_field,
                    "stack_weights": stage.stack_factor * stage.channels**2,
                    "single_filter_weights": stage.single_factor * stage.channels**2,
                }
                for stage in self.stages
            ],
        }

    def __str__(self) -> str:
        name, side = self.architecture.configuration, self.size
        native, by_torch = (in_bytes(self.training_bytes[engine]) for engine in ("native", "torch"))
        beside = " (not of Table 1)" if name in BESIDE_TABLE_1 else ""
        return rendered(
            f"Configuration {name}{beside}: {self.architecture.weight_layers} weight layers, "
            f"{self.architecture.num_classes} classes, width {self.architecture.width:g}, "
            f"images of {side}x{side}",
            self.layer_table().rich(),
            f"In all {self.parameters:,} parameters ({in_bytes(self.weight_bytes)}), "
            f"{self.multiply_adds / 1e9:.2f} G multiply-adds, {in_bytes(self.activation_bytes)} of activations",
            f"Training in batches of {self.batch_size} takes about {native} on the native engine, {by_torch} on "
            "torch\n",
            "Section 2.3: each stage's stack of small filters beside the one large filter that sees as much",
            self.stage_table().rich(),
        )

    def layer_table(self) -> TextTable:
        """The layers, in order."""
        headings = ("layer", "kind", "output", "parameters", "multiply-adds", "sees", "weights", "activations")
        rows = [
            (
                row.name,
                row.kind,
                " x ".join(map(str, row.shape)),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.multiply_adds:,}" if row.multiply_adds else "",
                f"{row.receptive_field}",
                in_bytes(row.weight_bytes) if row.weight_bytes else "",
                in_bytes(row.activation_bytes),
            )
            for row in self.layers
        ]
        pools = [number for number, row in enumerate(self.layers) if row.name.startswith("pool")]
        return TextTable("", headings, rows, range(2, 8), sections=pools)

    def stage_table(self) -> TextTable:
        """Section 2.3: each stage's small filters beside one large filter."""
        headings = ("stage", "stack", "sees", "its weights", "one filter", "its weights", "saved")
        rows = [
            (
                str(stage.stage),
                " ".join(f"{kernel}x{kernel}" for kernel in stage.kernels),
                f"{stage.receptive_field}x{stage.receptive_field}",
                f"{stage.stack_factor} C² = {stage.stack_factor * stage.channels**2:,}",
                f"{stage.receptive_field}x{stage.receptive_field}",
                f"{stage.single_factor} C² = {stage.single_factor * stage.channels**2:,}",
                f"{1 - stage.stack_factor / stage.single_factor:.0%}",
            )
            for stage in self.stages
        ]
        return TextTable("", headings, rows, range(7))


@checked
def describe(
    network: str | PathLike[str] | Architecture,
    *,
    num_classes: int | None = None,
    width: float | None = None,
    window: int | None = None,
    batch_norm: bool = False,
    size: int | None = None,
    batch_size: int = 256,
) -> Description:
    """Show a network's layers: shapes, parameters, multiply-adds, receptive fields, memory.

    Figures are for one image of the network's window, or of `size`. Multiply-adds are those of convolutions and FC
    layers, one for each weight and place (an operation count is twice as many). Memory is in float32.

    Args:
        network: column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, which is B with one 5x5 layer for each pair;
            or a model, which has all that follows but the size. In Python also an `Architecture`.
        num_classes: number of classes (default: 1000).
        width: factor on the number of channels of every layer (default: 1).
        window: side of the network's input in training, in pixels; a multiple of 32 (default: 224).
        batch_norm: batch normalization after each convolution.
        size: side of the image that the figures are for, in pixels (default: the window).
        batch_size: images in a training step, for its memory.

    Raises:
        UsageError: there is no such configuration, a number is out of its range, or a model is given what it has.
        ModelError: the model cannot be read.

    """
    if not 1 <= batch_size <= 10**6:
        raise UsageError(f"`batch_size` is {batch_size}; it must be from 1 to 1000000")
    given = {"num_classes": num_classes, "width": width, "window": window, "batch_norm": batch_norm or None}
    settings = {name: value for name, value in given.items() if value is not None}
    made = network if isinstance(network, Architecture) else _of_model(fspath(network))
    if made:
        refuse_settings(network, settings)
    architecture = made or Architecture(fspath(network), **settings)  # type: ignore[arg-type]
    side = architecture.window if size is None else size
    if architecture.num_classes:
        architecture.score_map_size(side, side)
    elif side < STRIDE:
        raise UsageError(f"`size` is {side}; the five poolings need at least {STRIDE} pixels")
    return Description(
        architecture, side, account(architecture, (side, side)), stage_arguments(architecture), batch_size
    )


def _of_model(name: str) -> Architecture | None:
    """The architecture of a model; None where the name is none of a model's."""
    if name in ALL_CONFIGURATIONS:
        return None
    from verydeep.weights.opening import open_architecture  # not above: most are a column of Table 1
    from verydeep.weights.source import names_weights

    return open_architecture(name) if names_weights(name) else None
