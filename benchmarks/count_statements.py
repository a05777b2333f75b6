"""Count the Python statements of the package, room by room, at any revision, and compare two.

    python benchmarks/count_statements.py [--revision f3019c5] [--against v0.1.0] [--json]

Without --revision the files of the working tree are counted. Statements are nodes of Python's syntax tree, so the
layout of the code does not matter. Docstrings do not count.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
PACKAGE = "verydeep"


def sources(revision: str | None) -> Iterator[tuple[PurePosixPath, str]]:
    """Paths within the package and texts of its Python files; of the working tree where there is no revision."""
    if revision is None:
        for path in sorted((ROOT / PACKAGE).rglob("*.py")):
            yield PurePosixPath(path.relative_to(ROOT / PACKAGE)), path.read_text(encoding="utf-8")
        return
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, PACKAGE], check=True, stdout=subprocess.PIPE
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            content = files.extractfile(member) if member.name.endswith(".py") else None
            if content:
                yield PurePosixPath(member.name).relative_to(PACKAGE), content.read().decode()


def num_statements(text: str) -> int:
    """Statements of a file, without docstrings."""
    nodes = list(ast.walk(ast.parse(text)))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = sum(isinstance(node, documented) and ast.get_docstring(node) is not None for node in nodes)
    return sum(isinstance(node, ast.stmt) for node in nodes) - docstrings


def count(revision: str | None) -> Counter[str]:
    """Statements by room: a folder of the package, or a file that lies in it directly."""
    rooms: Counter[str] = Counter()
    for path, text in sources(revision):
        rooms[path.parts[0].removesuffix(".py")] += num_statements(text)
    return rooms


def table(columns: dict[str, Counter[str]]) -> str:
    """The counts as text, a row a room; with two columns, the difference too."""
    rooms = sorted(set().union(*columns.values()))
    rows = [(room, *(counts[room] for counts in columns.values())) for room in rooms]
    rows.append(("all", *(counts.total() for counts in columns.values())))
    lines = [f"{'room':20}" + "".join(f"{name:>14}" for name in columns) + "    difference" * (len(columns) > 1)]
    for room, *numbers in rows:
        difference = f"{numbers[-1] - numbers[0]:+14,}" if len(numbers) > 1 else ""
        lines.append(f"{room:20}" + "".join(f"{number:14,}" for number in numbers) + difference)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--revision", help="what is counted; by default the working tree")
    parser.add_argument("--against", help="an earlier revision, to compare with")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    revisions = [arguments.against] * bool(arguments.against) + [arguments.revision]
    columns = {revision or "working tree": count(revision) for revision in revisions}
    if arguments.json:
        rooms = {name: {"rooms": dict(counts), "all": counts.total()} for name, counts in columns.items()}
        print(json.dumps(rooms))
    else:
        print(table(columns))


if __name__ == "__main__":
    main()
