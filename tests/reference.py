"""The reference of commands and public names, made from the code: `make reference` writes docs/reference.

The pages are committed, so that they can be read without a build, and so that a change of a word or a default is
made on purpose: a test compares them with the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from inspect import Parameter
from pathlib import Path

import verydeep
from verydeep import errors, perceptual
from verydeep.cli import COMMANDS, GROUPS, RENAMED
from verydeep.commands.command import (
    Command,
    has_two_forms,
    in_options,
    is_position,
    kind_of,
    read_docstring,
    word_of,
)
from verydeep.commands.special import command
from verydeep.commands.words import EXAMPLES
from verydeep.commands.words import RENAMED as RENAMED_OPTIONS
from verydeep.results import Result
from verydeep.training.recipe import DEFAULT_RECIPE, RECIPES, Recipe
from verydeep.training.scale import scale_text

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
MADE = "Made from the code by `make reference`."
_DEFAULT = re.compile(r"\s*\((?:default: )([^()]*(?:\([^()]*\)[^()]*)*)\)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_OF_PYTHON = re.compile(r" In Python [^.]*\.")

MORE_EXAMPLES = {
    "bench": ("verydeep bench cifar10 --engines verydeep openvino",),
    "convert": (
        "verydeep convert torchvision:vgg16 runs/vgg16",
        "verydeep convert mine.pth runs/mine --window 32",
    ),
    "describe": ("verydeep describe cifar10 --size 96",),
    "evaluate": ("verydeep evaluate runs/D runs/E photos --scales 256 384 512 --out ensemble.npz",),
    "export": ("verydeep export runs/mine --to timm --out mine-timm",),
    "extract": (
        "verydeep extract cifar10 photos --layers pool5 --pool mean --processes 2 --out features.parquet",
    ),
    "predict": ("verydeep predict torchvision:vgg16 holiday --maps maps",),
    "serve": (
        "verydeep serve day=runs/day night=runs/night --ensemble",
        "verydeep serve runs/mine --host 0.0.0.0 --token a-long-random-word --log-json",
    ),
    "study": ("verydeep study cifar10 --out OUT --data CIFAR10 --dry-run",),
    "train": ("verydeep train photos runs/mine --resume", "verydeep train photos runs/E --config E --epochs 40"),
    "watch": ("verydeep watch runs/A runs/D --out curves.png",),
}
"""Of commands of which the example of the help shows too little."""

API = {
    "models": (
        "Models",
        "Open a model, and ask it.",
        ("load", "Model", "Prediction", "Predictor", "Preprocessing"),
    ),
    "commands": (
        "Commands as functions",
        "Every command is a function with the same arguments.",
        tuple(COMMANDS),
    ),
    "features": ("Features", "Read layers by their names.", ("features", "layer_names")),
    "losses": (
        "Perceptual losses",
        "Losses on the layers of a network. Importing `verydeep.perceptual` needs PyTorch.",
        tuple(f"perceptual.{name}" for name in perceptual.__all__),
    ),
    "serving": (
        "Serving",
        "An ASGI application around models, to run or to mount; `verydeep.serve` is among the commands.",
        ("serving.app", "serving.Limits"),
    ),
    "networks": ("Networks", "The architectures of Table 1.", ("CONFIGURATIONS", "Architecture", "VGG")),
    "protocols": (
        "Test protocols",
        "What an image is shown as in a test.",
        ("Dense", "MultiCrop", "CentreCrop", "TenCrop"),
    ),
    "recipes": ("Recipes", "How a network is trained.", ("Recipe",)),
    "errors": (
        "Errors",
        "All errors of the package are a `VerydeepError`.",
        tuple(
            f"errors.{name}"
            for name, thing in vars(errors).items()
            if inspect.isclass(thing) and issubclass(thing, errors.VerydeepError)
        ),
    ),
}


def with_code(text: str) -> str:
    """Text in whose sentences options are code, as all else in backticks is."""
    parts = enumerate(text.split("`"))
    return "`".join(part if n % 2 else _OPTION.sub(r"`\g<0>`", part) for n, part in parts)


def cell(text: str) -> str:
    """Text in a table: only a bar has to be escaped."""
    return text.replace("|", "\\|")


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    headings = list(headings)
    return [
        f"| {' | '.join(headings)} |",
        "|" + "---|" * len(headings),
        *(f"| {' | '.join(map(cell, row))} |" for row in rows),
        "",
    ]


def value(parameter: Parameter) -> str:
    """A default as the command line writes it."""
    default = parameter.default
    if default is Parameter.empty:
        return "required"
    if isinstance(default, bool):
        return "on" if default else "off"
    if default in (None, (), ""):
        return "none"
    if kind_of(parameter)[0] not in (int, float, str, Path) and isinstance(default, tuple):
        return f"`{scale_text(default)}`"
    return f"`{' '.join(map(str, default)) if isinstance(default, tuple) else default}`"


def arguments(made: Command, chosen: Iterable[Parameter]) -> list[str]:
    rows = []
    for one in chosen:
        text = in_options(_OF_PYTHON.sub("", made.help[one.name]), made.words)
        said = _DEFAULT.search(text)
        text = _DEFAULT.sub("", text)
        word = made.metavar(one) if is_position(one) else word_of(one)
        shown = f"`{word}`" if is_position(one) or one.annotation is bool else f"`{word} {made.metavar(one)}`"
        if has_two_forms(one):
            shown = f"`{word}`, `--no-{word.removeprefix('--')}`"
        rows.append((shown, with_code(text[:1].upper() + text[1:]), said[1] if said else value(one)))
    return table(("argument", "meaning", "default"), rows)


def examples(name: str) -> tuple[str, ...]:
    """The example of a command's help, and more."""
    return EXAMPLES[name], *MORE_EXAMPLES.get(name, ())


def command_page(name: str) -> str:
    made = command(name)
    parameters = list(made.shown(()).values())
    positions = [one for one in parameters if is_position(one)]
    settings = [one for one in parameters if one.name in Recipe.__dataclass_fields__ and name == "train"]
    options = [one for one in parameters if one not in positions and one not in settings]
    usage = " ".join(["verydeep", name, *map(made.metavar, positions), "[OPTIONS]"])
    lines = [
        f"# verydeep {name}",
        "",
        with_code(in_options(made.description, made.words)),
        "",
        f"    {usage}",
        "",
        f"In Python: `verydeep.{name}` ([Commands as functions](../python/commands.md)).",
        "",
    ]
    lines += ["## Examples", "", "```bash", *examples(name), "```", ""]
    if positions:
        lines += ["## Positions", "", *arguments(made, positions)]
    lines += ["## Options", "", *arguments(made, options)]
    if settings:
        lines += [
            "## Settings",
            "",
            f"The default is that of the recipe `{DEFAULT_RECIPE}`, which is taken if none is named.",
        ]
        lines += [
            "",
            *arguments(made, settings),
            "## Recipes",
            "",
            "`--recipe` names one of these. Settings that all have in common are left out.",
            "",
        ]
        lines += recipes()
    if earlier := RENAMED_OPTIONS.get(name):
        rows = [(f"`{old}`", f"`{new}`" if new.startswith("--") else new) for old, new in earlier.items()]
        lines += ["## Earlier words", "", "An earlier word is answered with the present one.", ""]
        lines += table(("earlier word", "now"), rows)
    return "\n".join(lines)


def recipes() -> list[str]:
    """The settings of each recipe side by side; those of the paper come first."""
    names = sorted(RECIPES, key=lambda name: not name.startswith("paper"))
    made = {name: command("train").with_defaults(RECIPES[name]()) for name in names}  # type: ignore[attr-defined]
    rows = [
        (f"`{word_of(made[names[0]][field.name])}`", *(value(made[name][field.name]) for name in names))
        for field in dataclasses.fields(Recipe)
    ]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    return table(("setting", *(f"`{name}`" for name in names)), rows)


def commands_index() -> str:
    lines = [
        "# Commands",
        "",
        "Every command is a Python function of the same name with the same arguments:",
        "`verydeep evaluate MODEL DATA --scales 256` is `verydeep.evaluate(MODEL, DATA, scales=(256,))`.",
        f"`verydeep COMMAND --help` prints the same text as these pages. {MADE}",
        "",
    ]
    for group, summaries in GROUPS.items():
        rows = [(f"[`{name}`]({name}.md)", summary) for name, summary in summaries.items()]
        lines += [f"## {group}", "", *table(("command", "what it does"), rows)]
    lines += [
        "## All commands",
        "",
        *table(
            ("word", "meaning"),
            [
                ("`verydeep --help`", "list the commands"),
                ("`verydeep --version`", "print the version"),
                ("`--offline`", "before or after any command: nothing is downloaded"),
                ("`--json`", "every command that answers: print JSON"),
            ],
        ),
        *table(
            ("exit code", "meaning"),
            [
                ("0", "success"),
                ("1", "failure, with one sentence on standard error"),
                ("2", "the arguments do not fit, with one sentence on standard error"),
                ("130, 143", "ended by Ctrl-C, by SIGTERM"),
            ],
        ),
        "## Shell completion",
        "",
        "`verydeep --tyro-print-completion bash` (or `zsh`, or `tcsh`) prints what completes commands and",
        "options. In bash, `source <(verydeep --tyro-print-completion bash)` turns it on. In zsh, write it to a",
        "file `_verydeep` in a folder of `$fpath`.",
        "",
        "## Earlier names",
        "",
        *table(("earlier name", "now"), [(f"`{old}`", f"`{new}`") for old, new in RENAMED.items()]),
        *toctree(COMMANDS),
    ]
    return "\n".join(lines)


def toctree(names: Iterable[str]) -> list[str]:
    return ["```{toctree}", ":hidden:", "", *names, "```", ""]


def thing_of(name: str) -> object:
    thing: object = verydeep
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def kind(thing: object) -> str:
    if isinstance(thing, types.ModuleType):
        return "module"
    if inspect.isclass(thing):
        return "error" if issubclass(thing, Exception) and not issubclass(thing, Warning) else "class"
    return "function" if callable(thing) else type(thing).__name__


def names_row(name: str) -> tuple[str, str, str]:
    """A public name, what it is, and its parameters."""
    thing = thing_of(name)
    given = ()
    if callable(thing) and kind(thing) != "error" and thing is not perceptual.RangeWarning:
        given = tuple(one for one in inspect.signature(thing).parameters if one != "self")
    return f"`{name}`", kind(thing), ", ".join(given)


def answer_of(name: str) -> str | None:
    """The class of a command's answer, by its full name."""
    answer = typing.get_type_hints(thing_of(name)).get("return")
    for one in (answer, *typing.get_args(answer)):
        if inspect.isclass(one) and issubclass(one, Result):
            return f"{one.__module__}.{one.__qualname__}"
    return None


def all_directives(names: Iterable[str]) -> Iterator[str]:
    """What Sphinx makes of public names: their docstrings, and those of what the commands answer, each once."""
    answers = set()
    for name in names:
        full = f"verydeep.{name}"
        match kind(thing_of(name)):
            case "class":
                yield from (f".. autoclass:: {full}", "   :members:", "")
            case "error":
                yield from (f".. autoexception:: {full}", "")
            case "function":
                yield from (f".. autofunction:: {full}", "")
            case _:
                home = verydeep._HOMES.get(name)  # its docstring is there alone
                yield from (f".. autodata:: {f'{home}.{name}' if home else full}", "   :no-value:", "")
        answer = answer_of(name) if name in COMMANDS else None
        if answer and answer not in answers:
            answers.add(answer)
            yield from (
                f".. autoclass:: {answer}",
                "   :members:",
                "   :exclude-members: failure, records, exact",
                "",
            )


def api_page(page: str) -> str:
    title, said, names = API[page]
    rows = []
    for name in names:
        description = read_docstring(thing_of(name))[0] if kind(thing_of(name)) != "dict" else ""
        rows.append(
            (f"`verydeep.{name}`", description.partition("\n")[0].partition(". ")[0].rstrip(".") or "see below")
        )
    return "\n".join(
        [
            f"# {title}",
            "",
            said,
            "",
            *table(("name", "what it is"), rows),
            "```{eval-rst}",
            *all_directives(names),
            "```",
            "",
        ]
    )


def api_index() -> str:
    """All public names: a change of one is made on purpose."""
    lines = [
        "# Python API",
        "",
        "`import verydeep` imports nothing heavy: each name is fetched when it is first used.",
        f"Commands are functions of the same name. {MADE}",
        "",
        *table(
            ("page", "what it has"), [(f"[{title}]({page}.md)", said) for page, (title, said, _) in API.items()]
        ),
        "## All names",
        "",
        *table(
            ("name in `verydeep`", "kind", "parameters"),
            [names_row(name) for page in API.values() for name in page[2]],
        ),
        *toctree(API),
    ]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """All pages of the reference that are made from the code."""
    made = {FOLDER / "commands" / "index.md": commands_index(), FOLDER / "python" / "index.md": api_index()}
    made |= {FOLDER / "commands" / f"{name}.md": command_page(name) for name in COMMANDS}
    return made | {FOLDER / "python" / f"{page}.md": api_page(page) for page in API}


if __name__ == "__main__":
    made = pages()
    for folder in {path.parent for path in made}:
        folder.mkdir(parents=True, exist_ok=True)
        for old in set(folder.glob("*.md")) - made.keys():
            old.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(made)} pages in {FOLDER}\n")
