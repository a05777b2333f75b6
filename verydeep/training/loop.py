"""The training loop; it reads as Section 3.1 does.

The loop is handed a function that validates; it knows nothing of how testing is done.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from verydeep.distributed import World
from verydeep.errors import DataError, ModelError, TrainingError
from verydeep.images.batches import Batch, TrainingBatches, feed
from verydeep.interrupts import interrupts
from verydeep.network.initialize import freeze
from verydeep.network.preprocess import Preprocess
from verydeep.network.synchronized import sum_over_processes, synchronize
from verydeep.network.vgg import VGG
from verydeep.notes import say
from verydeep.run_folder import (
    JOURNAL,
    LAST_WEIGHTS,
    STATE,
    TENSORBOARD,
    ModelConfig,
    has_state,
    remove_parts,
    write_model,
    write_weights,
)
from verydeep.training.display import display
from verydeep.training.engine import TrainingEngine, uses_bfloat16
from verydeep.training.journal import EpochRecord, Listener, StepRecord, is_epoch, journal, read_journal
from verydeep.training.optimizer import Schedule, make_optimizer
from verydeep.training.recipe import Recipe
from verydeep.training.state import TrainingState, Writer, copied, read_state, restore, write_state
from verydeep.training.tensorboard import curves
from verydeep.training.unreadable import UnreadableLog

DROPOUT = 2  # stream of random numbers; the images' order and views are 0 and 1


class InterruptedRunError(TrainingError):
    """Ctrl-C, or a request to end: everything is saved."""


@dataclass(frozen=True)
class StepResult:
    """What comes of a step, the same on every process.

    Attributes:
        loss: mean cross-entropy of the batch.
        error: top-1 error of the batch, in %.
        interrupted: whether any process has been asked to end.
        num_unreadable: images that others stood in for.

    """

    loss: float
    error: float
    interrupted: bool
    num_unreadable: int


@dataclass
class Trainer:
    """One run: a network, what it is shown, and the folder that keeps it.

    Under torchrun each process has its share of each batch, and all have the same weights.

    Attributes:
        network: initialized, on the CPU.
        recipe: how it is trained.
        batches: what it is shown here.
        validate: gives the top-1 error of the network on the validation set, in %, the same on every process.
        config: written beside the weights.
        run: the run folder; the first process alone writes to it.
        device: where to train.
        unreadable: the images that cannot be read.
        world: the processes that train together.
        new_layers: in fine-tuning, the layers that start anew; None for all.
        num_workers: processes that make batches; None chooses.
        save_seconds: a state is saved at the end of each epoch and at least so often within it,
        save_steps: and after as many steps, if it is given.
        epochs: how many have been trained.

    """

    network: VGG
    recipe: Recipe
    batches: TrainingBatches
    validate: Callable[[], float]
    config: ModelConfig
    run: Path
    device: torch.device
    unreadable: UnreadableLog
    world: World = field(default_factory=World)
    new_layers: Collection[str] | None = None
    num_workers: int | None = None
    save_seconds: float = 120.0
    save_steps: int | None = None

    def __post_init__(self) -> None:
        preprocessing = self.config.preprocessing
        self.network.to(self.device).lay_out()
        self.preprocess = Preprocess(preprocessing).to(self.device)
        self.frozen = freeze(self.network, self.recipe.freeze) if self.recipe.freeze != "none" else ()
        self.optimizer = make_optimizer(self.network, self.recipe, self.new_layers)
        # A set smaller than a batch gives smaller batches, whose gradients are noisier: the rate falls with them,
        # by the linear rule of Goyal et al., arXiv 1706.02677. At the recipe's own batch nothing changes.
        share = self.batches.batch_size / self.recipe.batch_size
        scaled = replace(self.recipe, learning_rate=self.recipe.learning_rate * share)
        self.schedule = Schedule(scaled, self.batches.steps_per_epoch)
        self.bfloat16 = uses_bfloat16(self.recipe.precision, self.device, self.engine)
        settings = asdict(self.recipe).items()
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings}
        self.facts = {"recipe": plain}
        self.machine = {"processes": self.world.size, "threads": torch.get_num_threads()}
        self.model: nn.Module = self.network
        self.writer = Writer()
        self.epochs = 0

    def train(self) -> float:
        """Train from the start, or from the saved state where there is one; give the least validation error in %.

        Raises:
            TrainingError: the loss, a weight or a score in validation is not finite.
            DataError: more images than allowed cannot be read, or a process that reads them has been lost.
            DiskError: the run cannot be saved; what was saved before is whole.
            InterruptedRunError: Ctrl-C or SIGTERM; the run can be resumed.

        """
        first = self._resume() if self.world.from_first(lambda: has_state(self.run)) else 0
        self._join()
        per_epoch = self.batches.steps_per_epoch
        self.epochs = first // per_epoch
        if self.epochs == self.recipe.epochs:
            say(f"nothing is left to train, as all {self.epochs} epochs are done; more `epochs` train on")
        with interrupts() as interrupted, self._listeners(first) as listeners, self.writer, old_objects_kept():
            while self.epochs < self.recipe.epochs:
                if self.schedule.finished:
                    say("the validation error has stopped improving at the lowest learning rate: done")
                    break
                self._epoch(self.epochs, max(first, self.epochs * per_epoch), listeners, interrupted)
                self.epochs += 1
        return self.schedule.best_error

    @property
    def engine(self) -> TrainingEngine:
        """What computes the 3x3 convolutions."""
        return "torch" if self.network.engine == "torch" else "native"

    @contextmanager
    def _listeners(self, first: int) -> Iterator[Sequence[Listener]]:
        """What hears of each step, on the first process."""
        with ExitStack() as stack:
            heard: list[Listener] = []
            if self.world.first:
                remove_parts(self.run)
                per_epoch, batch_size = self.batches.steps_per_epoch, self.batches.batch_size
                before = self._records_before(first)
                heard = [
                    stack.enter_context(journal(self.run / JOURNAL, first)),
                    stack.enter_context(display(first, self.recipe.epochs, per_epoch, batch_size, before)),
                    stack.enter_context(curves(self.run / TENSORBOARD, first)),
                ]
            yield heard

    def _join(self) -> None:
        """Make the processes' steps one: gradients, dropout and normalisation are those of the whole batch."""
        if self.world.size == 1:
            return
        for name, parameter in self.network.named_parameters():
            # fc7 and fc8 are used as matrices, and their gradients have a matrix's strides.
            if name.startswith("fc") and parameter.shape[2:] == (1, 1):
                parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        synchronize(self.network, self.batches.places.start, self.batches.batch_size, self._sum)
        # It gives all processes the first one's weights, and averages gradients while others are being computed.
        self.model = DistributedDataParallel(self.network, gradient_as_bucket_view=True)
        if self.recipe.gradients == "bfloat16":
            self.model.register_comm_hook(None, bf16_compress_hook)

    def _epoch(
        self, epoch: int, first: int, listeners: Sequence[Listener], interrupted: Callable[[], bool]
    ) -> None:
        last = (epoch + 1) * self.batches.steps_per_epoch
        records = self._records_before(first) if first % self.batches.steps_per_epoch else []
        begun = len(records)
        self._set_training_mode()
        saved = clock = time.perf_counter()
        try:
            for step, batch in enumerate(feed(self.batches, first, last, self.num_workers, say), first):
                wait = time.perf_counter() - clock
                result = self._step(batch, step, interrupted)
                now = time.perf_counter()
                rate = self.schedule.rate(step)
                records.append(StepRecord(step, epoch, result.loss, result.error, rate, now - clock, wait))
                for listener in listeners:
                    listener(records[-1])
                if result.num_unreadable:
                    self._log_unreadable(batch, step)
                if step + 1 < last and (result.interrupted or self._save_is_due(step + 1, now - saved)):
                    self._save(step + 1)
                    saved = time.perf_counter()
                    self._end_if(result.interrupted, step + 1)
                clock = time.perf_counter()
        except DataError:  # the images are at an end, not what has been learnt from them
            done = len(records) - begun
            if 0 < done < last - first:
                self._save(first + done)
            raise
        record = self._validate(epoch, last, records)
        is_last = self.schedule.finished or epoch + 1 == self.recipe.epochs
        if is_last:  # with it in the journal the run counts as finished: its files have to be there
            self._save(last, best=record.best, epoch_ends=True)
            self.writer.wait()
        for listener in listeners:
            listener(record)
        if not is_last:
            self._save(last, best=record.best, epoch_ends=True)
            self._end_if(self._sum(torch.tensor([float(interrupted())])).item() > 0, last)

    def _records_before(self, step: int) -> list[StepRecord]:
        """The steps of an epoch that a resumed run had done, for the first process, which tells of the epoch."""
        first = step - step % self.batches.steps_per_epoch
        lines = read_journal(self.run / JOURNAL) if self.world.first else []
        known = {line["step"]: line for line in lines if not is_epoch(line)}
        names = [field.name for field in fields(StepRecord)]
        return [
            StepRecord(**{name: known[number].get(name, 0) for name in names})
            for number in range(first, step)
            if number in known
        ]

    def _set_training_mode(self) -> None:
        """What is frozen stays in evaluation mode."""
        self.network.train()
        for name in self.frozen:
            self.network.get_submodule(name).eval()

    def _step(self, batch: Batch, step: int, interrupted: Callable[[], bool] = lambda: False) -> StepResult:
        """One step of stochastic gradient descent."""
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        torch.manual_seed(_seed_of(self.recipe.seed, step))  # of dropout
        pixels, labels = self._on_device(batch.pixels), self._on_device(batch.labels)
        shifts = None if batch.color_shifts is None else self._on_device(batch.color_shifts)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            scores = self.model(self.preprocess(pixels, shifts))
            losses = F.cross_entropy(scores.float(), labels, reduction="sum")
        self.optimizer.zero_grad(set_to_none=True)
        # The mean over the batch: processes' gradients are averaged, so that each counts its part `size` times.
        batch_size = self.batches.batch_size
        (losses * (self.world.size / batch_size)).backward()  # type: ignore[no-untyped-call]
        here = losses.new_tensor([interrupted(), len(batch.unreadable)])  # asked late: a step may take a minute
        wrong = (scores.argmax(1) != labels).sum()
        facts = torch.cat([losses.detach()[None], wrong[None], here])
        loss, num_wrong, num_interrupted, num_unreadable = self._sum(facts).tolist()
        result = StepResult(
            loss / batch_size, 100 * num_wrong / batch_size, num_interrupted > 0, int(num_unreadable)
        )
        if not isfinite(result.loss):
            # The weights are still those of the step before.
            raise self._diverged(f"the loss is {result.loss}", step)
        self.optimizer.step()
        return result

    def _sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over the processes; gradients cross too."""
        return tensor if self.world.size == 1 else sum_over_processes(tensor)

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _diverged(self, what: str, step: int) -> TrainingError:
        """Say what is not finite, at or after which step, and what to do."""
        return TrainingError(
            f"{what} at step {step} (epoch {step // self.batches.steps_per_epoch + 1}, learning rate "
            f"{self.schedule.rate(step):g}, batch of {self.batches.batch_size}), as the training has diverged: "
            f"in a new run folder, try a lower `learning_rate`{', `init=he`' * (self.recipe.init != 'he')}, or "
            "growing from net A"
        )

    def _validate(self, epoch: int, next_step: int, records: Sequence[StepRecord]) -> EpochRecord:
        """Test the network on the validation set, and sum the epoch up."""
        self.network.eval()
        try:
            error = self.validate()
        except ModelError:  # the scores of a network whose last steps have spoilt it; no image is at fault
            raise self._diverged("the network's scores in validation are NaN or infinite", next_step - 1) from None
        count = len(records)
        return EpochRecord(
            next_step,
            epoch,
            sum(record.loss for record in records) / count,
            sum(record.error for record in records) / count,
            error,
            self.schedule.after_epoch(error),
            count * self.batches.batch_size / sum(record.seconds for record in records),
        )

    def _save_is_due(self, next_step: int, seconds: float) -> bool:
        """Whether to save within an epoch; not while the save before is still being written."""
        by_steps = self.save_steps is not None and next_step % self.save_steps == 0
        return (by_steps or seconds > self.save_seconds) and not self.writer.busy

    def _save(self, next_step: int, *, best: bool = False, epoch_ends: bool = False) -> None:
        """Copy the state, and let it be written while training goes on."""
        if not self.world.first:
            return
        # Finite at its start, a step may still overflow the weights; such a state is of no use to anybody.
        weights = copied(self.network.state_dict())
        if not all(tensor.isfinite().all() for tensor in weights.values()):
            raise self._diverged("weights have become NaN or infinite", next_step - 1)
        state = TrainingState(
            next_step,
            self.facts,
            weights,
            copied(self.optimizer.state_dict()),
            self.schedule.state(),
            self.machine,
        )
        self.writer.write(partial(self._write, state, best, epoch_ends))

    def _write(self, state: TrainingState, best: bool, epoch_ends: bool) -> None:
        weights = {name: tensor.numpy() for name, tensor in state.network.items()}
        if best:
            write_model(self.run, self.config, weights)
        if epoch_ends:
            write_weights(self.run / LAST_WEIGHTS, weights)
        # Last: a run that is killed before it writes the same weights again.
        write_state(self.run, state)

    def _resume(self) -> int:
        """Continue from the first process's state; give the next step."""
        state = read_state(self.run, self.facts) if self.world.first else None
        if state:
            restore(state, self.network, self.optimizer, self.run / STATE)
            if state.machine != self.machine:
                say(
                    f"resuming with {_threads(self.machine)}; the run began with {_threads(state.machine)}: "
                    "same steps, but results may differ in the last bits"
                )
        facts = (state.step, state.schedule) if state else None
        step, schedule = self.world.from_first(lambda: facts)  # type: ignore[misc]
        self.schedule.restore(schedule)
        self._share_momentum()
        return step

    def _share_momentum(self) -> None:
        """Give every process the first one's momentum; weights are shared when they join."""
        if self.world.size == 1 or not self.recipe.momentum:
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state[parameter]
                if not self.world.first:
                    state["momentum_buffer"] = torch.empty_like(parameter)
                torch.distributed.broadcast(state["momentum_buffer"], 0)

    def _log_unreadable(self, batch: Batch, step: int) -> None:
        """Note the images that others stood in for, on the first process."""
        for unreadable in self.world.gather(batch.unreadable):
            for image in unreadable:
                if self.unreadable.add(image, step):
                    say(f"skipped: {image.reason}")

    def _end_if(self, interrupted: bool, step: int) -> None:
        if interrupted:
            self.writer.wait()
            total = self.recipe.epochs * self.batches.steps_per_epoch
            raise InterruptedRunError(f"stopped after step {step} of {total} and saved; resume with `resume=True`")


@contextmanager
def old_objects_kept() -> Iterator[None]:
    """Leave what is there out of garbage collection, which would look through all of torch every few steps.

    That takes a tenth of a small network's time.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _threads(machine: dict[str, int]) -> str:
    return f"{machine['processes']} x {machine['threads']} threads"


def _seed_of(seed: int, step: int) -> int:
    """A seed for what a step draws."""
    return int(np.random.SeedSequence([seed, DROPOUT, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
