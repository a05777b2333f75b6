"""Templates of pages -> HTML. A room has its own template, and takes the style and the pieces of this one."""

from __future__ import annotations

from typing import Any

from verydeep.errors import require


def render_page(template: str, context: dict[str, Any], room: str = "report") -> str:
    """Fill in a template.

    Args:
        template: its file.
        context: what it shows.
        room: where it lies, a folder of the package; what it includes may lie in `report`.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    require("jinja2", "report", "making a page")
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("verydeep", one) for one in dict.fromkeys((room, "report"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context) + "\n"
