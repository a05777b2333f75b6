"""Commands and options that the package proposes, found in its source, its docs and its pages."""

from __future__ import annotations

import ast
import html
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "verydeep"
IN_BACKTICKS = re.compile(r"`([^`]+)`")
ARGUMENT = re.compile(r"([a-z_]+)(?:=(.*))?")
OPTION = re.compile(r"(?<![\w-])--[a-z](?>[a-z-]*)(?<!-)")


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Texts of a source file that are no docstrings, with their lines; an expression in one is `{its source}`.

    Calls of `command_line` are texts too. Keys of dictionaries are not: old options stand there.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if key}
    for node in ast.walk(tree):
        text = None if node in skipped else _text(node)
        if text is not None:
            skipped |= set(ast.walk(node))
            yield node.lineno, text  # type: ignore[attr-defined]


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _command(node.value) or "{" + ast.unparse(node.value).replace("`", "'") + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None or right is None else left + right
    return _command(node)


def _command(node: ast.AST) -> str | None:
    """A call of `command_line` as the command that it makes."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "command_line"):
        return None
    words = (_text(word) or "{" + ast.unparse(word) + "}" for word in node.args)
    return f"`verydeep {' '.join(words)}`"


def in_source() -> list[tuple[str, str]]:
    """What stands in backticks in the package's texts, and where."""
    return [
        (f"{file.relative_to(ROOT)}:{line}", " ".join(found.split()))
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, text in texts_of(file)
        for found in IN_BACKTICKS.findall(text)
    ]


def in_documents() -> list[tuple[str, str]]:
    """Commands in the README and the docs: lines of code blocks, and what stands in backticks."""
    found = []
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text, where = file.read_text(encoding="utf-8"), str(file.relative_to(ROOT))
        fence = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
        for language, block in fence.findall(text):
            lines = block.replace("\\\n", " ").splitlines() if language in ("", "bash", "sh", "console") else []
            found += [(where, line.partition(" #")[0].removeprefix("$ ").strip()) for line in lines]
        found += [(where, " ".join(words.split())) for words in IN_BACKTICKS.findall(fence.sub("", text))]
    return [(where, words) for where, words in found if re.match(r"verydeep( |$)", words)]


def on_page(page: str) -> list[list[str]]:
    """The commands that a page shows, in order, in words."""
    shown = re.findall(r"<code>(.*?)</code>", "".join(re.findall(r"<pre>(.*?)</pre>", page, re.S)), re.S)
    return [shlex.split(html.unescape(re.sub(r"<[^>]+>", "", command))) for command in shown]
