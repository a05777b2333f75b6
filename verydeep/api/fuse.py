"""`verydeep.fuse`: results of several networks or protocols -> the result of their mean posterior."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from verydeep.evaluation import fusion
from verydeep.evaluation.results import Evaluation, check_result_path, read_result, write_result


def fuse(results: Sequence[str | PathLike[str]], *, out: str | PathLike[str] | None = None) -> Evaluation:
    """Average the posteriors of several tests of the same images: of networks, or of protocols.

    Nothing is computed again. Each file has the same weight, so networks that were each tested in the same way
    give what `verydeep.evaluate` gives for all of them.

    Args:
        results: two files or more that `verydeep.evaluate` wrote.
        out: .npz file for the fused result.

    Raises:
        UsageError: there are fewer than two, or they are of other images, classes or labels.
        ModelError: one is no such file.

    """
    target = check_result_path(out)
    paths = [Path(path) for path in results]
    fused = fusion.fuse([read_result(path) for path in paths], paths)
    if target:
        write_result(target, fused)
    return fused
