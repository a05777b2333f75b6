"""`verydeep.fuse`: results of several networks or protocols -> the result of their mean posterior."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from verydeep.evaluation import fusion
from verydeep.evaluation.results import Evaluation, check_result_path, read_result, write_result


def fuse(results: Sequence[str | PathLike[str]], *, out: str | PathLike[str] | None = None) -> Evaluation:
    """Average the posteriors of several tests of the same images.

    The tests may be of several networks or of several protocols. Each file has the same weight. Networks that were
    tested in the same way give the same result as `verydeep.evaluate` with all of them.

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
