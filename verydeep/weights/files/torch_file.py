"""PyTorch's files, of either form: state dicts, with `weights_only=True` alone. Runs in the process apart."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from verydeep.weights.files.raw import NotWeightsError, Tensor

NESTED = ("state_dict", "model_state_dict", "model", "model_ema", "weights", "params")
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, and Lightning


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of a state dict, as it is or within a checkpoint."""
    tensors = _tensors(_load(path), facts)
    for name in list(tensors):
        tensor = tensors.pop(name).detach()
        stored = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise NotWeightsError(f"has {name} as a sparse or quantised tensor; save the network in float32")
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        yield name, tensor.numpy(), stored


def _load(path: Path) -> object:
    mapped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "nsupported" not in str(error):
            raise
        reason = _unsupported(str(error))
        raise NotWeightsError(
            f"holds more than tensors ({reason}), and loading that could run any program; whoever trusts it loads "
            "it by torch.load(FILE, weights_only=False) and saves the tensors alone: "
            "torch.save(network.state_dict(), 'weights.pth')"
        ) from None


def _unsupported(message: str) -> str:
    """The name of what the pickle asks for, from PyTorch's message."""
    for line in message.splitlines():
        if "nsupported" in line:
            return line[line.lower().index("unsupported") :].split(". ")[0].strip()[:100]
    return "an unsupported object"


def _tensors(loaded: Any, facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Find the state dict, and take off what wrappers put before its names."""
    for _ in range(3):
        if not isinstance(loaded, Mapping):
            raise NotWeightsError(f"holds a {type(loaded).__name__}, not a state dict")
        inner = next((name for name in NESTED if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            break
        facts["within"] = inner
        loaded = loaded[inner]
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise NotWeightsError("holds no tensors by name, so it is no state dict")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
