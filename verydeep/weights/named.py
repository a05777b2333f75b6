"""A model's name -> its file on this machine, fetched once, into the cache of the library that it comes from.

    torchvision:vgg16_bn                    torchvision's default weights of a network
    torchvision:vgg16-IMAGENET1K_FEATURES   others of its enumeration
    keras:vgg16, keras:vgg19-notop          the files that Keras publishes: the paper's own nets D and E
    timm/vgg16.tv_in1k, hf:owner/name       a repository of the Hub, or hf:owner/name@revision, or .../file

A word that is a path of this machine always means the path. Nothing is fetched for any other word than these, and
nothing at all offline: by `--offline`, or where HF_HUB_OFFLINE is set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from verydeep.errors import UsageError, VerydeepError, require
from verydeep.weights.download import Checksum, Watch, fetch
from verydeep.weights.hub import Repository, from_hub

Progress = Callable[[str], AbstractContextManager[Watch]]
"""Shows how far the transfer of a file has come, whose name it is given."""


class KerasFile(NamedTuple):
    """A file of weights as Keras publishes it: its name, and its MD5."""

    name: str
    md5: str


KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
KERAS_FILES = {
    "vgg16": KerasFile("vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"),
    "vgg16-notop": KerasFile(
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"
    ),
    "vgg19": KerasFile("vgg19_weights_tf_dim_ordering_tf_kernels.h5", "cbe5617147190e668d6c5d5026f83318"),
    "vgg19-notop": KerasFile(
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "253f8cb515780f3b799900260a226db6"
    ),
}
"""As in Keras's own `applications/vgg16.py` and `vgg19.py`."""

_REPOSITORY = re.compile(
    r"(?P<scheme>hf:/{0,2})?(?P<name>[\w][\w.-]*/[\w][\w.-]*)(@(?P<revision>[\w.-]+))?(/(?P<file>[^@]+))?"
)


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes, and where its library keeps it on this machine."""

    url: str
    path: Path
    checksum: Checksum


def locate(word: str | os.PathLike[str], *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Find the file or folder that a MODEL argument means; what has a name is fetched if it is not there yet.

    Args:
        word: a path, or a name as this module's docstring has them.
        offline: fetch nothing; what was fetched before is found.
        progress: shows a person how far a transfer has come.

    Returns:
        The path itself where the word is no name, whether there is such a file or not.

    Raises:
        UsageError: no weights have this name.
        VerydeepError: they cannot be fetched, or a library for it is not installed.

    """
    text = os.fspath(word)
    path = Path(text)
    if path.exists():
        return path
    offline = offline or _is_set("HF_HUB_OFFLINE")
    library, colon, name = text.partition(":")
    if colon and library in _LIBRARIES:
        published = _LIBRARIES[library](name)
        if published.path.is_file():
            return published.path
        if offline:
            raise VerydeepError(
                f"{text} is not on this machine ({published.path}), and nothing is fetched offline; "
                "leave --offline and HF_HUB_OFFLINE out, or put the file there"
            )
        with (progress or _nobody_watches)(published.path.name) as watch:
            return fetch(published.url, published.path, published.checksum, watch)
    repository = as_repository(text)
    return from_hub(repository, offline=offline) if repository else path


def is_name(word: str | os.PathLike[str]) -> bool:
    """Whether a word is no path of this machine, but the name of published weights."""
    text = os.fspath(word)
    library, colon, _ = text.partition(":")
    return not Path(text).exists() and (bool(colon and library in _LIBRARIES) or as_repository(text) is not None)


def as_repository(word: str) -> Repository | None:
    """Read a word as a repository of the Hub; None if it is rather a path.

    Without `hf:` it is a path if its folder is there, as of a run whose name was mistyped, or if it has the
    ending of a file.
    """
    match = _REPOSITORY.fullmatch(word)
    if match is None:
        return None
    if not match["scheme"]:
        looks_like_a_file = Path(word).suffix in _FILE_ENDINGS
        if match["file"] or match["revision"] or looks_like_a_file or Path(word).parent.exists():
            return None
    return Repository(match["name"], match["revision"], match["file"])


def _torchvision(name: str) -> Published:
    """Find weights in torchvision's enumeration, and the file where torch.hub keeps it."""
    require("torchvision", "torchvision", f"torchvision:{name}")
    import torch.hub
    from torchvision.models import get_model_weights, list_models

    network, dash, choice = name.partition("-")
    networks = [network for network in list_models() if network.startswith("vgg")]
    if network not in networks:
        raise UsageError(f"torchvision has no VGG called {network!r}; it has {', '.join(networks)}")
    weights = get_model_weights(network)
    if dash and choice not in weights.__members__:
        raise UsageError(
            f"torchvision has no weights {choice!r} of {network}; it has {', '.join(weights.__members__)}"
        )
    url: str = weights[choice if dash else "DEFAULT"].value.url
    file = Path(urlsplit(url).path).name
    digits = re.search(r"-([0-9a-f]{8,})\.", file)
    if digits is None:
        raise VerydeepError(f"torchvision's {file} has no checksum in its name; it is not fetched")
    return Published(url, Path(torch.hub.get_dir()) / "checkpoints" / file, Checksum("sha256", digits[1]))


def _keras(name: str) -> Published:
    """Find a file in the table, and where Keras keeps it."""
    if name not in KERAS_FILES:
        raise UsageError(f"Keras publishes no weights called {name!r} here; there are {', '.join(KERAS_FILES)}")
    file = KERAS_FILES[name]
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    url = f"{KERAS_URL}/{name.partition('-')[0]}/{file.name}"
    return Published(url, home / "models" / file.name, Checksum("md5", file.md5))


_LIBRARIES: dict[str, Callable[[str], Published]] = {"torchvision": _torchvision, "keras": _keras}
_FILE_ENDINGS = {".safetensors", ".bin", ".pt", ".pth", ".h5", ".keras", ".caffemodel", ".mat", ".onnx", ".npz"}


def _is_set(variable: str) -> bool:
    """Whether an environment variable says yes, as huggingface_hub reads it."""
    return os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}


def _nobody_watches(name: str) -> AbstractContextManager[Watch]:
    return nullcontext(lambda present, total: None)
