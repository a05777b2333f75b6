"""What becomes of one case."""

from __future__ import annotations

from typing import NamedTuple

AGREE, REFUSED, DIFFER = "agree", "refused", "differ"


class Outcome(NamedTuple):
    """`agree`, `refused` with a sentence, or `differ`, which is a mistake."""

    kind: str
    words: str = ""


def differ(words: str) -> Outcome:
    """Two readings differ, and nothing was said."""
    return Outcome(DIFFER, words)
