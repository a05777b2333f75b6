"""Values that are made of a network's weights, and made anew when these have changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from verydeep.network.derivatives import has_tangent, is_recorded, is_transformed

Key = TypeVar("Key")
Value = TypeVar("Value")


def can_keep(tensors: Collection[Tensor]) -> bool:
    """Whether what is made of these tensors can be kept for other calls.

    Not where derivatives go to them: what is made is part of the computation then. Nor where torch counts no
    writes to them, as to tensors of inference mode, so that a change would not be seen.
    """
    if is_recorded() or is_transformed():
        return False
    return not any(one.requires_grad or one.is_inference() or has_tangent(one) for one in tensors)


class Derived(Generic[Key, Value]):
    """Keeps a value for each key, with the tensors that it was made of.

    Threads may ask at once: a value is made by one of them. A copy or a pickle of this is empty.

    Args:
        size: of a value, in bytes; None where all are kept.
        most: bytes that are kept; a value beyond them is made for its caller alone.

    """

    def __init__(self, size: Callable[[Value], int] | None = None, most: int = 0) -> None:
        self._size, self._most = size, most
        self._lock = Lock()
        self._kept: dict[Key, tuple[_Snapshot, Value]] = {}

    def get(self, key: Key, tensors: Collection[Tensor], make: Callable[[], Value]) -> Value:
        """Give the value of a key; make it if there is none yet, or if tensors have changed since.

        Args:
            key: of the value.
            tensors: that it is made of, of which `can_keep` holds.
            make: the value; it is called outside inference mode.

        """
        with self._lock:
            if key in self._kept and self._kept[key][0].holds(tensors):
                return self._kept[key][1]
            self._kept.pop(key, None)  # two would take twice the memory
            snapshot = _Snapshot(tensors)
            with torch.inference_mode(False):
                made = make()
            if self._has_room(made):
                self._kept[key] = snapshot, made
            return made

    def _has_room(self, made: Value) -> bool:
        if self._size is None:
            return True
        return self._size(made) + sum(self._size(value) for _, value in self._kept.values()) <= self._most

    def __deepcopy__(self, memo: dict[int, object]) -> Derived[Key, Value]:
        """Copies start empty."""
        return Derived(self._size, self._most)

    def __reduce__(self) -> tuple[Callable[..., Derived[Key, Value]], tuple[object, ...]]:
        """So do pickles."""
        return Derived, (self._size, self._most)


class _Snapshot:
    """Where tensors lie, and how often each was written to.

    Their memory is held, so that nothing else can lie in the same place.
    """

    def __init__(self, tensors: Collection[Tensor]) -> None:
        self._tensors = [(one.detach(), one._version) for one in tensors]
        self.places = frozenset(map(Tensor.data_ptr, tensors))
        self.stepped = False  # whether an optimizer has written to one of them
        with _LOCK:
            _SNAPSHOTS.add(self)

    def holds(self, tensors: Collection[Tensor]) -> bool:
        """Whether these are the same tensors, and nothing was written to them."""
        if self.stepped or len(tensors) != len(self._tensors):
            return False
        return all(
            now.data_ptr() == before.data_ptr() and now._version == version
            for now, (before, version) in zip(tensors, self._tensors, strict=True)
        )


_LOCK = Lock()
_SNAPSHOTS: WeakSet[_Snapshot] = WeakSet()


def _note_step(optimizer: Optimizer, *_: Any) -> None:
    """Note what an optimizer has written to: fused ones write without torch's counting it."""
    if torch.compiler.is_compiling() or not _SNAPSHOTS:
        return
    written = {
        one.data_ptr() for group in optimizer.param_groups for one in group["params"] if one.grad is not None
    }
    with _LOCK:
        for snapshot in _SNAPSHOTS:
            snapshot.stepped |= not snapshot.places.isdisjoint(written)


register_optimizer_step_post_hook(_note_step)
