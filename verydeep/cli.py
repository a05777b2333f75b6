"""The `verydeep` command: words -> a command of `verydeep.commands`. The only file that reads arguments.

Each command is imported when it is asked for, so that `--help` costs no more than it needs.
"""

from __future__ import annotations

import codecs
import errno
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn, TextIO

from verydeep.errors import (
    DiskError,
    ElsewhereError,
    UsageError,
    VerydeepError,
    did_you_mean,
    escaped,
    lack_of_memory,
    of_system,
)
from verydeep.interrupts import Terminated, ended_by_signals, exit_code
from verydeep.version import __version__

GROUPS = {
    "Train and test": {
        "train": "train a network on a folder of images",
        "watch": "draw the learning curves of runs",
        "evaluate": "measure a model's error rates on labelled images",
        "fuse": "average the results of several tests",
        "report": "show results as a table or a web page",
        "shard": "pack millions of images into a few large files",
    },
    "Use a model": {
        "predict": "classify images",
        "compare": "measure how different images look: LPIPS, style, content, DISTS",
        "extract": "save the outputs of a model's layers to a file",
        "transfer": "train a linear classifier on a model's features",
        "visualize": "make a web page of what each layer sees in an image",
        "style": "paint the content of one image in the style of another",
        "serve": "put models behind a web page and an HTTP API",
    },
    "Weights": {
        "inspect": "show what a weight file contains",
        "convert": "import weights of another library",
        "export": "write a model as ONNX, OpenVINO or for another library",
        "push": "upload a model to the Hugging Face Hub",
        "new": "make an untrained model",
    },
    "Study": {
        "study": "train and test many networks, and compare with the paper",
        "describe": "list a network's layers, parameters and cost",
        "bench": "compare the speed of engines on this machine",
        "engines": "list the engines that this machine can use",
    },
}
"""Each command in the group that the help shows it in, with what it does."""
COMMANDS = {name: summary for commands in GROUPS.values() for name, summary in commands.items()}
RENAMED = {"features": "extract", "look": "visualize"}

OFFLINE = "--offline"
COMPLETION = "--tyro-print-completion"
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
SPINS = "GOMP_SPINCOUNT"
LETTERS_INSTEAD = "verydeep-letters"
ALIKE = {"█": "#", "–": "-", "−": "-", "─": "-", "│": "|", "┤": "|", "└": "+", "┬": "+", "±": "+-", "×": "x"}
ALIKE |= {"…": "...", "•": "o", "\u2800": " "}
UNWRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
USAGE = "usage: verydeep COMMAND [--help | ARGUMENTS]"
ENDING = (
    "Examples:",
    "  verydeep predict cifar10 photo.jpg               # classify a photo with a bundled model",
    "  verydeep train photos runs/mine                  # train on a folder with a folder for each class",
    "",
    "`verydeep COMMAND --help` explains a command. --version prints the version.",
    "With --offline, no command uses the network.",
)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; exit with 0, with 2 for a wrong request, with 1 for a failure; a signal adds 128."""
    _prepare_streams()
    name, rest = _split(sys.argv[1:] if arguments is None else arguments)
    with ended_by_signals():
        try:
            with _written():
                _run(name, rest)
        except ElsewhereError:
            sys.exit(1)
        except VerydeepError as error:
            for line in getattr(error, "__notes__", ()):
                _tell(line)
            _fail(exit_code(2 if isinstance(error, UsageError) else 1), _in_options(str(error), name))
        except Terminated as ended:
            _fail(exit_code(1), "; ".join(["terminated", *getattr(ended, "__notes__", ())]))
        except KeyboardInterrupt as ended:
            _fail(exit_code(130), "; ".join(["interrupted", *getattr(ended, "__notes__", ())]))
        except BrokenPipeError:
            _give_up(sys.stdout)
            sys.exit(1)
        except OSError as error:
            _fail(1, of_system(error))
        except (MemoryError, RuntimeError, ImportError) as error:
            lack = lack_of_memory(error)
            if lack is None:
                raise
            _fail(1, lack)
    if exit_code(0):  # what was at work has ended early, in good order
        sys.exit(exit_code(0))


def _prepare_streams() -> None:
    """Show what an encoding lacks by other letters, and open what the shell has closed.

    Otherwise the next file that is opened would get its number. A closed standard output is opened for reading, so
    that writing to it fails; what is told to a closed standard error is lost.
    """
    for number, (name, flags) in enumerate(
        {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}.items()
    ):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors=LETTERS_INSTEAD)


@contextmanager
def _written() -> Iterator[None]:
    """Write all that was printed, while an error can still be told.

    Raises:
        DiskError: standard output cannot be written; other files are named by who writes them.

    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in UNWRITTEN or error.filename is not None:
            raise
        _give_up(sys.stdout)
        raise DiskError(f"standard output cannot be written: {error.strerror}") from None


def _give_up(stream: TextIO) -> None:
    """Lose what a stream could not write, of which Python would complain at its end."""
    with suppress(OSError, ValueError):  # a stream without a number, as tests have it
        opened = os.open(os.devnull, os.O_WRONLY)
        os.dup2(opened, stream.fileno())
        os.close(opened)
        stream.flush()


def _letters_instead(error: UnicodeError) -> tuple[str, int]:
    """For letters that a stream cannot show: others that look alike, or their numbers."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(map(_letter_instead, letters)), error.end


def _letter_instead(letter: str) -> str:
    if "\u2801" <= letter <= "\u28ff":  # dots of braille, which curves are drawn by
        return "*"
    return ALIKE.get(letter) or letter.encode("ascii", "backslashreplace").decode()


codecs.register_error(LETTERS_INSTEAD, _letters_instead)


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """The command's name, and its arguments."""
    if OFFLINE in arguments:
        arguments = [word for word in arguments if word != OFFLINE]
        os.environ["HF_HUB_OFFLINE"] = "1"  # every process that a command starts is told by it too
    return (arguments[0], arguments[1:]) if arguments else ("--help", [])


def _run(name: str, arguments: list[str]) -> None:
    if name == "help" and arguments:
        _run(arguments[0], ["--help"])
    elif name in ("--help", "-h", "help"):
        print(_help())
    elif name in ("--version", "-V"):
        print(f"verydeep {__version__}")
    elif name in COMMANDS:
        if name == "predict":
            _import_numpy_alone()
        shorten_spins()
        from verydeep.commands.special import command
        from verydeep.notes import said_as
        from verydeep.run_folder.origin import carrying_out  # not above: it takes NumPy

        told = partial(_in_options, name=name)
        with carrying_out(shlex.join(["verydeep", name, *arguments])), said_as(told):
            command(name).run(arguments)
    elif name == COMPLETION:
        _print_completion([name, *arguments])
    elif name in RENAMED:
        raise UsageError(f"`verydeep {name}` is called `verydeep {RENAMED[name]}` now")
    else:
        if name in ("-v", "version"):
            raise UsageError(f"no command is called {name!r}; --version prints the version")
        raise UsageError(
            f"no command is called {name!r}; there are {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        )


def _print_completion(arguments: list[str]) -> None:
    """Print what completes commands and their options in a shell: `--tyro-print-completion bash`, zsh or tcsh."""
    if arguments[1:] not in (["bash"], ["zsh"], ["tcsh"]):
        raise UsageError(f"write {COMPLETION} with the shell behind it: bash, zsh or tcsh")
    from tyro.extras import subcommand_cli_from_dict

    from verydeep.commands.special import command

    subcommand_cli_from_dict(
        {name: command(name).collector() for name in COMMANDS}, prog="verydeep", args=arguments
    )


def _in_options(message: str, name: str) -> str:
    """A message in the words of the command line: the functions' arguments as the command's options."""
    if "`" not in message or name not in COMMANDS:
        return message
    from verydeep.commands.command import in_options
    from verydeep.commands.special import command

    return in_options(message, command(name).words)


def _import_numpy_alone() -> None:
    """Without the threads of its BLAS: idle, they spin for a tenth of the time to the first answer."""
    if BLAS_THREADS not in os.environ:
        os.environ[BLAS_THREADS] = "1"
        import_module("numpy")
        del os.environ[BLAS_THREADS]  # no other library is to be told


def shorten_spins() -> None:
    """Let PyTorch's waiting threads sleep sooner, unless the user has a wish of their own; before it is imported.

    By default they spin for up to 4 ms, on the cores that the kernels' threads want.
    """
    os.environ.setdefault(SPINS, "20000")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [USAGE, "", "Train, test and use the VGG networks of Simonyan and Zisserman."]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:{width}}  {summary}" for name, summary in commands.items())]
    return "\n".join([*lines, "", *ENDING])


def _fail(code: int, error: object) -> NoReturn:
    _tell(error)
    sys.exit(code)


def _tell(line: object) -> None:
    try:
        print(f"verydeep: {escaped(line)}", file=sys.stderr, flush=True)
    except OSError:  # nobody listens
        _give_up(sys.stderr)
