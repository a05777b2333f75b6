"""The `verydeep` command: words -> a command of `verydeep.commands`. The only file that reads arguments.

Each command is imported when it is asked for, so that `--help` costs no more than it needs.
"""

from __future__ import annotations

import codecs
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

from verydeep import __version__
from verydeep.errors import UsageError, VerydeepError

COMMANDS = {
    "describe": ("Describe", "the Table 1 column, layer by layer, and what it costs"),
    "train": ("Train", "train a network on a folder of pictures"),
    "watch": ("Watch", "draw the learning curves of runs, while they train or after"),
    "evaluate": ("Evaluate", "test a model the paper's way: error rates on labelled pictures"),
    "fuse": ("Fuse", "average the posteriors of several networks or protocols"),
    "predict": ("Predict", "name what pictures show, and where"),
    "features": ("Features", "keep what a network's layers give for pictures"),
    "transfer": ("Transfer", "train a linear classifier on a model's features (Appendix B)"),
    "look": ("Look", "one page of what each layer sees in a picture"),
    "style": ("Style", "paint the content of one picture in the style of another"),
    "study": ("Study", "the paper's tables by one command: train, test, fuse, and judge its claims"),
    "report": ("Report", "one page of what was trained and how well it does"),
    "shard": ("Shard", "pack pictures into a few large files, where they are millions"),
    "bench": ("Bench", "measure our engines beside others, on this machine"),
    "convert": ("Convert", "bring other libraries' weights here"),
    "inspect": ("Inspect", "tell what a file of weights is"),
    "engines": ("Engines", "tell what this machine can compute with"),
    "export": ("Export", "write a model in a form that others read: ONNX, OpenVINO, a folder for the Hub"),
    "push": ("Push", "send a model with its card to the Hub"),
    "new": ("New", "make an untrained model"),
}

OFFLINE = "--offline"
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
LETTERS_INSTEAD = "verydeep-letters"
ALIKE = {"█": "#", "–": "-", "−": "-", "─": "-", "│": "|", "┤": "|", "└": "+", "┬": "+", "±": "+-", "×": "x"}
ALIKE |= {"…": "...", "•": "o", "\u2800": " "}
USAGE = "usage: verydeep COMMAND [--help | ARGUMENTS]"


def main(arguments: list[str] | None = None) -> None:
    """Run a command; exit with 0, with 2 for a wrong request, with 1 for a failure."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=LETTERS_INSTEAD)
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        _fail(2, error)
    except VerydeepError as error:
        _fail(1, error)
    except KeyboardInterrupt:
        _fail(130, "interrupted")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _fail(1, error)


def _letters_instead(error: UnicodeError) -> tuple[str, int]:
    """For letters that standard output cannot show: others that look alike, or their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(map(_letter_instead, letters)), error.end


def _letter_instead(letter: str) -> str:
    if "\u2801" <= letter <= "\u28ff":  # dots of braille, which curves are drawn by
        return "*"
    return ALIKE.get(letter) or letter.encode("ascii", "backslashreplace").decode()


codecs.register_error(LETTERS_INSTEAD, _letters_instead)


def _run(arguments: list[str]) -> None:
    if OFFLINE in arguments:
        arguments = [word for word in arguments if word != OFFLINE]
        os.environ["HF_HUB_OFFLINE"] = "1"  # every process that a command starts is told by it too
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("--help", "-h", "help"):
        print(_help())
    elif name in ("--version", "-V"):
        print(f"verydeep {__version__}")
    elif name in COMMANDS:
        _command(name, rest).run()
    else:
        raise UsageError(f"no command is called {name!r}; there are {', '.join(COMMANDS)}")


def _command(name: str, arguments: list[str]) -> Any:
    if name == "predict":
        _import_numpy_alone()
    import tyro

    command = getattr(import_module(f"verydeep.commands.{name}"), COMMANDS[name][0])
    options: dict[str, Any] = {}
    if hasattr(command, "defaults"):
        options["default"] = command.defaults(arguments)
    return tyro.cli(command, prog=f"verydeep {name}", args=arguments, **options)


def _import_numpy_alone() -> None:
    """Without the threads of its BLAS: idle, they spin for a tenth of the time to the first answer."""
    if BLAS_THREADS not in os.environ:
        os.environ[BLAS_THREADS] = "1"
        import_module("numpy")
        del os.environ[BLAS_THREADS]  # no other library is to be told


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            USAGE,
            "",
            "The VGG networks of Simonyan and Zisserman, trained and tested as their paper does.",
            "",
            *lines,
            "",
            "`verydeep COMMAND --help` tells the arguments of each; `verydeep --version` the version.",
            "With --offline no command fetches anything from the network.",
        ]
    )


def _fail(code: int, error: object) -> NoReturn:
    print(f"verydeep: {error}", file=sys.stderr)
    sys.exit(code)
