"""Finished chunks -> one file, written from the first to the last, a chunk in memory at a time.

An `.npz` file has `names`, an array for each layer with a row an image, and `facts` (JSON). A `.parquet` file has
a row an image: its name, and a list of numbers for each layer; shapes and facts are in the file's metadata.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import ArrayType, read_arrays, refuse_to_replace
from verydeep.chunks.plan import Chunk
from verydeep.errors import UsageError, printable, refusal, require
from verydeep.extraction.extract import FeatureParts, Shapes
from verydeep.files import check_out, json_text, parse_json, write_whole
from verydeep.images.image_set import ImageSet
from verydeep.typed import as_type, texts

THE_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of zip's: the same contents are the same file

TEXTS: dict[str, ArrayType] = {"names": ("U", 1), "facts": ("U", 0)}
LAYER = r"[a-z]+\d(_\d)?"  # names of the arrays beside them
ENDINGS = (".npz", ".parquet")
AT_ONCE = 4096  # names that are spread to one length in memory


def is_archive(path: Path) -> bool:
    """Whether a path is called like a file of features, and is no folder for part files."""
    return path.suffix in ENDINGS or (bool(path.suffix) and not path.is_dir())


def check_features_out(path: Path) -> None:
    """Make sure that a file of features can be written there.

    Raises:
        UsageError: it is called neither `.npz` nor `.parquet`, is a folder, or has arrays of others.
        DiskError: its folder cannot be made or written to.
        VerydeepError: what writes Parquet is not installed.

    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"`out` {path} has to end with .npz or .parquet, or to be a folder for part files")
    if path.suffix == ".parquet":
        require("pyarrow", "parquet", "a .parquet file")
    check_out(path)
    if path.suffix == ".npz":
        refuse_to_replace(path, TEXTS.keys(), LAYER)


def write_features(
    path: Path,
    parts: FeatureParts,
    plan: Sequence[Chunk],
    images: ImageSet,
    shapes: Shapes,
    facts: dict[str, Any],
) -> int:
    """Write what an extraction has finished as one file; it appears whole.

    Args:
        path: `.npz` or `.parquet`.
        parts: where every chunk is.
        plan: the chunks.
        images: whose names are written.
        shapes: of what is kept of an image, by layer.
        facts: how it came about.

    Returns:
        The number of images.

    Raises:
        DiskError: it cannot be written.

    """
    chunks = [chunk for chunk in plan if len(parts.kept(chunk))]
    names = [images.names[number] for chunk in chunks for number in parts.kept(chunk).tolist()]
    if path.suffix == ".npz":
        write_whole(path, lambda aside: _write_npz(aside, parts, chunks, names, shapes, facts))
    else:
        write_whole(path, lambda aside: _write_parquet(aside, parts, chunks, images, shapes, facts))
    return len(names)


def _write_npz(
    path: Path,
    parts: FeatureParts,
    chunks: Sequence[Chunk],
    names: list[str],
    shapes: Shapes,
    facts: dict[str, Any],
) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        letters = np.dtype(f"U{max(map(len, names), default=1) or 1}")
        blocks_of_names = (np.array(names[i : i + AT_ONCE], letters) for i in range(0, len(names), AT_ONCE))
        _add_blocks(archive, "names", letters, (len(names),), blocks_of_names)
        for layer, shape in shapes.items():
            blocks = (parts.rows(chunk, layer) for chunk in chunks)
            _add_blocks(archive, layer, np.dtype(np.float32), (len(names), *shape), blocks)
        _add(archive, "facts", np.array(json_text(facts)))


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    _add_blocks(archive, name, array.dtype, array.shape, [array])


def _add_blocks(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    blocks: Iterable[NDArray[Any]],
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(zipfile.ZipInfo(f"{name}.npy", THE_FIRST_DAY), "w", force_zip64=True) as file:
        np.lib.format.write_array_header_2_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).tobytes())


def _write_parquet(
    path: Path,
    parts: FeatureParts,
    chunks: Sequence[Chunk],
    images: ImageSet,
    shapes: Shapes,
    facts: dict[str, Any],
) -> None:
    import pyarrow
    from pyarrow import parquet

    metadata = {"verydeep": json_text(facts)}
    fields = [pyarrow.field("name", pyarrow.string())]
    for layer, shape in shapes.items():
        kind = pyarrow.list_(pyarrow.float32(), prod(shape))
        fields.append(pyarrow.field(layer, kind, metadata={"shape": json.dumps(shape)}))
    schema = pyarrow.schema(fields, metadata=metadata)
    with parquet.ParquetWriter(path, schema) as writer:
        for chunk in chunks:
            columns: list[Any] = [pyarrow.array([images.names[n] for n in parts.kept(chunk).tolist()])]
            for layer, shape in shapes.items():
                numbers = pyarrow.array(parts.rows(chunk, layer).reshape(-1))
                columns.append(pyarrow.FixedSizeListArray.from_arrays(numbers, prod(shape)))
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def read_features(path: Path) -> tuple[list[str], dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Read an `.npz` file of features back: names, an array for each layer, and facts.

    Raises:
        UsageError: it is no such file.

    """
    try:
        arrays = read_arrays(path, lambda name: TEXTS.get(name, (np.dtype("<f4"), -1)))
        if not arrays.keys() >= TEXTS.keys():
            raise ValueError("it has no names, or no facts")
        names = texts(arrays.pop("names").tolist())
        facts = as_type(dict[str, Any], parse_json(str(arrays.pop("facts"))), "its facts")
        if any(array.shape[:1] != (len(names),) for array in arrays.values()):
            raise ValueError("an array has not a row for each name")
    except PermissionError as error:
        raise UsageError(refusal(path, "read", error)) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not an .npz file of `verydeep extract`: {printable(error)}") from None
    return list(names), arrays, facts
