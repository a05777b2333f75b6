"""A test's outcome, kept: each picture's name, label and posterior, and how they came about.

A result is a NumPy archive (`.npz`) of four arrays: `names`, `labels`, `posteriors` and `facts` (JSON).
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError
from verydeep.evaluation.error_rates import ErrorRates, error_rates
from verydeep.evaluation.posterior import Posteriors
from verydeep.files import write_whole


@dataclass(frozen=True)
class Facts:
    """How a result came about.

    Attributes:
        model: path of the run folder.
        configuration: column of Table 1.
        width: factor on the channels.
        parameters: of the network.
        trained_scale: least and greatest S.
        views: protocol: `dense`.
        scales: Q.
        mirror: whether mirror images were shown too.
        data: name or path of the data set.
        part: which part of it.
        class_names: in the order of the posteriors' columns.
        seconds: that the test took.

    """

    model: str
    configuration: str
    width: float
    parameters: int
    trained_scale: tuple[int, int]
    views: str
    scales: tuple[int, ...]
    mirror: bool
    data: str
    part: str
    class_names: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Result:
    """Names, labels and posteriors of the pictures of one test, in one order."""

    facts: Facts
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    posteriors: Posteriors

    @property
    def error_rates(self) -> ErrorRates:
        """How often it is wrong."""
        return error_rates(self.posteriors, self.labels)

    def summary(self) -> dict[str, Any]:
        """What `verydeep evaluate --json` prints."""
        rates = self.error_rates
        per_class = {
            name: {"num_images": int(count), "top1_error": None if count == 0 else float(error)}
            for name, count, error in zip(
                self.facts.class_names, rates.confusion.sum(1), rates.per_class, strict=True
            )
        }
        return {
            "top1_error": rates.top1_error,
            "top5_error": rates.top5_error,
            "top_k": rates.top_k,
            "num_images": rates.num_images,
            **asdict(self.facts),
            "per_class": per_class,
            "confusion": rates.confusion.tolist(),
        }


def write_result(path: Path, result: Result) -> None:
    """Write a result, whole.

    Args:
        path: ends with `.npz`.
        result: to be kept; posteriors are kept in full precision.

    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(result.names, dtype=np.str_),
                labels=result.labels,
                posteriors=result.posteriors,
                facts=np.array(json.dumps(asdict(result.facts))),
            )

    write_whole(path, write)


def read_result(path: Path) -> Result:
    """Read a result back.

    Raises:
        ModelError: there is no such file, it is damaged, or it is no result.

    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = json.loads(str(archive["facts"]))
            for name in ("trained_scale", "scales", "class_names"):
                fields[name] = tuple(fields[name])
            result = Result(
                Facts(**fields),
                tuple(str(name) for name in archive["names"]),
                archive["labels"].astype(np.int64),
                archive["posteriors"].astype(np.float64),
            )
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; `verydeep evaluate --posteriors` makes such a file") from None
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} is not a result of `verydeep evaluate --posteriors`, or is damaged ({error})"
        ) from None
    shape = (len(result.names), len(result.facts.class_names))
    if result.posteriors.shape != shape or result.labels.shape != shape[:1]:
        raise ModelError(f"{path} has posteriors of shape {result.posteriors.shape} where {shape} is wanted")
    return result
