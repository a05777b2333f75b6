"""Names of published weights -> a file here, fetched once, into the cache of the library that it comes from.

    torchvision:vgg16_bn                     torchvision's default weights of a network
    torchvision:vgg16-IMAGENET1K_FEATURES    others of its enumeration
    keras:VGG16, keras:VGG19-notop           the files that Keras publishes
    timm/vgg16.tv_in1k, hf:owner/name        a repository of the Hub; hf:owner/name@revision, hf:owner/name/file

A path of this machine is never a name. Nothing is fetched where HF_HUB_OFFLINE is set.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from verydeep.configurations import ALL_CONFIGURATIONS, name_elsewhere
from verydeep.errors import (
    ModelError,
    UsageError,
    VerydeepError,
    command_line,
    did_you_mean,
    near_path,
    require,
)
from verydeep.notes import say
from verydeep.run_folder import CONFIG, WEIGHTS
from verydeep.weights.download import Watch, fetch
from verydeep.weights.hub import Repository, from_hub
from verydeep.weights.metadata import UNKNOWN, Metadata
from verydeep.weights.published import PUBLISHED, Published

DEFAULT = "IMAGENET1K_V1"
"""What torchvision calls the default weights of each network."""


class Remote(NamedTuple):
    """A published file, and where its library keeps it here."""

    published: Published
    path: Path


def find(name: str, bundled: Iterable[str] = ()) -> tuple[Path, Metadata]:
    """Find weights by their name, and fetch them if they are not here yet.

    Args:
        name: as this module's docstring has them; it is no path.
        bundled: names of models that come with the package, one of which may be meant.

    Returns:
        The file here, and what is known about it because of its name.

    Raises:
        UsageError: the library that it names has no such weights.
        ModelError: it is no name of this form, so rather a path that is not there.
        VerydeepError: the weights cannot be fetched, or what fetches them is not installed.

    """
    library, _, rest = name.partition(":")
    if library in _LIBRARIES:
        remote = _LIBRARIES[library](rest)
        return _fetched(name, remote), remote.published.metadata
    if repository := as_repository(name):
        return from_hub(repository, offline=is_offline()), UNKNOWN
    raise ModelError(_unknown(name, bundled))


def _unknown(name: str, bundled: Iterable[str]) -> str:
    """What to say of a word that means no weights."""
    if name in ALL_CONFIGURATIONS:
        return (
            f"{name} is a configuration, and has no weights; give a model, such as cifar10 or torchvision:vgg16, "
            f"or make an untrained one with {command_line('new', name, 'RUN')}"
        )
    if ":/" in name:
        return f"{name} is a URL; download the file of weights, and give its path"
    elsewhere = name_elsewhere(name)
    defaults = (one.removesuffix(f"-{DEFAULT}") for one in _published("torchvision") if one.endswith(DEFAULT))
    known = [*bundled, *defaults, *_published("keras")]
    near = (
        f"; did you mean torchvision:{elsewhere}?" if elsewhere else did_you_mean(name, known) or near_path(name)
    )
    on_hub = f"hf:{name} for a model of the Hub" if _REPOSITORY.fullmatch(name) else "hf:OWNER/NAME"
    wanted = (
        f"give a run folder with {CONFIG} and {WEIGHTS}, as `verydeep train` and `verydeep new` make, a file of "
        f"weights, or a name such as cifar10, torchvision:vgg16 or {on_hub}"
    )
    return f"{name} does not exist{near} Otherwise {wanted}" if near else f"{name} does not exist; {wanted}"


def is_offline() -> bool:
    """Whether nothing may be fetched: HF_HUB_OFFLINE says so, in the words that huggingface_hub takes for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def as_repository(name: str) -> Repository | None:
    """Read a name as a repository of the Hub: one of timm's, or behind `hf:`.

    Another word is a path, as of a run that is not there: anybody may have registered it on the Hub.
    """
    match = _REPOSITORY.fullmatch(name)
    if match is None or not (match["scheme"] or (name.startswith("timm/") and not match["rest"])):
        return None
    revision = match["revision"] and unquote(match["revision"])
    return Repository(match["repository"], revision, match["file"])


# `Path` makes one slash of two. A revision has a slash in the Hub's own refs, and else as %2F, as in its URLs.
_REPOSITORY = re.compile(
    r"(?P<scheme>hf:/{0,2})?(?P<repository>\w[\w.-]*/\w[\w.-]*)"
    r"(?P<rest>(@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.%-]+))?(/(?P<file>[^@]+))?)"
)


def _torchvision(name: str) -> Remote:
    """Look into the table; the file is where torch.hub keeps it."""
    files = _published("torchvision")
    network, dash, choice = name.partition("-")
    networks = list(dict.fromkeys(one.partition(":")[2].partition("-")[0] for one in files))
    if network not in networks:
        near = did_you_mean(network, networks)
        raise UsageError(f"torchvision has no VGG called {network!r}; it has {', '.join(networks)}{near}")
    chosen = choice if dash and choice != "DEFAULT" else DEFAULT
    published = files.get(f"torchvision:{network}-{chosen}")
    if published is None:
        choices = [one.partition("-")[2] for one in files if one.startswith(f"torchvision:{network}-")]
        near = did_you_mean(choice, choices)
        raise UsageError(
            f"torchvision has no weights of {network} called {choice!r}; it has {', '.join(choices)}{near}"
        )
    return Remote(published, _torch_hub() / "checkpoints" / published.file)


def _torch_hub() -> Path:
    """Where torch.hub keeps files, told without torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(os.environ.get("TORCH_HOME") or cache).expanduser() / "hub"


def _keras(name: str) -> Remote:
    """Look into the table; the file is where Keras keeps it."""
    files = _published("keras")
    network, dash, rest = name.partition("-")
    published = files.get(f"keras:{network.upper()}{dash}{rest}")
    if published is None:
        near = did_you_mean(f"keras:{name.upper()}", files)
        raise UsageError(f"Keras publishes no VGG called {name!r}; there are {', '.join(files)}{near}")
    require("h5py", "weights", f"keras:{name}")  # before half a gigabyte is fetched that nothing here reads
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return Remote(published, home / "models" / published.file)


def _published(library: str) -> dict[str, Published]:
    """What a library publishes, by name."""
    return {one.name: one for one in PUBLISHED if one.name.startswith(f"{library}:")}


_LIBRARIES: dict[str, Callable[[str], Remote]] = {"torchvision": _torchvision, "keras": _keras}


def _fetched(name: str, remote: Remote) -> Path:
    if remote.path.is_file():
        return remote.path
    if is_offline():
        raise VerydeepError(
            f"{name} is not on this machine, and downloads are off (by option or HF_HUB_OFFLINE); put "
            f"{remote.path.name} into {remote.path.parent}"
        )
    with _bar(remote.path.name) as watch:
        return fetch(remote.published.url, remote.path, remote.published.checksum, watch)


@contextmanager
def _bar(name: str) -> Iterator[Watch]:
    """Show how far a transfer has come, on a terminal; elsewhere only what is fetched."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    if not sys.stderr.isatty():
        say(f"fetching {name}")
        yield lambda present, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeLeftColumn(compact=True), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda present, total: bar.update(task, completed=present, total=total)
