"""Templates -> HTML pages that need nothing else."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

from verydeep.errors import UsageError, as_text, require
from verydeep.files import check_out


def check_page(page: str | PathLike[str] | None) -> Path | None:
    """Make sure that a page can be written there.

    Raises:
        UsageError: it does not end with .html, or no file can be there.
        DiskError: its folder cannot be made or written to.

    """
    if not page:
        return None
    if Path(page).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"`page` {fspath(page)} has to end with .html")
    check_out(Path(page))
    return Path(page)


def render_page(template: str, context: dict[str, Any], room: str = "reports") -> str:
    """Fill in a template. Names of files that are not UTF-8 are written as `as_text` has them.

    Args:
        template: its file.
        context: what it shows.
        room: where it lies, a folder of the package; what it includes may lie in `reports`.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    require("jinja2", "report", "making a page")
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("verydeep", one) for one in dict.fromkeys((room, "reports"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return as_text(environment.get_template(template).render(context)) + "\n"
