"""Weights that LPIPS and DISTS have learnt from people's judgements: bundled, or in their authors' files."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from verydeep.errors import ModelError, UsageError, printable, refusal
from verydeep.files import write_whole
from verydeep.safetensors_file import read_tensors
from verydeep.typed import as_type
from verydeep.weights.lpips import FILE

DISTS_FILE = "weights.pt"  # of the package DISTS_pytorch
STAGES = 5
MOST_BYTES = 1 << 20  # LPIPS takes 7 kB, DISTS 20 kB


def lpips_weights(path: str | PathLike[str] | None) -> tuple[Tensor, ...]:
    """Weights of each channel of the five layers, of shape (channels,) each.

    Args:
        path: `vgg.pth` of the `lpips` package (version 0.1), or what `write_learned_weights` has made of such a
            file; None for the bundled copy of it.

    Raises:
        UsageError: there is no such file.
        ModelError: the file is not of this kind.

    """
    file = FILE if path is None else Path(path)
    tensors = _read(file)
    found = [_first(tensors, f"lin{stage}.model.1.weight", f"lin{stage}") for stage in range(STAGES)]
    if any(tensor is None for tensor in found) or len(tensors) != STAGES:
        raise ModelError(
            f"{file} has {', '.join(list(tensors)[:3])}; linear weights of LPIPS on VGG have lin0 to lin4"
        )
    return tuple(_finite(tensor.flatten(), file) for tensor in found if tensor is not None)


def dists_weights(path: str | PathLike[str] | None) -> tuple[Tensor, Tensor]:
    """Alpha and beta of each channel, the image's three first, of shape (channels,) each.

    Args:
        path: `weights.pt` of the `DISTS_pytorch` package, or what `write_learned_weights` has made of it; None for
            that of the package that is installed here.

    Raises:
        UsageError: there is no such file, and no such package.
        ModelError: the file is not of this kind.

    """
    file = _dists_file() if path is None else Path(path)
    tensors = _read(file)
    if set(tensors) != {"alpha", "beta"} or tensors["alpha"].numel() != tensors["beta"].numel():
        raise ModelError(f"{file} has {', '.join(list(tensors)[:3])}; weights of DISTS are alpha and beta")
    return _finite(tensors["alpha"].flatten(), file), _finite(tensors["beta"].flatten(), file)


def write_learned_weights(source: str | PathLike[str], out: str | PathLike[str]) -> None:
    """Copy weights of LPIPS or DISTS to a `.safetensors` file, which needs neither pickle nor the package.

    Args:
        source: the package's own file.
        out: file to write.

    Raises:
        UsageError: `source` does not exist, or `out` has another ending.
        ModelError: `source` is not of this kind.
        DiskError: it cannot be written.

    """
    from safetensors.torch import save_file

    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out} has to end with .safetensors")
    names = _read(Path(source)).keys()
    if "alpha" in names:
        tensors = dict(zip(("alpha", "beta"), dists_weights(source), strict=True))
    else:
        tensors = {f"lin{stage}": tensor for stage, tensor in enumerate(lpips_weights(source))}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_whole(Path(out), lambda aside: save_file(contiguous, aside))


def _dists_file() -> Path:
    """The file of the package that is installed here, which is not imported.

    Raises:
        UsageError: there is none.

    """
    spec = find_spec("DISTS_pytorch")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / DISTS_FILE).is_file():
            return Path(folder) / DISTS_FILE
    raise UsageError(
        "DISTS needs the weights that its authors publish; run: pip install --no-deps DISTS_pytorch, or give the "
        f"path of a copy of {DISTS_FILE}"
    )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {what}; give the file of learned weights")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        if path.suffix == ".safetensors":
            return {name: torch.from_numpy(tensor).float() for name, tensor in read_tensors(path).items()}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                    raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
        tensors = as_type(dict[str, Tensor], torch.load(path, map_location="cpu", weights_only=True))
        if sum(tensor.numel() for tensor in tensors.values()) > MOST_BYTES:  # strides may repeat a number
            raise ValueError("it does not fit in memory")
        return {name: tensor.detach().float() for name, tensor in tensors.items()}
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except Exception as error:  # whatever a damaged file may raise
        reason = printable(error, 80) or type(error).__name__
        raise ModelError(f"{path} is not a file of learned weights: {reason}") from None


def _first(tensors: dict[str, Tensor], *names: str) -> Tensor | None:
    return next((tensors[name] for name in names if name in tensors), None)


def _finite(tensor: Tensor, file: Path) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise ModelError(f"{file} has NaN or infinite numbers; the weights cannot be used")
    return tensor
