"""The package's version, and others'."""

from __future__ import annotations

__version__ = "0.1.0"


def installed_version(name: str) -> str | None:
    """The version of a package that is installed; None where it is not."""
    from importlib.metadata import PackageNotFoundError, version  # not above: it takes as long as the rest

    try:
        return version(name)
    except PackageNotFoundError:
        return None
