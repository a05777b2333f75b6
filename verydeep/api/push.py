"""`verydeep.push`: a model, with its card, -> the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from verydeep.api.export import write_for_hub
from verydeep.arguments import checked
from verydeep.errors import UsageError
from verydeep.exports.hub_folder import CARD, NOT_FOR_OTHERS, check_repository, upload
from verydeep.results import Result
from verydeep.run_folder import WEIGHTS, ModelConfig
from verydeep.weights.by_name import is_offline
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate, with_network


@dataclass(frozen=True, repr=False)
class Pushed(Result):
    """A model on the Hub.

    Attributes:
        repository: `OWNER/NAME`.
        url: where it can be seen.

    """

    repository: str
    url: str

    def __str__(self) -> str:
        return f"{self.url}: verydeep predict hf:{self.repository} IMAGE"


@checked
def push(
    folder: str | PathLike[str],
    repository: str,
    *,
    yes: bool = False,
    results: Sequence[str | PathLike[str]] = (),
    licence: str | None = None,
    private: bool = False,
    revision: str | None = None,
    tensors: str | None = None,
) -> Pushed:
    """Upload a model with a model card to the Hugging Face Hub.

    Afterwards hf:OWNER/NAME is a model for every command. A folder that `verydeep.export` made for the Hub is
    uploaded as it is, with your changes to its card. For any other model, such a folder is made first. The
    account is that of HF_TOKEN or `hf auth login`.

    Args:
        folder: a folder that `verydeep.export` made for the Hub, a run folder, or weights in one.
        repository: where to; it is made if it is not there yet.
        yes: send it without asking.
        results: tests of the model, files that `verydeep.evaluate` wrote; the model card shows their figures.
        licence: licence of the weights as SPDX names it, such as CC-BY-4.0 (default: the one that came with them).
        private: a new repository is seen by its owner alone.
        revision: branch to send to.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.

    Raises:
        UsageError: it is not confirmed, this process is offline, or the folder has its card already.
        VerydeepError: huggingface_hub is not installed, nobody is logged in, or the Hub refuses it.

    """
    check_repository(repository)
    if is_offline():
        raise UsageError("nothing was sent: the network is off (by option or HF_HUB_OFFLINE)")
    if not yes:
        raise UsageError(f"nothing was sent; confirm with `yes` that {folder} goes to hf:{repository}")
    model = with_network(folder, tensors)
    config, weights = open_source(model)
    with tempfile.TemporaryDirectory() as aside:
        sent = locate(model).path
        if not _is_hub_folder(sent, config):
            sent = Path(aside) / "model"
            write_for_hub(sent, model, config, weights, results, licence, repository)
        elif results or licence:
            raise UsageError(f"{folder} already has a card; edit {CARD} there, or export the run again")
        del weights
        return Pushed(repository, upload(sent, repository, private=private, revision=revision))


def _is_hub_folder(folder: Path, config: ModelConfig) -> bool:
    """Whether a folder can be sent as it is: it has its card, and nothing that `export --to hub` leaves out."""
    private = config.provenance.keys() & set(NOT_FOR_OTHERS)
    return (folder / CARD).is_file() and is_ours(folder) and (folder / WEIGHTS).is_file() and not private
