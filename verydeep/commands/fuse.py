"""`verydeep fuse`: results of several networks or protocols -> the result of their mean posterior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.evaluate import check_result_path, in_words
from verydeep.commands.progress import json_line
from verydeep.evaluation.fusion import fuse
from verydeep.evaluation.results import read_result, write_result


@dataclass
class Fuse:
    """Average the posteriors of several tests of the same pictures: of networks, or of protocols.

    Nothing is computed again. Each file has the same weight, so that an ensemble of networks that were each tested
    in the same way gives what `verydeep evaluate MODEL MODEL ... DATA` gives.
    """

    results: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULT")]
    """Two files or more that `verydeep evaluate --posteriors` has made."""
    out: Path | None = None
    """Keep the fused posteriors in this .npz file."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> None:
        """Fuse, and print what comes out."""
        check_result_path(self.out, "--out")
        result = fuse([read_result(path) for path in self.results], self.results)
        if self.out:
            write_result(self.out, result)
        print(json_line(result.summary()) if self.json else in_words(result))
