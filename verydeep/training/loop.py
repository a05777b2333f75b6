"""The training loop; it reads as Section 3.1 does.

The loop is handed a function that validates; it knows nothing of how testing is done.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from verydeep.errors import TrainingError
from verydeep.images.batches import Batch, TrainingBatches, feed
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS, STATE, ModelConfig, write_model, write_weights
from verydeep.training.journal import EpochRecord, Journal, StepRecord
from verydeep.training.optimizer import Schedule, make_optimizer
from verydeep.training.recipe import Recipe
from verydeep.training.state import (
    TrainingState,
    random_state,
    read_state,
    restore,
    restore_random_state,
    write_state,
)


class InterruptedRunError(TrainingError):
    """Ctrl-C, or a request to end: everything is saved."""


@dataclass
class Trainer:
    """One run: a network, what it is shown, and the folder that keeps it.

    Attributes:
        network: initialized, on the CPU.
        recipe: how it is trained.
        batches: what it is shown.
        validate: gives the top-1 error of the network on the validation set, in %.
        config: written beside the weights.
        run: the run folder.
        device: where to train.
        num_workers: processes that make batches; None chooses.
        max_unreadable: pictures that may be left out because they cannot be read.
        seconds_between_saves: a state is saved at the end of each epoch and at least so often within it.

    """

    network: VGG
    recipe: Recipe
    batches: TrainingBatches
    validate: Callable[[], float]
    config: ModelConfig
    run: Path
    device: torch.device
    num_workers: int | None = None
    max_unreadable: int = 0
    seconds_between_saves: float = 120.0

    def __post_init__(self) -> None:
        preprocessing = self.config.preprocessing
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = Preprocess(preprocessing.mean, preprocessing.deviation, preprocessing.channels).to(
            self.device
        )
        self.optimizer = make_optimizer(self.network, self.recipe)
        # A set smaller than a batch gives smaller batches, whose gradients are noisier: the rate falls with them,
        # by the linear rule of Goyal et al., arXiv 1706.02677. At the recipe's own batch nothing changes.
        share = self.batches.batch_size / self.recipe.batch_size
        scaled = replace(self.recipe, learning_rate=self.recipe.learning_rate * share)
        self.schedule = Schedule(scaled, self.batches.steps_per_epoch)
        self.bfloat16 = uses_bfloat16(self.recipe.precision, self.device)
        self.facts = {"recipe": _plain(asdict(self.recipe)), "data": self.batches.pictures.fingerprint}
        self.unreadable: dict[str, str] = {}

    def train(self, *, resume: bool = False) -> float:
        """Train from the start, or go on from the saved state; return the least validation error in %.

        Raises:
            TrainingError: the loss is not finite, or more pictures than allowed cannot be read.
            InterruptedRunError: Ctrl-C or SIGTERM; the run can be resumed.

        """
        torch.manual_seed(self.recipe.seed)
        first = self._resume() if resume else 0
        per_epoch = self.batches.steps_per_epoch
        journal = Journal(self.run / JOURNAL, first, self.recipe.epochs, per_epoch, self.batches.batch_size)
        with journal, _interrupts() as interrupted:
            for epoch in range(first // per_epoch, self.recipe.epochs):
                if self.schedule.finished:
                    journal.say("the validation error has stopped improving at the lowest rate: done")
                    break
                self._epoch(epoch, max(first, epoch * per_epoch), journal, interrupted)
        return self.schedule.best_error

    @property
    def _last_step(self) -> int:
        return self.recipe.epochs * self.batches.steps_per_epoch

    def _epoch(self, epoch: int, first: int, journal: Journal, interrupted: Callable[[], bool]) -> None:
        last = (epoch + 1) * self.batches.steps_per_epoch
        batches = feed(self.batches, first, last, self.num_workers)
        records: list[StepRecord] = []
        self.network.train()
        saved = clock = time.perf_counter()
        for step, batch in enumerate(batches, first):
            wait = time.perf_counter() - clock
            self._note_unreadable(batch, step, journal)
            loss, error, rate = self._step(batch, step)
            now = time.perf_counter()
            records.append(StepRecord(step, epoch, loss, error, rate, now - clock, wait))
            journal.step(records[-1])
            if step + 1 < last and (interrupted() or now - saved > self.seconds_between_saves):
                self._save(step + 1)
                saved = time.perf_counter()
                if interrupted():
                    raise InterruptedRunError(f"stopped after step {step + 1} of {self._last_step} and saved")
            clock = time.perf_counter()
        self._finish_epoch(epoch, last, records, journal)
        if interrupted() and last < self._last_step:
            raise InterruptedRunError(f"stopped after step {last} of {self._last_step} and saved")

    def _step(self, batch: Batch, step: int) -> tuple[float, float, float]:
        """One step of stochastic gradient descent; give its loss, its error in % and its rate."""
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pixels = torch.from_numpy(batch.pixels).to(self.device, non_blocking=True)
        labels = torch.from_numpy(batch.labels).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            scores = self.network(self.preprocess(pixels))
            loss = F.cross_entropy(scores.float(), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss_value = float(loss.detach())
        if not torch.isfinite(loss):
            # The weights are still those of the step before: nothing has been spoilt.
            raise TrainingError(
                f"the loss is {loss_value} at step {step} (epoch {step // self.batches.steps_per_epoch + 1}, "
                f"rate {rate:g}, batch of {len(batch.labels)}): try a lower --learning-rate, --start he, "
                "or growing from net A"
            )
        self.optimizer.step()
        error = float((scores.argmax(1) != labels).float().mean()) * 100
        return loss_value, error, rate

    def _finish_epoch(self, epoch: int, next_step: int, records: list[StepRecord], journal: Journal) -> None:
        """Validate, keep the weights, save the state."""
        self.network.eval()
        error = self.validate()
        better = self.schedule.after_epoch(error)
        weights = self._weights()
        if better:
            write_model(self.run, self.config, weights)
        write_weights(self.run / LAST_WEIGHTS, weights)
        seconds = sum(record.seconds for record in records)
        count = len(records)
        journal.epoch(
            EpochRecord(
                next_step,
                epoch,
                sum(record.loss for record in records) / count,
                sum(record.error for record in records) / count,
                error,
                better,
                count * self.batches.batch_size / seconds,
            )
        )
        self._save(next_step)

    def _note_unreadable(self, batch: Batch, step: int, journal: Journal) -> None:
        for picture in batch.unreadable:
            if picture.name in self.unreadable:
                continue
            self.unreadable[picture.name] = picture.reason
            journal.note(step=step, unreadable=picture.name, reason=picture.reason)
            if len(self.unreadable) > self.max_unreadable:
                raise TrainingError(
                    f"{picture.reason}; remove it, or allow as many to be left out by --max-unreadable"
                )

    def _weights(self) -> dict[str, NDArray[Any]]:
        return {
            name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self.network.state_dict().items()
        }

    def _save(self, next_step: int) -> None:
        write_state(
            self.run / STATE,
            TrainingState(
                next_step,
                self.facts,
                self.network.state_dict(),
                self.optimizer.state_dict(),
                self.schedule.state(),
                random_state(self.device),
            ),
        )

    def _resume(self) -> int:
        state = read_state(self.run / STATE, self.facts)
        restore(self.network, self.optimizer, state)
        self.schedule.restore(state.schedule)
        restore_random_state(state.random, self.device)
        return state.step


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether products are taken in bfloat16: always, never, or where the device multiplies it by itself.

    On processors that lack the instruction bfloat16 is emulated and slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to end after this step; the second ends at once."""
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, request) for number in signals]
    except ValueError:  # not the main thread: whoever started it takes care of signals
        yield lambda: False
        return
    try:
        yield lambda: requested
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
