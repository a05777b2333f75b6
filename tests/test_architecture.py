"""Imports go one way, each thing is done in one place, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "verydeep"
HEAVY = {"torch", "numpy", "PIL", "sklearn", "matplotlib", "jinja2", "rich"}

# A file may import from rooms that stand before its own, and from its own.
ORDER = (
    *(
        "errors",
        "arguments",
        "remote",
        "version",
        "interrupts",
        "prefetch",
        "distributed",
        "processor",
        "bars",
        "results",
        "files",
        "typed",
        "array_files",
        "notes",
        "lock",
        "safetensors_file",
    ),
    *(
        "configurations",
        "plan",
        "feature_layers",
        "accounting",
        "images",
        "network",
        "run_folder",
        "weights",
        "training",
    ),
    *("inference", "processes", "chunks", "perceptual", "evaluation", "extraction", "linear", "model"),
    *("reports", "visualization", "comparison", "exports", "benchmark", "studies", "serving"),
    *("api", "verydeep", "commands", "cli", "__main__"),
)


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(source: str, package: str, modules: set[str]) -> set[str]:
    """Modules of ours that a file imports, by any form of import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= (names & modules) or {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            found |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    return found & modules


@cache
def imports_of(module: str) -> frozenset[str]:
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported(file.read_text(encoding="utf-8"), package, set(MODULES)) - {module})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b", {"a.b"}),
        ("from a.b import c", {"a.b"}),
        ("from . import d", {"a.d"}),
        ("from .d import c", {"a.d"}),
        ("from .. import x", set()),
        ("def f():\n    from a import d as e", {"a.d"}),
        ("if TYPE_CHECKING:\n    import a.d", {"a.d"}),
        ("x = import_module('a.d')", {"a.d"}),
    ],
)
def test_every_form_of_import_is_seen(source, found):
    assert imported(source, "a", {"a", "a.b", "a.d"}) == found


def test_there_is_no_circle_of_imports():
    """Neither at the top of files, nor within functions, nor for types."""
    unfinished: list[str] = []
    finished: set[str] = set()

    def follow(module: str) -> None:
        assert module not in unfinished, " -> ".join([*unfinished[unfinished.index(module) :], module])
        if module in finished:
            return
        unfinished.append(module)
        for other in sorted(imports_of(module)):
            follow(other)
        finished.add(unfinished.pop())

    for module in MODULES:
        follow(module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    rank = ORDER.index(room_of(module))
    backward = {other for other in imports_of(module) if ORDER.index(room_of(other)) > rank}
    assert not backward


def strings_of(file: Path) -> list[str]:
    """Texts in a file that are not docstrings; what is put into one is `{}`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append(
                "".join(
                    getattr(part, "value", "{}") if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                )
            )
            skipped += node.values
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            texts.append(node.value)
    return texts


def test_the_library_has_no_words_of_the_command_line():
    """An option stands in a message as the argument that it is, unless the message has a whole command."""
    for module, file in MODULES.items():
        if room_of(module) in ("commands", "cli", "studies"):  # a study's steps are commands
            continue
        for text in filter(lambda text: " " in text, strings_of(file)):
            alone = re.sub(r"`(verydeep|curl|\{\}) [^`]*`?|pip install [^`]*|^(--|verydeep ).*", "", text)
            assert not re.search(r"(^|[\s(])--[a-z]", alone), f"{file}: {text}"


def places(pattern: str) -> set[str]:
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in MODULES.values()
        if re.search(pattern, file.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize(
    ("what", "pattern", "files"),
    [
        ("the plan", r"def _nodes_of\(", {"configurations.py"}),
        ("lowering", r"_native\.Step\.\w+\(", {"inference/native.py"}),
        (
            "the forward on torch",
            r"\bF\.max_pool2d\(",
            {"network/forward.py", "network/native_layers/by_torch.py"},
        ),
        ("choosing an engine", r"\bhas_gpu\(\):", {"inference/__init__.py"}),
        ("preprocessing of arrays", r"- mean\) / deviation\n", {"images/color.py"}),
        ("preprocessing of tensors", r"/= self\.deviation", {"network/preprocess.py"}),
        ("the chunk loop", r"\bprefetch_groups\(", {"chunks/run.py", "prefetch.py"}),
        ("sharing of chunks", r"world\.share\(plan\)", {"chunks/run.py"}),
        (
            "reading arrays, but the benchmark's own",
            r"\bnp\.load\(",
            {"benchmark/measure.py", "benchmark/task.py"},
        ),
        ("reading ahead", r"\bdeque\[", {"prefetch.py"}),
    ],
)
def test_each_thing_is_done_in_one_place(what, pattern, files):
    assert places(pattern) == files, what


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import verydeep", set()),
        ("import verydeep.cli", set()),
        ("import verydeep.configurations, verydeep.plan, verydeep.accounting", set()),
        ("import verydeep.training.recipe", set()),
        ("import verydeep.run_folder, verydeep.images.sources, verydeep.inference", {"numpy", "PIL"}),
        ("import verydeep.evaluation.evaluate, verydeep.model, verydeep.api.predict", {"numpy", "PIL"}),
        ("import verydeep.api.describe, verydeep.api.report, verydeep.api.convert", {"numpy", "PIL"}),
        ("import verydeep.api.export, verydeep.api.push", {"numpy", "PIL"}),
    ],
)
def test_nothing_heavy_is_imported(statement, allowed):
    code = f"{statement}\nimport sys\nprint(*({HEAVY!r} & sys.modules.keys()))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(output.split()) <= allowed


def test_no_test_is_skipped_for_want_of_a_module_that_is_nowhere():
    """`importorskip` of a module that was renamed would skip its tests for ever, in silence."""
    for file in sorted(Path(__file__).parent.rglob("test_*.py")):
        for module in re.findall(r'importorskip\("(verydeep[\w.]*)"', file.read_text(encoding="utf-8")):
            assert module in {*MODULES, "verydeep._native"}, file
