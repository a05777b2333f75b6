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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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
from verydeep.images.color import Preprocessing
from verydeep.notes import say
from verydeep.run_folder import CONFIG, WEIGHTS
from verydeep.weights.download import Watch, fetch
from verydeep.weights.hub import Repository, from_hub
from verydeep.weights.metadata import UNKNOWN, Metadata
from verydeep.weights.published import PUBLISHED, Checksum, Published, published_with

TORCHVISION = [f"vgg{layers}{norm}" for layers in (11, 13, 16, 19) for norm in ("", "_bn")]
"""Its networks, for what may be meant by another word."""
DEFAULT = "IMAGENET1K_V1"
"""What it calls the default weights of each of them."""


class Remote(NamedTuple):
    """A published file: where it comes from, where its library keeps it here, and what is known of it."""

    url: str
    path: Path
    checksum: Checksum
    metadata: Metadata


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
        return _fetched(name, remote), remote.metadata
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
    known = [*bundled, *(f"torchvision:{network}" for network in TORCHVISION), *_keras_files()]
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
    return Repository(match["repository"], match["revision"], match["file"])


# `Path` makes one slash of two.
_REPOSITORY = re.compile(
    r"(?P<scheme>hf:/{0,2})?(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<rest>(@(?P<revision>[\w.-]+))?(/(?P<file>[^@]+))?)"
)


def _torchvision(name: str) -> Remote:
    """Look into torchvision's enumeration; the file is where torch.hub keeps it.

    Without torchvision, look into our table of what it publishes.
    """
    published = _torchvision_files().get(name)
    if published and find_spec("torchvision") is None:
        path = _torch_hub() / "checkpoints" / published.url.rpartition("/")[2]
        return Remote(published.url, path, published.checksum, published.metadata)
    require("torchvision", "torchvision", f"torchvision:{name}")
    import torch.hub
    from torchvision.models import get_model_weights, list_models

    network, dash, choice = name.partition("-")
    networks = [network for network in list_models() if network.startswith("vgg")]
    if network not in networks:
        near = did_you_mean(network, networks)
        raise UsageError(f"torchvision has no VGG called {network!r}; it has {', '.join(networks)}{near}")
    weights: Any = get_model_weights(network)
    if dash and choice not in weights.__members__:
        names, near = ", ".join(weights.__members__), did_you_mean(choice, weights.__members__)
        raise UsageError(f"torchvision has no weights of {network} called {choice!r}; it has {names}{near}")
    chosen = weights[choice if dash else "DEFAULT"]
    file = Path(urlsplit(chosen.url).path).name
    digits = re.search(r"-([0-9a-f]{8,})\.", file)
    if digits is None:
        raise VerydeepError(f"torchvision publishes {file} without a checksum in its name; it is not fetched")
    checksum = Checksum("sha256", digits[1])
    published = published_with(checksum)
    known = Metadata(origin=f"torchvision's {chosen}") if published is None else published.metadata
    view = chosen.transforms()
    of_library = Metadata(
        Preprocessing(_levels(view.mean), _levels(view.std)), tuple(chosen.meta["categories"] or ()) or None
    )
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    return Remote(chosen.url, path, checksum, known.completed_by(of_library))


def _torchvision_files() -> dict[str, Published]:
    """Files that are in our table, by the names of their weights; defaults by those of their networks too."""
    files = {one.name.partition(":")[2]: one for one in PUBLISHED if one.name.startswith("torchvision:")}
    return files | {name.removesuffix(f"-{DEFAULT}"): one for name, one in files.items() if name.endswith(DEFAULT)}


def _torch_hub() -> Path:
    """Where torch.hub keeps files, told without torch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(os.environ.get("TORCH_HOME") or cache).expanduser() / "hub"


def _levels(shares: list[float]) -> tuple[float, float, float]:
    """Turn shares of 1, as torchvision has them, into levels of 0 to 255."""
    red, green, blue = (round(255 * share, 5) for share in shares)
    return red, green, blue


def _keras(name: str) -> Remote:
    """Look into the table; the file is where Keras keeps it."""
    files = _keras_files()
    network, dash, rest = name.partition("-")
    published = files.get(f"keras:{network.upper()}{dash}{rest}")
    if published is None:
        near = did_you_mean(f"keras:{name.upper()}", files)
        raise UsageError(f"Keras publishes no VGG called {name!r}; there are {', '.join(files)}{near}")
    require("h5py", "weights", f"keras:{name}")  # before half a gigabyte is fetched that nothing here reads
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    path = home / "models" / published.url.rpartition("/")[2]
    return Remote(published.url, path, published.checksum, published.metadata)


def _keras_files() -> dict[str, Published]:
    return {published.name: published for published in PUBLISHED if published.name.startswith("keras:")}


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
        return fetch(remote.url, remote.path, remote.checksum, watch)


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
