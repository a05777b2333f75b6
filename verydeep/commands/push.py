"""`verydeep push`: a model, with its card, -> the Hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.export import write_for_hub
from verydeep.errors import UsageError
from verydeep.weights.by_name import is_offline
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate, with_network


@dataclass
class Push:
    """Send a model to the Hub, with a model card, from where every MODEL argument takes it as hf:OWNER/NAME.

    A folder that `verydeep export --to hub` made is sent as it is, with what you have changed in its card. Of any
    other model such a folder is made first. Who sends is told by HF_TOKEN, or by `hf auth login`.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A folder that `verydeep export --to hub` made, a run folder, or weights of it."""
    repository: Annotated[Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Where to; it is made if it is not there yet."""
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

    def __post_init__(self) -> None:
        self.model = with_network(self.model, self.tensors)

    def run(self) -> None:
        """Send it, and tell where it is."""
        from verydeep.exports.hub_folder import CARD, check_repository, push

        check_repository(self.repository)
        if is_offline():
            raise UsageError("nothing is sent offline; leave --offline and HF_HUB_OFFLINE out")
        config, tensors = open_source(self.model)
        with tempfile.TemporaryDirectory() as aside:
            folder = locate(self.model).path
            if not (folder / CARD).is_file():
                folder = Path(aside) / "model"
                write_for_hub(folder, self.model, config, tensors, self.results, self.licence, self.repository)
            elif self.results or self.licence:
                raise UsageError(
                    f"{self.model} has its card already; change {CARD} there, or export the run once more"
                )
            del tensors
            place = push(folder, self.repository, private=self.private, revision=self.revision)
        print(f"{place}: verydeep predict hf:{self.repository} PICTURE")
