"""The documentation as it can be checked without Sphinx: pages, links, images, and what is made from the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from reference import API, examples, pages
from test_prose import prose

import verydeep
from verydeep.cli import COMMANDS
from verydeep.commands.special import command

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))
WITH_LINKS = [*sorted(ROOT.glob("*.md")), ROOT / "results" / "README.md", *PAGES, *NOTEBOOKS]
FENCE = re.compile(r"^```.*?^```$", re.S | re.M)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.S | re.M)


def text_of(page: Path) -> str:
    """Its text; of a notebook, its cells of text."""
    return prose(str(page.relative_to(ROOT)))


def slugs(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub and the website make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def listed() -> list[Path]:
    """What the toctrees list."""
    return [
        page.parent / entry
        for page in PAGES
        for tree in TOCTREE.findall(text_of(page))
        for entry in tree.splitlines()
        if entry and not entry.startswith(":")
    ]


def test_each_page_is_in_one_toctree():
    sources = [path.with_suffix("") for path in [*PAGES, *NOTEBOOKS]]
    assert sorted(listed()) == sorted(set(sources) - {DOCS / "index"})


@pytest.mark.parametrize("page", WITH_LINKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for name, _, place in re.findall(
        r"\]\(((?!https?:|mailto:)[^)#\s]*)(#([^)\s]+))?\)", FENCE.sub("", text_of(page))
    ):
        target = page.parent / name if name else page
        assert target.exists(), name
        if place:
            assert place in slugs(target), f"{name}#{place}"


def test_each_image_is_shown():
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text_of(page))
    }
    assert set((DOCS / "images").iterdir()) <= shown


def test_the_reference_is_what_the_code_has():
    """A change of a command, an argument or a public name is on purpose: `make reference` writes the pages."""
    made = pages()
    for page, text in made.items():
        assert page.exists(), page
        assert text_of(page) == text, page
    for folder in {page.parent for page in made}:
        assert set(folder.iterdir()) == {page for page in made if page.parent == folder}


def test_all_public_names_are_in_the_reference():
    named = {name.partition(".")[0] for _, _, names in API.values() for name in names}
    assert named == {*verydeep.__all__} - {"__version__"}


def test_each_argument_of_each_command_is_in_the_reference():
    for name in COMMANDS:
        page = text_of(DOCS / "reference" / "commands" / f"{name}.md")
        for word in command(name).words.values():
            if word not in ("DATA", "MODEL"):  # of `evaluate` they are one position
                assert re.search(rf"`\[?{re.escape(word)}", page.replace("\\|", "|")), f"{name} {word}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_read(name):
    for line in examples(name):
        program, first, *words = shlex.split(line)
        assert (program, first) == ("verydeep", name)
        if words:
            command(name).read(words)


def test_the_quick_start_has_the_readmes_code():
    """Whose commands are run by a test."""
    page, readme = (
        re.findall(r"^```\w+\n.*?^```$", text_of(file), re.S | re.M)
        for file in (DOCS / "quick-start.md", ROOT / "README.md")
    )
    assert len(page) == 3
    assert set(page) <= set(readme)
