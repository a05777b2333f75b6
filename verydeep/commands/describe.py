"""`verydeep describe`: a column of Table 1, layer by layer, and Section 2.3's argument in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.configurations import (
    BESIDE_TABLE_1,
    Architecture,
    LayerAccount,
    account,
    configuration,
    num_parameters,
    stage_arguments,
)


@dataclass
class Describe:
    """Show a column of Table 1, or B-5x5 beside it: shapes, parameters, multiply-adds, receptive fields, memory.

    Figures are for one picture of the network's window. Multiply-adds are those of convolutions and FC layers,
    one a weight and place (an operation count is twice as many); memory is in float32.
    """

    configuration: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIGURATION")]
    """Column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, B with one 5x5 layer for each pair."""
    num_classes: int = 1000
    """Number of classes."""
    width: float = 1.0
    """Factor on the number of channels of every layer."""
    window: int = 224
    """Side of the network's window, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Batch normalisation after each convolution."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print it."""
        architecture = Architecture(self.configuration, self.num_classes, self.width, self.window, self.batch_norm)
        facts = describe(architecture)
        if self.json:
            print(json_line(facts))
        else:
            _print_table(architecture, facts)


def describe(architecture: Architecture) -> dict[str, Any]:
    """Everything there is to say about an architecture, as plain data."""
    rows = account(architecture)
    return {
        "configuration": architecture.configuration,
        "weight_layers": configuration(architecture.configuration).weight_layers,
        "num_classes": architecture.num_classes,
        "width": architecture.width,
        "window": architecture.window,
        "batch_norm": architecture.batch_norm,
        "parameters": num_parameters(architecture),
        "convolution_parameters": sum(row.parameters for row in rows if row.name.startswith("conv")),
        "multiply_adds": sum(row.multiply_adds for row in rows),
        "weight_bytes": sum(row.weight_bytes for row in rows),
        "activation_bytes": sum(row.activation_bytes for row in rows),
        "layers": [_layer(row) for row in rows],
        "stages": [
            {
                "stage": stage.stage,
                "channels": stage.channels,
                "kernels": list(stage.kernels),
                "receptive_field": stage.receptive_field,
                "stack_weights": stage.stack_factor * stage.channels**2,
                "single_filter_weights": stage.single_factor * stage.channels**2,
            }
            for stage in stage_arguments(architecture)
        ],
    }


def _layer(row: LayerAccount) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "shape": list(row.shape),
        "parameters": row.parameters,
        "multiply_adds": row.multiply_adds,
        "receptive_field": row.receptive_field,
        "weight_bytes": row.weight_bytes,
        "activation_bytes": row.activation_bytes,
    }


def _print_table(architecture: Architecture, facts: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    side = architecture.window
    console.print(
        f"Configuration {facts['configuration']}{_beside(facts['configuration'])}: "
        f"{facts['weight_layers']} weight layers, "
        f"{facts['num_classes']} classes, width {architecture.width:g}, pictures of {side}x{side}"
    )
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer")
    table.add_column("kind")
    for title in ("output", "parameters", "multiply-adds", "sees", "weights", "activations"):
        table.add_column(title, justify="right")
    for layer in facts["layers"]:
        channels, height, width = layer["shape"]
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{channels} x {height} x {width}",
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
            f"{layer['receptive_field']}",
            size(layer["weight_bytes"]) if layer["weight_bytes"] else "",
            size(layer["activation_bytes"]),
            end_section=layer["name"].startswith("pool"),
        )
    console.print(table)
    console.print(
        f"In all {facts['parameters']:,} parameters ({size(facts['weight_bytes'])}), "
        f"{facts['multiply_adds'] / 1e9:.2f} G multiply-adds, {size(facts['activation_bytes'])} of activations\n"
    )
    console.print("Section 2.3: each stage's stack of small filters beside the one large filter that sees as much")
    argument = Table(box=box.SIMPLE_HEAD)
    for title in ("stage", "stack", "sees", "its weights", "one filter", "its weights", "saved"):
        argument.add_column(title, justify="right")
    for stage in stage_arguments(architecture):
        field, channels = stage.receptive_field, stage.channels
        argument.add_row(
            str(stage.stage),
            " ".join(f"{kernel}x{kernel}" for kernel in stage.kernels),
            f"{field}x{field}",
            f"{stage.stack_factor} C² = {stage.stack_factor * channels**2:,}",
            f"{field}x{field}",
            f"{stage.single_factor} C² = {stage.single_factor * channels**2:,}",
            f"{1 - stage.stack_factor / stage.single_factor:.0%}",
        )
    console.print(argument)


def _beside(name: str) -> str:
    return " (not of Table 1: Section 4.1 compares B to it)" if name in BESIDE_TABLE_1 else ""


def size(count: int) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError
