"""safetensors files, of which one of several networks may be chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.checkpoint import Tensor
from verydeep.weights.choice import choose


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of the VGG network in a file."""
    header = read_header(path)
    choice = choose({name: entry.shape for name, entry in header.entries.items()}, facts.pop("network", None))
    facts.update(metadata=header.metadata, **choice.facts)
    tensors = read_tensors(path, choice.names)
    for stored, name in choice.names.items():
        yield name, tensors[stored], type_name(header.entries[stored].dtype)
