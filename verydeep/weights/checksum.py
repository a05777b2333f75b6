"""Digests of files, and the beginnings of digests that libraries publish."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Checksum:
    """What the digest of a published file begins with.

    Attributes:
        algorithm: `sha256` or `md5`.
        prefix: hexadecimal digits, as many as were published.

    """

    algorithm: str
    prefix: str

    def of(self, path: Path) -> str:
        """The digest of a file, by this algorithm."""
        return digest(path, self.algorithm)

    def fits(self, path: Path) -> bool:
        """Whether the file is the one that it is the checksum of."""
        return self.of(path).startswith(self.prefix)
