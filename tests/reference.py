"""The table of all commands and public names, made from the code: `make reference` writes docs/commands.md."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import verydeep
from verydeep.cli import COMMANDS, RENAMED
from verydeep.commands.command import Answering, Computing, ReadingMany, word_of
from verydeep.training.recipe import Recipe

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
SHARED = {Answering: "--json", Computing: "*engine*", ReadingMany: "*many*"}


def command_class(name: str) -> type:
    found: type = getattr(import_module(f"verydeep.commands.{name}"), name.capitalize())
    return found


def own_fields(kind: type) -> dict[str, object]:
    """Fields that a command does not share, with their types."""
    hints = get_type_hints(kind, include_extras=True)
    shared = {field.name for base in SHARED if issubclass(kind, base) for field in dataclasses.fields(base)}
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in shared}


def row(name: str) -> str:
    kind = command_class(name)
    words = {field: word_of(field, hint) for field, hint in own_fields(kind).items()}
    positions = [word for word in words.values() if not word.startswith("--")]
    options = [
        "*settings*" if field == "settings" else f"`{word}`"
        for field, word in words.items()
        if word.startswith("--")
    ]
    options += [
        group if group.startswith("*") else f"`{group}`"
        for base, group in SHARED.items()
        if issubclass(kind, base)
    ]
    return f"| `{name}` | {' '.join(positions)} | {' '.join(options)} |".replace("|MODEL", "\\|MODEL")


def public_names() -> list[str]:
    """A line for each public name: what it is, and its parameters."""
    lines = []
    for name in verydeep.__all__:
        thing = getattr(verydeep, name)
        if isinstance(thing, types.ModuleType | str | dict):
            kind = "module" if isinstance(thing, types.ModuleType) else type(thing).__name__
            lines.append(f"| `{name}` | {kind} | |")
            continue
        kind = "class" if inspect.isclass(thing) else "function"
        parameters = ", ".join(p for p in inspect.signature(thing).parameters if p != "self")
        lines.append(f"| `{name}` | {kind} | {parameters} |")
    return lines


def page() -> str:
    """The whole page."""
    settings = [
        f"| `--{field.name.replace('_', '-')}` | `{field.default}` |" for field in dataclasses.fields(Recipe)
    ]
    renamed = [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    for name in COMMANDS:
        for old, new in getattr(command_class(name), "renamed", {}).items():
            renamed.append(f"| `{name} {old}` | {f'`{new}`' if new.startswith('--') else new} |")
    return "\n".join(
        [
            "# Commands and public names",
            "",
            "Every command is a Python function of the same name with the same arguments: `verydeep evaluate",
            "MODEL DATA --scales 256` is `verydeep.evaluate(MODEL, DATA, scales=(256,))`. `verydeep COMMAND",
            "--help` and `help(verydeep.COMMAND)` explain each argument. `make reference` makes this page from",
            "the code.",
            "",
            "| command | positions | options |",
            "|---|---|---|",
            *map(row, COMMANDS),
            "",
            "- *engine*: `--engine` `--precision` `--device` `--threads`",
            "- *many*: `--processes` `--max-unreadable`",
            "- *settings*: those of a recipe, below",
            "",
            "| setting of `train` | the paper's |",
            "|---|---|",
            *settings,
            "",
            "| earlier word | now |",
            "|---|---|",
            *renamed,
            "",
            "| name in `verydeep` | kind | parameters |",
            "|---|---|---|",
            *public_names(),
            "",
            "## Shell completion",
            "",
            "`verydeep --tyro-print-completion bash` (or `zsh`, or `tcsh`) prints what completes commands and",
            "options. In bash, `source <(verydeep --tyro-print-completion bash)` turns it on. In zsh, write it to",
            "a file `_verydeep` in a folder of `$fpath`.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE} written\n")
