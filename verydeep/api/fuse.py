"""`verydeep.fuse`: results of several networks or protocols -> the result of their mean posterior."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from verydeep.arguments import checked
from verydeep.errors import UsageError
from verydeep.evaluation import fusion
from verydeep.evaluation.results import Evaluation, check_result_path, read_result, write_result


@checked
def fuse(results: Sequence[str | PathLike[str]], *, out: str | PathLike[str] | None = None) -> Evaluation:
    """Average the posteriors of several tests of the same images.

    The tests may be of several networks or of several protocols. Each file has the same weight. Networks that were
    tested in the same way give the same result as `verydeep.evaluate` with all of them.

    Args:
        results: two files or more that `verydeep.evaluate` wrote.
        out: .npz file for the fused result.

    Raises:
        UsageError: there are fewer than two, they are of other images, classes or labels, or `out` is one of them.
        ModelError: one is no such file.

    """
    target = check_result_path(out)
    paths = [Path(path) for path in results]
    if target and target.resolve() in [path.resolve() for path in paths]:
        raise UsageError(f"`out` {target} is one of the results and would be overwritten; name another file")
    fused = fusion.fuse(map(read_result, paths), paths)  # one after the other: they may be large
    if target:
        write_result(target, fused)
    return fused
