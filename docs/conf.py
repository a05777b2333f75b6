"""Sphinx: docs/ -> a website. `make docs` builds it, `make docs EXECUTE=off` without running the notebooks."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.inspect import TypeAliasForwardRef

from verydeep.version import __version__

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "tools"))
from notebooks import is_progress  # noqa: E402

project = "verydeep"
author = "The verydeep authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["tutorials/out"]  # what the notebooks write

html_theme = "furo"
html_title = f"verydeep {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

# Headings get the anchors that GitHub gives them, so that a link works in both places.
myst_heading_anchors = 4
highlight_language = "none"

nb_execution_mode = "force"
nb_execution_timeout = 180  # seconds a cell
nb_execution_raise_on_error = True
nb_execution_in_temp = False  # notebooks read images of the repository
nb_merge_streams = True

# A word in backticks in a docstring links to what it names, and is code otherwise.
default_role = "py:obj"
napoleon_use_ivar = True  # attributes are fields of their class, as arguments are
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("ImageLike", "Posteriors")}
TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # within other types it is shown by this
autodoc_inherit_docstrings = False
add_module_names = False
toc_object_entries_show_parents = "hide"

TAKEN_IN = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "results/study-tables": "results/cifar10-30-epochs/tables.md",
    "results/what-helps": "results/what-helps.md",
}
"""Pages whose text is a file elsewhere in the repository; in docs/ they have a heading and a link."""

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def take_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Take in the text of such a page, and let links to such a file lead to its page."""
    folder = (DOCS / docname).parent
    if docname in TAKEN_IN:
        file = ROOT / TAKEN_IN[docname]
        folder = file.parent
        text = file.read_text(encoding="utf-8")
        heading = "" if text.startswith("# ") else source[0].partition("\n")[0]
        source[0] = f"{heading}\n\n{text}"
        app.env.note_dependency(str(file))
    pages = {ROOT / file: f"/{page}.md" for page, file in TAKEN_IN.items()}

    def lead(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link[2]))
        if target in pages:
            return link[1] + pages[target] + link[3]
        if docname in TAKEN_IN and target.exists():
            return link[1] + os.path.relpath(target, (DOCS / docname).parent) + link[3]
        return link[0]

    source[0] = _LINK.sub(lead, source[0])


def as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make reStructuredText of a docstring: indented paragraphs and options are code, and a star is a star."""
    marked, code = [], False
    for line in lines:
        if line and not line.startswith(" "):
            code = False
        elif line.startswith("    ") and not code and marked and not marked[-1].strip():
            above = next((one for one in reversed(marked) if one.strip()), " ")
            code = not above.startswith(" ")
            marked += ["::", ""] if code else []
        parts = enumerate(line.split("`"))
        marked.append(line if code else "`".join(part if n % 2 else _escaped(part) for n, part in parts))
    lines[:] = marked


def _escaped(text: str) -> str:
    return _OPTION.sub(r"``\g<0>``", text.replace("*", "\\*"))


def without_bars(app: Sphinx, doctree: nodes.document) -> None:
    """Remove the progress bars that a notebook's run has left, as `make notebooks` does from what it stores."""
    for bundle in [one for one in doctree.findall(nodes.container) if one.get("nb_element") == "mime_bundle"]:
        if is_progress({"data": {part["mime_type"]: part.astext() for part in bundle.children}}):
            outputs = bundle.parent
            outputs.remove(bundle)
            if not outputs.children:
                outputs.parent.remove(outputs)


def is_class(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Skip the classes within a class: they are how it works, and not for its users."""
    return True if isinstance(obj, type) else None


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", take_in)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon makes fields of sections
    app.connect("autodoc-skip-member", is_class)
    app.connect("doctree-read", without_bars)
