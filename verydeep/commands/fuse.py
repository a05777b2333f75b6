"""`verydeep fuse`: results of several networks or protocols -> the result of their mean posterior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Answering, command


@command
class Fuse(Answering):
    """Average the posteriors of several tests of the same images: of networks, or of protocols.

    Nothing is computed again. Each file has the same weight, so that an ensemble of networks that were each tested
    in the same way gives what `verydeep evaluate MODEL MODEL ... DATA` gives.
    """

    results: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULT")]
    """Two files or more that `verydeep evaluate --out` has written."""
    out: Path | None = None
    """.npz file for the fused result."""
