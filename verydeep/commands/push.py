"""`verydeep push`: a model, with its card, -> the Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command


@command
class Push(Answering):
    """Send a model to the Hub, with a model card, from where every MODEL argument takes it as hf:OWNER/NAME.

    A folder that `verydeep export --to hub` made is sent as it is, with what you have changed in its card. Of any
    other model such a folder is made first. Who sends is told by HF_TOKEN, or by `hf auth login`.
    """

    folder: Annotated[Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """A folder that `verydeep export --to hub` made, a run folder, or weights of it."""
    repository: Annotated[Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Where to; it is made if it is not there yet."""
    yes: FlagCreatePairsOff[bool] = False
    """Send it without asking."""
    results: tuple[Path, ...] = ()
    """Tests of the model, as `verydeep evaluate --out` keeps them, whose figures the card tells."""
    licence: str | None = None
    """Licence of the weights, as SPDX names it: CC-BY-4.0, say. By default the one that came with them."""
    private: FlagCreatePairsOff[bool] = False
    """A new repository is seen by its owner alone."""
    revision: str | None = None
    """Branch to send to."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""

    def execute(self) -> None:
        """Ask whether it is to be sent, on a terminal, unless that was said."""
        if not self.yes and sys.stdin.isatty():
            self.yes = input(f"Send {self.folder} to hf:{self.repository}? [y/N] ").strip().lower() in ("y", "yes")
        super().execute()
