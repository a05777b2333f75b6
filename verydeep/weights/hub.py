"""A repository of the Hub -> its model on this machine, through huggingface_hub and in its cache.

HF_HOME and HF_HUB_CACHE say where the cache is, HF_ENDPOINT names a mirror, HF_TOKEN opens what is private.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verydeep import remote
from verydeep.errors import VerydeepError, require
from verydeep.files import digest_of
from verydeep.notes import say
from verydeep.run_folder import CONFIG
from verydeep.weights.formats import FORMATS, MODEL_FILES


@dataclass(frozen=True)
class Repository:
    """What of the Hub is wanted.

    Attributes:
        name: `owner/name`.
        revision: a branch, a tag or a commit; None for the newest.
        file: a file in it; None for its model.

    """

    name: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.name}{revision}" + (f"/{self.file}" if self.file else "")


def from_hub(repository: Repository, *, offline: bool = False) -> Path:
    """Find a repository's model in the cache, and fetch what is not there.

    Args:
        repository: what is wanted.
        offline: fetch nothing.

    Returns:
        The file that was asked for, or the model's weights, with its config.json beside them if it has one.

    Raises:
        VerydeepError: huggingface_hub is not installed, the Hub has no such model, it cannot be reached, or what
            came is not what was published.

    """
    require("huggingface_hub", "hub", str(repository))
    if repository.file:
        for form in FORMATS.values():
            if form.requires and Path(repository.file).suffix in form.endings:  # before it is fetched
                require(*form.requires, str(repository))
    config = None if repository.file else _file(repository, repository.revision, CONFIG, offline)
    # The commit that the configuration is of, so that the weights are of the same.
    revision = config.parent.name if config else repository.revision
    names = (repository.file,) if repository.file else MODEL_FILES
    for name in names:
        if path := _file(repository, revision, name, offline):
            return path
    if offline:
        raise VerydeepError(
            f"{repository} is not in the cache, and downloads are off (by option or HF_HUB_OFFLINE)"
        )
    raise VerydeepError(f"{repository} has no {' and no '.join(names)}; name one of its files: hf:OWNER/NAME/FILE")


def _file(repository: Repository, revision: str | None, name: str, offline: bool) -> Path | None:
    """Find one file, or None if the repository has none of this name."""
    from huggingface_hub import errors, try_to_load_from_cache

    known = try_to_load_from_cache(repository.name, name, revision=revision)
    if offline:
        return Path(known) if isinstance(known, str) else None
    if known is None:
        say(f"asking the Hub for {name} of {repository.name}")
    try:
        with _quiet():
            path = _fetched(repository, name, revision)
    except errors.LocalEntryNotFoundError as error:
        raise VerydeepError(
            f"{repository} is not a local path and not in the cache, and the Hub cannot be reached: "
            f"{_reason(error)}"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError:
        raise VerydeepError(
            f"{repository} requires that you accept its terms on its page; do so, then set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise VerydeepError(
            f"{repository} is not a local path, and the Hub has no such repository that you can read; for a "
            "private one, set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise VerydeepError(f"{repository.name} has no revision {repository.revision!r} on the Hub") from None
    except VerydeepError:
        raise
    except Exception as error:  # of huggingface_hub, or of the library it speaks to the network by
        raise VerydeepError(
            f"{repository}: {name} cannot be fetched: {_reason(error)}; check the network, and try again"
        ) from None
    if not isinstance(known, str):
        _verify(path, repository)
    return path


def _fetched(repository: Repository, name: str, revision: str | None) -> Path:
    """Fetch one file, unless it is too large or makes no progress.

    huggingface_hub cannot be stopped: where it makes none, its thread ends with this process.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    most = remote.MOST_CONFIG_BYTES if name.endswith(".json") else remote.MOST_WEIGHTS_BYTES

    def check(num_bytes: int) -> int:
        if num_bytes > most:
            raise VerydeepError(f"{repository}: {name} has more than {most:,} bytes; it is not fetched")
        return num_bytes

    blobs = Path(constants.HF_HUB_CACHE) / f"models--{repository.name.replace('/', '--')}" / "blobs"

    def present() -> int:
        return check(sum(path.stat().st_size for path in blobs.glob("*.incomplete")))

    def fetch() -> Path:
        url = hf_hub_url(repository.name, name, revision=revision)
        check(get_hf_file_metadata(url).size or 0)
        return Path(hf_hub_download(repository.name, name, revision=revision, library_name="verydeep"))

    path = remote.in_time(fetch, remote.Pace(remote.HUB_SECONDS), present)
    check(path.stat().st_size)
    return path


def _verify(path: Path, repository: Repository) -> None:
    """Compare a large file with the SHA-256 that the Hub tells, which the cache names it by."""
    blob = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", blob.name):
        return
    found = digest_of(blob)
    if found != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise VerydeepError(
            f"{repository}: {path.name} is not the file that was published: its sha256 begins with {found[:8]}, "
            f"not with {blob.name[:8]}; it was deleted; a proxy or a mirror may have changed it"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep huggingface_hub's log to itself: what went wrong in the end is told in one sentence."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of what an error began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
