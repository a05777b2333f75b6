"""What the package proposes works: commands and options in its messages, its pages and its docs."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import fields
from inspect import Parameter, signature

import pytest
from advice import ARGUMENT, OPTION, PACKAGE, in_documents, in_source, texts_of

import verydeep
from verydeep.cli import COMMANDS, _in_options, main
from verydeep.commands.special import command as command_of
from verydeep.errors import UsageError

PLACEHOLDERS = {"N": "3", "NAME": "photos", "PIXELS": "64", "COMMAND": "train", "CONFIG": "A", "...": "x"}
"""What stands for a word that a reader has to choose; any other word stands for itself."""
FILLINGS = ("64", "x", "onnx", "train", "64 96")  # for what is put into a message when it is raised: one has to do
LEAST = {
    "describe": "A",
    "train": "DATA RUN",
    "watch": "RUN",
    "evaluate": "MODEL DATA",
    "fuse": "A.npz B.npz",
    "predict": "MODEL IMAGE",
    "compare": "A B",
    "extract": "MODEL IMAGE --layers fc7 --out FILE.npz",
    "transfer": "MODEL DATA",
    "visualize": "MODEL IMAGE",
    "style": "MODEL CONTENT STYLE --out IMAGE",
    "study": "FILE --out OUT",
    "report": "A.npz",
    "serve": "",
    "shard": "DATA --out OUT",
    "bench": "",
    "convert": "SOURCE RUN",
    "inspect": "SOURCE",
    "engines": "",
    "export": "MODEL --out OUT",
    "push": "FOLDER OWNER/NAME",
    "new": "A RUN",
}
"""The fewest arguments of each command, for mentions that leave them out."""


TOGETHER = {"schedule=steps": "--milestones 3"}
"""Arguments that go with others, as their message says."""


def parses(words: list[str]) -> bool:
    """Whether the command line takes a command's words."""
    try:
        if words and words[0] in COMMANDS:
            command_of(words[0]).read(words[1:])
        else:
            main(words)
    except SystemExit as ended:
        return not ended.code
    except UsageError:
        return False
    return True


def readings(command: str) -> list[list[str]]:
    """What a command in a text may mean: its alternatives chosen and its gaps filled; one of them has to do."""
    found = []
    for filling in FILLINGS:
        command = re.sub(r"\{(\*|[^}]*join\().*?\}+", "", command)  # options that depend
        _, *words = shlex.split(re.sub(r"\{[^}]*\}+", filling, command))
        if words[1:2] == ["..."]:
            words[1:2] = LEAST[words[0]].split()
        words = [PLACEHOLDERS.get(word, word) for word in words]
        found.append(words)
        if words and words[0] in COMMANDS:  # a mention: `verydeep shard`, or `evaluate --out` without a value
            least = LEAST[words[0]].split()
            found += [[*words, filling], [words[0], *least, *words[1:]], [words[0], *least, *words[1:], filling]]
    return found


IN_SOURCE = in_source()
COMMANDS_IN_SOURCE = [each for each in IN_SOURCE if each[1].startswith("verydeep ")]
ARGUMENTS_IN_SOURCE = [each for each in IN_SOURCE if ARGUMENT.fullmatch(each[1])]


@pytest.mark.parametrize(("where", "command"), COMMANDS_IN_SOURCE, ids=lambda one: one[:60])
def test_commands_in_messages_parse(where, command, capsys):
    assert any(map(parses, readings(command))), f"{where} proposes `{command}`"


@pytest.mark.parametrize(("where", "command"), sorted(set(in_documents())), ids=lambda one: one[:60])
def test_commands_in_documents_parse(where, command, capsys):
    assert any(map(parses, readings(command))), f"{where} has `{command}`"


def arguments() -> set[str]:
    """The parameters of all commands and of all that is public in Python."""
    public = [getattr(verydeep, name) for name in verydeep.__all__]
    public += [method for name, method in vars(verydeep.Model).items() if not name.startswith("_")]
    public += [value for value in vars(verydeep.perceptual).values() if callable(value)]
    found = {argument for name in COMMANDS for argument in command_of(name).parameters}
    for one in filter(callable, public):
        try:
            found |= {
                name for name, each in signature(one).parameters.items() if each.kind is not Parameter.VAR_KEYWORD
            }
        except ValueError:
            continue
    return found | {field.name for field in fields(verydeep.Recipe)}


@pytest.mark.parametrize(("where", "advice"), ARGUMENTS_IN_SOURCE, ids=lambda one: one[:60])
def test_arguments_in_messages_are_arguments(where, advice, capsys):
    """With a value, every command that has the argument takes it as an option, by the rule for messages."""
    name, value = ARGUMENT.fullmatch(advice).groups()
    assert name in arguments(), f"{where} names `{advice}`"
    if value is None:
        return
    for command in COMMANDS:
        said = [_in_options(f"`{name}={re.sub('{.*}', filling, value)}`", command) for filling in FILLINGS]
        if said[0].startswith("--"):
            with_it = TOGETHER.get(advice, "").split()
            tries = ([command, *LEAST[command].split(), *shlex.split(words), *with_it] for words in said)
            assert any(map(parses, tries)), f"{where}: {command} does not take {said}"


def test_options_in_messages_are_options():
    """Options stand as such in texts of the command line alone, and in whole commands."""
    known = {"--offline", "--help", "--version", "--tyro-print-completion", "--dist"}
    known |= {word for name in COMMANDS for word in OPTION.findall(help_of(name))}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in texts_of(file):
            in_messages = OPTION.findall(text) if " " in text else []
            unknown = set(in_messages) - known - FOREIGN
            assert not unknown, f"{file}:{line}"


FOREIGN = {"--nproc-per-node", "--no-deps", "--always", "--dirty", "--standalone", "--data-binary"}
"""Options of torchrun, pip, git and curl."""


def help_of(name: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([name, "--help"])
    return out.getvalue()
