"""A test's outcome, kept: each image's name, label and posterior, and how they came about.

A result is a NumPy archive (`.npz`) of four arrays: `names`, `labels`, `posteriors` and `facts` (JSON).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import ArrayType, read_arrays, refuse_to_replace, write_arrays
from verydeep.configurations import configuration
from verydeep.errors import ModelError, UsageError, check_choice, escaped, near_path, printable, refusal
from verydeep.evaluation.error_rates import ErrorRates, error_rates
from verydeep.evaluation.posterior import Posteriors
from verydeep.evaluation.protocols import GRID, PROTOCOLS, protocol_name
from verydeep.files import check_out, json_text, parse_json
from verydeep.results import Result
from verydeep.typed import as_type, texts

MOST_CLASSES = 10  # that are named as most often wrong
ROUNDING = 1e-3  # by which a posterior may be above 1
ARRAYS: dict[str, ArrayType] = {"names": ("U", 1), "labels": ("iu", 1), "posteriors": ("f", 2), "facts": ("U", 0)}


@dataclass(frozen=True)
class MemberFacts:
    """A network, and how it was tested.

    Attributes:
        model: path of the run folder.
        configuration: column of Table 1.
        width: factor on the channels.
        batch_norm: whether it has batch normalisation.
        parameters: of the network.
        trained_scale: least and greatest S.
        views: `dense`, `crops`, `both`, `centre` or `ten`.
        scales: Q.
        mirror: whether mirror images were shown too.
        grid: crops along each side, of `crops` and `both`.

    """

    model: str
    configuration: str
    width: float
    batch_norm: bool
    parameters: int
    trained_scale: tuple[int, int]
    views: str
    scales: tuple[int, ...]
    mirror: bool
    grid: int = GRID


@dataclass(frozen=True)
class Facts:
    """How a result came about.

    Attributes:
        members: the networks, and how each was tested; several are an ensemble.
        data: name or path of the data set.
        part: which part of it.
        class_names: in the order of the posteriors' columns.
        seconds: that the test took.
        fused: paths of the results that this one is the mean of.
        num_unreadable: images that were left out because they cannot be read.
        num_trained_on: images that were left out because the model was trained on them.

    """

    members: tuple[MemberFacts, ...]
    data: str
    part: str
    class_names: tuple[str, ...]
    seconds: float
    fused: tuple[str, ...] = ()
    num_unreadable: int = 0
    num_trained_on: int = 0

    @property
    def first(self) -> MemberFacts:
        """The first network and its test."""
        return self.members[0]

    @property
    def networks(self) -> tuple[MemberFacts, ...]:
        """Each network once, with its first test."""
        first: dict[str, MemberFacts] = {}
        for member in self.members:
            first.setdefault(member.model, member)
        return tuple(first.values())

    @property
    def shared(self) -> dict[str, Any]:
        """What a member's facts say, by name; None where the members differ, as in an ensemble's model."""
        first, *others = map(asdict, self.members)
        return {
            name: value if all(one[name] == value for one in others) else None for name, value in first.items()
        }

    @property
    def scales_by_test(self) -> dict[str, dict[str, set[int]]]:
        """Q of each network by model and views, of all results that were fused; `both` counts as its two tests."""
        found: dict[str, dict[str, set[int]]] = {}
        for member in self.members:
            for views in ("dense", "crops") if member.views == "both" else (member.views,):
                found.setdefault(member.model, {}).setdefault(views, set()).update(member.scales)
        return found

    @staticmethod
    def from_json(fields: Any) -> Facts:
        """Read back what `dataclasses.asdict` and JSON have made of it.

        Raises:
            ValueError: they are not the facts of a test.

        """
        facts: Facts = as_type(Facts, fields, "its facts")
        if not facts.members or not facts.class_names:
            raise ValueError("its facts have no network, or no class")
        if min(facts.seconds, facts.num_unreadable, facts.num_trained_on) < 0:
            raise ValueError("its facts have a number below 0")
        for member in facts.members:
            configuration(member.configuration)
            check_choice("test protocol", member.views, PROTOCOLS)
            least, greatest = member.trained_scale
            numbers = (member.width, member.parameters, member.grid, least, *member.scales)
            if not member.scales or min(numbers) <= 0 or least > greatest:
                raise ValueError(f"its facts have a number that {printable(member.model, 60)} cannot have")
        return facts


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Names, labels and posteriors of the images of one test, in one order."""

    facts: Facts
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    posteriors: Posteriors

    @property
    def error_rates(self) -> ErrorRates:
        """How often it is wrong."""
        return error_rates(self.posteriors, self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Error rates, how they came about, each class's, and the confusion matrix."""
        rates = self.error_rates
        per_class = {
            name: {"num_images": int(count), "top1_error": None if count == 0 else float(error)}
            for name, count, error in zip(self.facts.class_names, rates.counts, rates.per_class, strict=True)
        }
        return {
            "top1_error": rates.top1_error,
            "top5_error": rates.top5_error,
            "top_k": rates.top_k,
            "num_images": rates.num_images,
            **self.facts.shared,
            **asdict(self.facts),
            "per_class": per_class,
            "confusion": rates.confusion.tolist(),
        }

    def __str__(self) -> str:
        """Error rates in a few lines, the worst classes last."""
        rates, facts = self.error_rates, self.facts
        unreadable = f", {facts.num_unreadable:,} unreadable images skipped" if facts.num_unreadable else ""
        lines = [
            f"{escaped(described(facts.part, facts.data))}: {rates.num_images:,} images"
            f"{left_out(facts.num_trained_on)}{unreadable}, {facts.seconds:.1f} s"
        ]
        for member in facts.members:
            views = f"{protocol_name([member.views])}, Q = {', '.join(map(str, member.scales))}"
            views += ", mirror images" * member.mirror
            lines.append(f"{escaped(member.model)} ({member.configuration}): {views}")
        lines.append(f"top-1 error {rates.top1_error:.2f} %")
        if rates.top_k < len(facts.class_names):  # else it is always 0
            lines.append(f"top-{rates.top_k} error {rates.top5_error:.2f} %")
        errors = rates.per_class
        order = sorted(np.flatnonzero(errors > 0).tolist(), key=lambda label: -errors[label])
        if order:
            lines.append("most often wrong:")
        for label in order[:MOST_CLASSES]:
            taken_for = rates.taken_for(label)
            if taken_for is not None:
                names = facts.class_names[label], facts.class_names[taken_for]
                lines.append(
                    f"  {errors[label]:5.1f} %  {escaped(names[0])}, mostly taken for {escaped(names[1])}"
                )
        return "\n".join(lines)


def described(part: str, data: str) -> str:
    """Words for a part of a data set, as results name it."""
    return f"all of {data}" if part == "all" else f"{part} part of {data}"


def left_out(num_trained_on: int) -> str:
    """How many images were left out as the model was trained on them."""
    return f" ({num_trained_on:,} training image{'s' * (num_trained_on > 1)} left out)" if num_trained_on else ""


def check_result_path(out: str | PathLike[str] | None) -> Path | None:
    """Make sure that a result can be written there.

    Raises:
        UsageError: the file would not be called `.npz`, no file can be there, or one with other arrays is.
        DiskError: its folder cannot be made or written to.

    """
    if out is None:
        return None
    if Path(out).suffix != ".npz":
        raise UsageError(f"`out` {Path(out)} has to end with .npz; choose such a name")
    check_out(Path(out))
    refuse_to_replace(Path(out), ARRAYS.keys())
    return Path(out)


def write_result(path: Path, result: Evaluation) -> None:
    """Write a result, whole.

    Args:
        path: ends with `.npz`.
        result: to be kept; posteriors are kept in full precision.

    """
    arrays = {
        "names": np.array(result.names, dtype=np.str_),
        "labels": result.labels,
        "posteriors": result.posteriors,
        "facts": np.array(json_text(asdict(result.facts))),
    }
    write_arrays(path, arrays, compressed=True)


def read_result(path: Path) -> Evaluation:
    """Read a result back.

    Raises:
        ModelError: there is no such file, it is damaged, or it is no result.

    """
    try:
        arrays = read_arrays(path, ARRAYS)
        result = Evaluation(
            Facts.from_json(parse_json(str(arrays["facts"]))),
            texts(arrays.pop("names").tolist()),
            arrays["labels"].astype(np.int64),
            arrays["posteriors"].astype(np.float64, copy=False),
        )
    except FileNotFoundError:
        raise ModelError(
            f"{path} does not exist; `verydeep evaluate --out` makes such a file{near_path(path)}"
        ) from None
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except IsADirectoryError:
        raise ModelError(
            f"{path} is a folder, and no result; `verydeep evaluate MODEL DATA --out FILE.npz` makes one"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not a result of `verydeep evaluate --out`, or is damaged ({printable(error)}); "
            "test the model again"
        ) from None
    shape = (len(result.names), len(result.facts.class_names))
    if result.posteriors.shape != shape or result.labels.shape != shape[:1]:
        raise ModelError(
            f"{path} has posteriors of shape {result.posteriors.shape} where {shape} is wanted; test the model "
            "again"
        )
    _check_numbers(path, result)
    return result


def _check_numbers(path: Path, result: Evaluation) -> None:
    """Make sure that posteriors are probabilities, not NaN as of a network that diverged, and labels classes."""
    broken = np.flatnonzero(~np.isfinite(result.posteriors).all(1))
    if len(broken):
        raise ModelError(
            f"{path} has NaN or infinite posteriors for {len(broken)} of {len(result.names)} images, such as "
            f"{printable(result.names[broken[0]])!r}; test the model again with `verydeep evaluate`"
        )
    if len(result.names) and not -ROUNDING <= result.posteriors.min() <= result.posteriors.max() <= 1 + ROUNDING:
        raise ModelError(f"{path} has posteriors that are not probabilities; test the model again")
    num_classes = len(result.facts.class_names)
    if len(result.labels) and not 0 <= result.labels.min() <= result.labels.max() < num_classes:
        raise ModelError(
            f"{path} has labels from {result.labels.min()} to {result.labels.max()}, and {num_classes} classes; "
            "test the model again with `verydeep evaluate`"
        )
