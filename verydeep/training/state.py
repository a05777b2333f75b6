"""What a run needs to go on exactly where it stopped; the only file that knows torch.save."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from verydeep.errors import TrainingError
from verydeep.files import write_whole


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        step: the next step.
        facts: the recipe and the data's fingerprint, which have to be the same to go on.
        network: weights and statistics.
        optimizer: momentum.
        schedule: of the rate.
        random: the generators' states, which decide dropout.

    """

    step: int
    facts: dict[str, Any]
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, float]
    random: dict[str, Tensor]


def write_state(path: Path, state: TrainingState) -> None:
    """Write it, whole."""
    write_whole(path, lambda aside: torch.save(vars(state), aside))


def read_state(path: Path, facts: dict[str, Any]) -> TrainingState:
    """Read it, without running anything that the file might bring along.

    Args:
        path: the run's state file.
        facts: what the run is asked to go on with.

    Raises:
        TrainingError: there is none, it is damaged, or is of another recipe or data.

    """
    if not path.is_file():
        raise TrainingError(f"{path} does not exist: this run has saved no state to go on from")
    try:
        state = TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise TrainingError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    for name, value in facts.items():
        if state.facts.get(name) != value:
            raise TrainingError(
                f"this run was started with {name} {state.facts.get(name)!r}, not {value!r}; "
                "go on with the same, or start a new run"
            )
    return state


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators that a step draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Go on drawing from there."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Put weights and momentum back."""
    network.load_state_dict(state.network)
    optimizer.load_state_dict(state.optimizer)
