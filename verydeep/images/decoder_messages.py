"""What Pillow and libtiff say while an image is read: kept for the reason of an unreadable one, off the terminal.

They say it by Python's warnings, by a log, and libtiff by a line on standard error. What is said outside of
`captured`, by another library's use of Pillow, goes where it went.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock, local
from typing import Any, TextIO

from verydeep.errors import printable

MOST_MESSAGES, MOST_LETTERS = 20, 200  # of what is said about an image, those that are kept


class _Thread(local):
    messages: list[str] | None = None


_thread = _Thread()


@contextmanager
def captured() -> Iterator[list[str]]:
    """Gives the list of what this thread's decoders say from now on."""
    before, _thread.messages = _thread.messages, []
    try:
        with _WARNINGS:
            yield _thread.messages
    finally:
        _thread.messages = before


def in_words(messages: list[str]) -> str:
    """Messages in one line, each once."""
    return printable("; ".join(dict.fromkeys(messages)), MOST_LETTERS)


def _take(message: str) -> bool:
    """Keep a message, if this thread reads an image."""
    if _thread.messages is None:
        return False
    if len(_thread.messages) < MOST_MESSAGES:
        _thread.messages.append(message.strip())
    return True


class _Warnings:
    """Warnings of Pillow are taken while any thread reads an image; a context manager.

    `warnings.catch_warnings` changes the filters of all threads, and two that overlap leave them changed: the
    first to enter sets them, the last to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._num_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("always", module=r"PIL\.")
                self._show = warnings.showwarning
                warnings.showwarning = self._showwarning
            self._num_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.__exit__(None, None, None)

    def _showwarning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not _take(str(message)):
            self._show(message, category, filename, lineno, file, line)


class _Log(logging.Handler):
    """Takes Pillow's log, which without any handler would go to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _take(record.getMessage()) and not logging.getLogger().handlers and logging.lastResort:
            logging.lastResort.handle(record)


def _take_libtiffs() -> Any:
    """Take what libtiff would write to standard error; gives what has to live as long as this process."""
    try:
        pillows, system = ctypes.CDLL(import_module("PIL._imaging").__file__), ctypes.CDLL(None)
        set_handler, format_into = pillows.TIFFSetErrorHandler, system.vsnprintf
    except (AttributeError, ImportError, OSError, TypeError):
        return None  # linked in another way: its lines stay on standard error
    handler_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
    format_into.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
    set_handler.argtypes, set_handler.restype = [handler_type], ctypes.c_void_p

    def handle(module: bytes | None, form: bytes, values: int) -> None:
        if _thread.messages is None:
            if usual:
                usual(module, form, values)
            return
        text = ctypes.create_string_buffer(1000)
        format_into(text, len(text), form, values)
        _take(b": ".join(filter(None, [module, text.value])).decode(errors="replace"))

    handler = handler_type(handle)
    before = set_handler(handler)
    usual = handler_type(before) if before else None
    return handler


_WARNINGS = _Warnings()
_LIBTIFFS = _take_libtiffs()
logging.getLogger("PIL").addHandler(_Log(logging.WARNING))
