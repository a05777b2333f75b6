"""The models of a server, by name: each a model on disk, or several as an ensemble."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from verydeep.errors import UsageError, did_you_mean
from verydeep.evaluation.evaluate import Member, Scoring, check_together, scoring_of
from verydeep.evaluation.protocols import PROTOCOLS, Protocol, protocols_of
from verydeep.inference import Engine
from verydeep.model import Model, TransferModel, load
from verydeep.weights.by_name import as_repository

ENSEMBLE = "ensemble"
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.ASCII)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """What answers under a name.

    Attributes:
        name: in addresses.
        models: one, or the members of an ensemble.

    """

    name: str
    models: tuple[Model, ...]

    def __post_init__(self) -> None:
        if len(self.models) > 1:
            check_together([Member(one.engine, (one.protocol,), one.name) for one in self.models])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the posteriors."""
        return self.models[0].class_names

    @property
    def engine(self) -> Engine:
        """That gives maps and layers: of an ensemble the first one's."""
        return self.models[0].engine

    @cached_property
    def window(self) -> int:
        """The smallest scale."""
        return max(one.config.architecture.window for one in self.models)

    @property
    def scales(self) -> tuple[int, ...]:
        """Q, unless a request says otherwise."""
        return self.models[0].protocol.scales

    @property
    def has_views(self) -> bool:
        """Whether a request may choose scales and views: a classifier on features has its own."""
        return not isinstance(self.models[0], TransferModel)

    @property
    def has_map(self) -> bool:
        """Whether there are score maps: networks with one size of window have."""
        return self.has_views and len({one.config.architecture.window for one in self.models}) == 1

    @property
    def takes_tensors(self) -> bool:
        """Whether it takes images that are preprocessed already: a single network on the native engine does."""
        return len(self.models) == 1 and self.has_views and self.engine.name == "native"

    def tests(self, views: str | None, scales: tuple[int, ...]) -> list[tuple[Protocol, ...]]:
        """The tests of each member.

        Args:
            views: a name of `PROTOCOLS`; None for dense.
            scales: Q; none for the members' own.

        Raises:
            UsageError: they are not to be chosen, or a scale is too small.

        """
        if not self.has_views and (views or scales):
            raise UsageError(
                f"`{'views' if views else 'scales'}` is of networks; {self.name} is a classifier of "
                "`verydeep transfer`, which has views of its own: leave it out"
            )
        return [
            protocols_of(views or "dense", scales or one.protocol.scales, one.protocol.mirror)
            for one in self.models
        ]

    def scoring(self, tests: Sequence[tuple[Protocol, ...]]) -> Scoring:
        """How images become posteriors by the tests of each member."""
        if not self.has_views:
            return self.models[0].scoring()
        return scoring_of(
            [Member(one.engine, test, one.name) for one, test in zip(self.models, tests, strict=True)]
        )

    def layers(self) -> list[str]:
        """Names of the layers whose outputs the engine has."""
        return [node.name for node in self.engine.nodes]

    def facts(self) -> dict[str, Any]:
        """What a client has to know to ask it."""
        return {
            "name": self.name,
            "classes": list(self.class_names),
            "window": self.window,
            "scales": list(self.scales),
            "views": list(PROTOCOLS) if self.has_views else [],
            "has_map": self.has_map,
            "layers": self.layers(),
            "members": [one.name for one in self.models] if len(self.models) > 1 else [],
            "configuration": self.models[0].config.architecture.configuration,
            "engine": self.engine.name,
        }


class ServedModels(dict[str, ServedModel]):
    """All models of a server by name; the first is the default."""

    @property
    def default(self) -> ServedModel:
        """What answers where no name is given."""
        return next(iter(self.values()))

    def named(self, name: str | None) -> ServedModel:
        """The model of a name; None for the default.

        Raises:
            KeyError: there is none; its argument is a sentence.

        """
        if name is None:
            return self.default
        if name not in self:
            raise KeyError(f"no model is called {name!r}; there are {', '.join(self)}{did_you_mean(name, self)}")
        return self[name]


def open_models(
    models: str | PathLike[str] | Model | Iterable[str | PathLike[str] | Model],
    *,
    ensemble: bool = False,
    network: bool = False,
    **options: Any,
) -> ServedModels:
    """Open models for a server.

    Args:
        models: one or several, each as `verydeep.load` takes it, or opened by it; `NAME=MODEL` gives it a name.
        ensemble: whether all together answer too, under the name `ensemble`, as the default.
        network: as for `verydeep.load`.
        options: likewise.

    Raises:
        UsageError: there is none, two have one name, or they cannot be combined.
        ModelError: one cannot be opened.

    """
    words = [models] if isinstance(models, (str, PathLike, Model)) else list(models)
    if not words:
        raise UsageError("no model is given; `cifar10` and `tiny-imagenet` are bundled")
    named = [_named(word) for word in words]
    names = [name for name, _ in named]
    taken = {*names, *([ENSEMBLE] if ensemble else [])}
    if len(taken) < len(names) + ensemble:
        raise UsageError(
            f"two models have one name: {', '.join(names)}; give them names, such as first=runs/a second=runs/b"
        )
    if ensemble and len(words) < 2:
        raise UsageError("`ensemble` is the mean of several models, and one is given; give more, or leave it out")
    opened = [model if isinstance(model, Model) else load(model, network=network, **options) for _, model in named]
    served = {name: ServedModel(name, (model,)) for name, model in zip(names, opened, strict=True)}
    if ensemble:
        if any(isinstance(one, TransferModel) for one in opened):
            raise UsageError(
                "`ensemble` averages networks, and one of the models is a classifier of `verydeep transfer`; add "
                "`network` to leave it out"
            )
        served = {ENSEMBLE: ServedModel(ENSEMBLE, tuple(opened)), **served}
    return ServedModels(served)


def _named(word: str | PathLike[str] | Model) -> tuple[str, str | Model]:
    """The name of a model in addresses, and the model."""
    if isinstance(word, Model):
        return _short(word.name or "model"), word
    text = fspath(word)
    given = _NAMED.fullmatch(text)
    if given and not Path(text).exists():
        return given[1], given[2]
    return _short(text), text


def _short(text: str) -> str:
    """The last part of a path or of a name, in letters that an address has."""
    text = text.split("@")[0] if as_repository(text) else text  # without the revision
    last = re.split(r"[/\\:]", text.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip(".-") or "model"
