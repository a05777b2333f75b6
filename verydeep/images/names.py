"""When two names are the same: of a class in the data and in a model, of an image in a folder and in a list.

Systems write é as one letter (Unicode's NFC, as Linux and Windows mostly do) or as an e and an accent (NFD, as
macOS does), and a copy may change from one to the other. Names are kept as they were found, and compared by NFC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from verydeep.errors import DataError


def nfc(name: str) -> str:
    """The form by which names are compared."""
    return unicodedata.normalize("NFC", name)


def numbers_of(wanted: Sequence[str], names: Sequence[str], where: str) -> list[int | None]:
    """Where the wanted names are among the names; None for one that is not there.

    Args:
        wanted: names.
        names: of classes.
        where: the names are from, for the message.

    Raises:
        DataError: a wanted name is there twice.

    """
    keys = [nfc(name) for name in names]
    place_of = {key: place for place, key in enumerate(keys)}
    if len(place_of) < len(keys):
        for name in wanted:
            if keys.count(nfc(name)) > 1:
                raise DataError(f"{where} has two classes called {name!r}; rename one of them")
    return [place_of.get(nfc(name)) for name in wanted]


def case_hint(unknown: Sequence[str], names: Sequence[str]) -> str:
    """End a sentence about unknown names by one that differs in upper and lower case alone; or with nothing."""
    by_case = {nfc(name).casefold(): name for name in names}
    for name in unknown:
        other = by_case.get(nfc(name).casefold())
        if other is not None:
            return f"; {name!r} and {other!r} differ in upper and lower case alone: rename one of them"
    return ""
