"""Pages are written in plain English: short sentences, and no phrase that a stranger has to read twice."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
from pathlib import Path
from statistics import mean

import pytest

import verydeep
from verydeep.cli import COMMANDS
from verydeep.commands.command import read_docstring

ROOT = Path(__file__).parent.parent
PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *sorted(
        str(path.relative_to(ROOT)) for kind in ("md", "ipynb") for path in (ROOT / "docs").rglob(f"*.{kind}")
    ),
]
LONGEST, MEAN = 30, 16
ENTRY = re.compile(r"^ +`?\w+`?: |^(?:Args|Attributes|Returns|Raises|Example|Examples):$", re.M)  # of a docstring

# What to write instead stands behind each phrase.
PHRASES = {
    "bear the literature's names": "are named `conv1_1` to `fc8`",
    "losses that stand on them": "perceptual losses",
    "range is said and checked": "the input range is checked",
    "what is done is not done again": "completed steps are skipped",
    "memory is asked before it is needed": "software prefetch",
    "its first bytes and its tensors tell": "the format is detected from the content",
    "of the products; auto is float32": "precision of matrix products (default: float32)",
    "did not feel it": "was not affected",
    "does not feel it": "is not affected",
    "on where it was left": "resumes",
    "gone on with": "resumed",
    "pictures that it has been told": "the given images",
    "that comes along": "bundled",
    "that come along": "bundled",
    "nobody says how": "is unknown",
    "it is not guessed": "pass the option",
}


def sentences(page: str) -> list[str]:
    """The sentences of a page, without code blocks, tables, headings and images; inline code is one word."""
    text = re.sub(r"^---\n.*?^---\n", "", page, flags=re.M | re.S) if page.startswith("---\n") else page
    text = re.sub(r"^ *```.*?^ *```$", "\n\n", text, flags=re.M | re.S)
    text = re.sub(r"(?:^\n|\A)(?:(?: {4}|\t).*\n)+(?=\n|\Z)", "\n", text, flags=re.M)
    text = re.sub(r"^ *(\||#).*$", "\n", text, flags=re.M)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"`+[^`]+`+", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^ *(?:[-*+]|\d+\.) ", "\n\n", text, flags=re.M)
    text = re.sub(r"[*_]{1,3}(?=\S)|(?<=\S)[*_]{1,3}", "", text)
    text = re.sub(r"\b(e\.g|i\.e|et al|cf|vs|Fig|Dr)\.", r"\1", text)
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    found = (one for paragraph in paragraphs for one in re.split(r"(?<=[.!?])[\"')]*\s+(?=\S)", paragraph))
    return [one for one in found if re.search(r"[A-Za-z]", one) and not re.search(r"[가-힣]", one)]


def prose(page: str) -> str:
    """The text of a page; of a notebook, its markdown cells."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if not page.endswith(".ipynb"):
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def words(sentence: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def ready(page: str) -> bool:
    lengths = [words(one) for one in sentences(prose(page))]
    return not lengths or (max(lengths) <= LONGEST and mean(lengths) <= MEAN)


@pytest.mark.parametrize(
    ("page", "lengths"),
    [
        ("# A heading of words\n\nOne two three. Four `five six`, seven!\n", [3, 3]),
        ("A [link of four](docs/x.md) here\nand there (3.5 times).\n", [9]),
        ("- one two\n- three **four five**: six\n  seven\n\n    code that is indented\n\nEight.\n", [2, 5, 1]),
        ("| a table | b |\n|---|---|\n\n```console\nverydeep x. Y z\n```\n\nNine et al. ten. (Eleven.)\n", [4, 1]),
    ],
)
def test_sentences_are_found(page, lengths):
    assert [words(one) for one in sentences(page)] == lengths


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page):
    found = sentences(prose(page))
    lengths = [words(one) for one in found]
    long = [f"{length}: {one}" for length, one in zip(lengths, found, strict=True) if length > LONGEST]
    assert not long, "\n".join(long)
    assert not lengths or mean(lengths) <= MEAN


def phrases_in(text: str) -> list[str]:
    plain = re.sub(r"(?:\s|^ *(?:#|//|\*))+", " ", re.sub(r"[`*]", "", text), flags=re.M).lower()
    return [phrase for phrase in PHRASES if phrase in plain]


def test_a_phrase_is_found_across_lines():
    assert phrases_in("// Here it did not\n// feel it.") == ["did not feel it"]
    assert phrases_in("What is **done** is not\n   done again") == ["what is done is not done again"]


def test_no_file_has_a_phrase_of_the_list():
    kinds = ["*.md", "*.py", "*.cpp", "*.h", "*.ipynb"]
    listed = subprocess.run(
        ["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "README.md" in listed
    checked = [name for name in listed if not name.startswith("tests/")]
    found = {name: phrases_in(prose(name)) for name in checked}
    assert not {name: phrases for name, phrases in found.items() if phrases}


def docstrings() -> dict[str, str]:
    """The docstring of each public name and of each public method of it."""
    things = {name: getattr(verydeep, name) for name in verydeep.__all__}
    for name, thing in list(things.items()):
        if inspect.isclass(thing) or inspect.ismodule(thing):
            things |= {
                f"{name}.{member}": value
                for member, value in vars(thing).items()
                if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property))
            }
    texts = {
        name: inspect.getdoc(thing) or "" for name, thing in things.items() if not isinstance(thing, str | dict)
    }
    return {name: ENTRY.sub("\n\n", text) for name, text in texts.items()}


def messages() -> dict[str, str]:
    """Each string that the code raises or tells, by its place; what is filled in is one word."""
    found = {}
    for path in sorted((ROOT / "verydeep").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) or (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "note")
            ):
                for number, text in enumerate(literals(node)):
                    found[f"{path.relative_to(ROOT)}:{node.lineno}:{number}"] = text
    return found


def literals(node: ast.AST) -> list[str]:
    """The strings of a piece of code, each whole."""
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)]
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    return [text for child in ast.iter_child_nodes(node) for text in literals(child)]


def too_long(texts: dict[str, str]) -> list[str]:
    """The sentences that are too long; a semicolon and a colon end a part that is read for itself."""
    return [
        f"{where}: {words(part)}: {part}"
        for where, text in texts.items()
        for one in sentences(text)
        for part in re.split(r"[;:] ", one)
        if words(part) > LONGEST
    ]


def test_sentences_of_docstrings_are_short():
    texts = docstrings()
    assert len(texts) > 60
    assert not too_long(texts), "\n".join(too_long(texts))


def test_sentences_of_messages_are_short():
    texts = messages()
    assert len(texts) > 400
    assert not too_long(texts), "\n".join(too_long(texts))


def test_the_help_of_a_command_begins_with_a_short_sentence():
    for name in COMMANDS:
        first = sentences(read_docstring(getattr(verydeep, name))[0])[0]
        assert words(first) <= 20, first
