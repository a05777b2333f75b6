"""The table of all commands and public names, made from the code: `make reference` writes docs/commands.md."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from pathlib import Path

import verydeep
from verydeep.cli import COMMANDS, RENAMED
from verydeep.commands.command import has_two_forms, is_position, word_of
from verydeep.commands.special import command
from verydeep.commands.words import RENAMED as RENAMED_OPTIONS
from verydeep.training.recipe import Recipe

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
GROUPS = {
    "*settings*": tuple(field.name for field in dataclasses.fields(Recipe)),
    "*engine*": ("engine", "precision", "device", "threads"),
    "*many*": ("processes", "max_unreadable"),
}


def row(name: str) -> str:
    made = command(name)
    parameters = made.shown(()).values()
    groups = {group: names for group, names in GROUPS.items() if set(names) <= made.parameters.keys()}
    positions = [made.metavar(one) for one in parameters if is_position(one)]
    options = []
    for one in parameters:
        if not is_position(one) and not any(one.name in names for names in groups.values()):
            options.append(f"`{word_of(one)}`")
            if has_two_forms(one):
                options.append(f"`--no-{one.name}`")
    return f"| `{name}` | {' '.join(positions)} | {' '.join([*options, *groups])} |".replace("|MODEL", "\\|MODEL")


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
        for old, new in RENAMED_OPTIONS.get(name, {}).items():
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
