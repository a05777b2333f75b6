"""A model -> a folder for the Hub, which every MODEL argument reads too; and the folder -> the Hub.

FOLDER/
  README.md           the model card
  config.json         architecture, preprocessing, class names, provenance
  model.safetensors   the weights
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import UsageError, VerydeepError, require
from verydeep.exports.card import CardFacts, card, check_results, last_part
from verydeep.files import write_text
from verydeep.run_folder import CONFIG, WEIGHTS, ModelConfig, making_folder, write_model
from verydeep.weights.by_name import as_repository

CARD = "README.md"
NOT_FOR_OTHERS = ("command", "processor", "python", "threads")
"""Facts of provenance that tell of the machine, and of nothing that a reader of the model needs."""

PLACES = ("source", "started_from", "grown_from", "name")
"""Facts that tell where a model or its data lay."""


def write_hub_folder(
    folder: Path, config: ModelConfig, tensors: Mapping[str, NDArray[Any]], facts: CardFacts, half: bool = False
) -> ModelConfig:
    """Write a model with its card.

    Paths of this machine stay here: of each the last part is kept.

    Args:
        folder: to be made.
        config: of the model.
        tensors: its weights.
        facts: what its card tells beside.
        half: write the weights in float16.

    Returns:
        The configuration as it was written.

    Raises:
        UsageError: the folder is not empty, a result is of another model, or a weight is too large for float16.

    """
    if half:
        tensors = halved(tensors)
    with making_folder(folder):
        check_results(config, facts.results)
        provenance = config.provenance.items()
        shared = {name: without_paths(value, name) for name, value in provenance if name not in NOT_FOR_OTHERS}
        if facts.licence:
            shared["licence"] = facts.licence
        public = replace(config, provenance=shared)
        write_text(folder / CARD, card(public, facts))
        write_model(folder, public, tensors)
    return public


def halved(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same weights in float16; counters stay as they are.

    Raises:
        UsageError: a number is too large.

    """
    most = np.finfo(np.float16).max
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and tensor.size and np.abs(tensor).max() > most:
            raise UsageError(f"{name} has numbers above {most}, which float16 cannot hold; leave out `half`")
    return {
        name: tensor.astype(np.float16) if tensor.dtype.kind == "f" else tensor for name, tensor in tensors.items()
    }


def without_paths(fact: Any, name: str = "") -> Any:
    """The same fact with the last part alone of every path and URL in it.

    Args:
        fact: of provenance.
        name: its name, of `PLACES` where a relative path is one too. Names of the Hub stay.

    """
    if isinstance(fact, dict):
        return {key: without_paths(value, key) for key, value in fact.items()}
    if isinstance(fact, list | tuple):
        return [without_paths(value, name) for value in fact]
    if not isinstance(fact, str) or as_repository(fact):
        return fact
    is_path = name in PLACES or re.match(r"\w+://\S+$|[~.]{0,2}[/\\]|\w:\\", fact)
    return last_part(fact) if is_path else fact


def check_repository(name: str) -> None:
    """Make sure that a repository can have this name.

    Raises:
        UsageError: it is not `owner/name`.

    """
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise UsageError(f"{name!r} is not a repository name; it must be OWNER/NAME")


def upload(folder: Path, repository: str, *, private: bool = False, revision: str | None = None) -> str:
    """Send a folder for the Hub; the repository is made if it is not there yet.

    Args:
        folder: with card, configuration and weights.
        repository: `owner/name`.
        private: whether a new repository is to be seen by its owner alone.
        revision: a branch; None for the main one.

    Returns:
        Where it can be seen.

    Raises:
        UsageError: the repository's name is not of this form.
        VerydeepError: huggingface_hub is not installed, nobody is logged in, or the Hub refuses it.

    """
    check_repository(repository)
    require("huggingface_hub", "hub", "sending a model to the Hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi(library_name="verydeep")
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        if revision:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        sent = hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[CARD, CONFIG, WEIGHTS],
            revision=revision,
            commit_message=f"A model of verydeep: {', '.join((CARD, CONFIG, WEIGHTS))}",
        )
    except LocalTokenNotFoundError:
        raise VerydeepError("the Hub does not know you; run `hf auth login`, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise VerydeepError(
                f"the Hub does not let you write to {repository} ({status}); run `hf auth login`, or set HF_TOKEN "
                "to a token that may write there"
            ) from None
        raise VerydeepError(f"the Hub did not take {repository}: {_first_line(error)}") from None
    except Exception as error:  # of the library that huggingface_hub speaks to the network by
        raise VerydeepError(f"{repository} could not be sent: {_first_line(error)}") from None
    return str(sent.commit_url).rpartition("/commit/")[0] or str(sent)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
