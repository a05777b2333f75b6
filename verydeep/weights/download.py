"""A published file on the network -> the same file on disk, whole and checked, or a sentence that says why not.

What has arrived is kept beside it as `NAME.part`, and the next attempt goes on from there. Proxies are those of
HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from verydeep import remote
from verydeep.errors import VerydeepError
from verydeep.files import check_out
from verydeep.lock import is_at, wait_for_lock
from verydeep.remote import BrokenError
from verydeep.weights.published import Checksum

Watch = Callable[[int, int | None], object]
"""Is told the bytes that are there, and how many there will be where the server says it."""

COMPLETE = http.client.REQUESTED_RANGE_NOT_SATISFIABLE  # there is nothing after the bytes that we have


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server that sends us elsewhere, but never from https to a connection that anybody can change."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not remote.may_redirect(req.full_url, newurl):
            fp.close()
            raise VerydeepError(f"{req.full_url} redirects to {newurl}, which is less secure; nothing was fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, path: Path, expected: Checksum, watch: Watch | None = None) -> Path:
    """Make sure that a published file is on this machine; it is fetched where it is not.

    Of processes that want the same file one fetches it, and the others wait.

    Args:
        url: where it was published.
        path: where it is to appear.
        expected: checksum of the published file.
        watch: is told how far the transfer has come.

    Returns:
        `path`.

    Raises:
        VerydeepError: the server cannot be reached or has no such file, the transfer broke off, or what came is
            not the published file.

    """
    check_out(path)
    aside = path.with_name(f"{path.name}.part")
    while not path.is_file():
        with aside.open("ab") as part:
            wait_for_lock(part.fileno(), path)  # while another process writes to it; closing unlocks it
            if not is_at(part.fileno(), aside):
                continue  # another process fetched it, or gave up, while this one waited
            try:
                _fetch_into(part, aside, url, expected, watch or (lambda present, total: None))
                os.fsync(part.fileno())
                aside.replace(path)
            finally:
                if _size(part) == 0 and is_at(part.fileno(), aside):
                    aside.unlink()
    return path


def _fetch_into(part: IO[bytes], aside: Path, url: str, expected: Checksum, watch: Watch) -> None:
    """Go on until the file is complete. If what arrived in several transfers does not fit, begin again once."""
    began_anew = False
    while True:
        in_one = _size(part) == 0
        in_one &= _transfer_all(part, aside, url, expected, watch) == 1
        if expected.fits(aside):
            return
        digest = expected.of(aside)
        part.truncate(0)
        if in_one or began_anew:
            raise VerydeepError(
                f"{url} gave another file than the published one: its {expected.algorithm} is {digest}, which "
                f"does not begin with {expected.prefix}; it was deleted; a proxy or a mirror may have changed it"
            )
        began_anew = True


def _transfer_all(part: IO[bytes], aside: Path, url: str, expected: Checksum, watch: Watch) -> int:
    """Transfer until the server says that this is all; gives the number of transfers."""
    count = 0

    def transfer() -> None:
        nonlocal count
        count += 1
        _transfer(part, url, watch)

    try:
        remote.persist(transfer, lambda: _size(part))
    except BrokenError as error:
        present = _size(part)
        if present and expected.fits(aside):  # all is there; the server lied about the length
            return count
        end = f"stopped at {present / 1e6:.1f} MB: {error}; another attempt resumes from there"
        if not present:
            end = f"cannot be fetched: {error}; check the network connection, or the proxy in HTTPS_PROXY"
        raise VerydeepError(f"{url} {end}") from None
    return count


def _transfer(part: IO[bytes], url: str, watch: Watch) -> None:
    """Append what is missing, as far as it comes.

    Raises:
        BrokenError: it ended before the file did.
        VerydeepError: the server does not have the file, or does not give it.

    """
    present = _size(part)
    response = _ask(url, present)
    if response is None:
        return
    with response:
        if response.status != http.client.PARTIAL_CONTENT:  # it gives the whole file
            part.truncate(0)
            present = 0
        elif not str(response.headers.get("Content-Range")).startswith(f"bytes {present}-"):
            part.truncate(0)
            raise BrokenError("the server sent a wrong part of the file")
        length = str(response.headers.get("Content-Length"))
        total = present + int(length) if length.isdecimal() else None
        _check_size(part, total or 0, url)
        watch(present, total)
        pace = remote.Pace()
        while block := _read(response):
            pace.count(len(block))
            part.write(block)
            present += len(block)
            _check_size(part, present, url)
            watch(present, total)
        part.flush()
        if total is not None and present < total:
            raise BrokenError("the connection was closed")


def _check_size(part: IO[bytes], num_bytes: int, url: str) -> None:
    """Refuse a file of more bytes than weights have, and delete what has come of it."""
    if num_bytes > remote.MOST_WEIGHTS_BYTES:
        part.truncate(0)
        raise VerydeepError(f"{url} has more than {remote.MOST_WEIGHTS_BYTES:,} bytes; it was deleted")


def _ask(url: str, present: int) -> Any:
    """Ask for a file from byte `present` on; None if there is nothing after it."""
    request = urllib.request.Request(url, headers={"User-Agent": "verydeep"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    try:
        opener = urllib.request.build_opener(_Redirects)
        return remote.in_time(partial(opener.open, request, timeout=remote.SECONDS), remote.Pace())
    except urllib.error.HTTPError as error:
        error.close()
        if present and error.code == COMPLETE:
            return None
        reason = f"the server answered {error.code} {error.reason}"
        if error.code in remote.MAY_PASS:
            raise BrokenError(reason) from None
        raise VerydeepError(f"{url} cannot be fetched: {reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenError(_reason(error)) from None


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read1(remote.BLOCK))
    except (OSError, http.client.HTTPException) as error:
        raise BrokenError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _size(part: IO[bytes]) -> int:
    part.flush()
    return os.fstat(part.fileno()).st_size
