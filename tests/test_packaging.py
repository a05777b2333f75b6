"""The files that package managers, CI and citations read say what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from verydeep.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
CHECK_ANSWER = ROOT / "tools" / "check_answer.py"
CHECK_WHEEL = ROOT / "tools" / "check_wheel.py"


def read(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tracked() -> list[str]:
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == __version__
    for page in ("README.md", "README.ko.md"):
        assert f"version = {{{__version__}}}" in (ROOT / page).read_text(encoding="utf-8")
    licence, *of_others = PROJECT["project"]["license"].split(" AND ")
    assert citation["license"] == licence
    assert of_others == ["BSD-2-Clause"]  # of the bundled weights of LPIPS
    assert citation["authors"] == PROJECT["project"]["authors"]
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Simonyan", "Zisserman"]
    assert "1409.1556" in paper["url"]


def test_every_target_has_a_line_of_help():
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())
    helped = set(re.findall(r'^\t@echo "make ([\w-]+) ', MAKEFILE, re.M))
    assert targets - helped == {"check", "clean"}  # the one is `test`, the other is known
    assert helped <= targets


def commands(workflow: Path) -> list[str]:
    jobs = read(workflow)["jobs"].values()
    return [line for job in jobs for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_exists(workflow):
    called = [word for line in commands(workflow) for word in re.findall(r"^make ([\w-]+)", line)]
    scripts = [word for line in commands(workflow) for word in re.findall(r"python (\w+/\w+\.py)", line)]
    assert called or scripts
    targets = re.findall(r"^([\w -]+):(?!=)", MAKEFILE, re.M)
    assert set(called) <= {target for line in targets for target in line.split()}
    assert all((ROOT / script).is_file() for script in scripts)
    assert read(workflow)["permissions"] == {"contents": "read"}


def test_the_workflows_test_build_and_document():
    assert [workflow.stem for workflow in WORKFLOWS] == ["docs", "tests", "wheels"]
    calls = {workflow.stem: " ".join(commands(workflow)) for workflow in WORKFLOWS}
    assert "make check" in calls["tests"] and "make docs" in calls["docs"]
    assert "make wheel" in calls["wheels"] and "cibuildwheel" in calls["wheels"]


def test_every_wheel_is_tested():
    test = PROJECT["tool"]["cibuildwheel"]["test-command"]
    assert (ROOT / re.search(r"\{project\}/(\S+)", test)[1]) == CHECK_ANSWER
    assert "--engine native" in test
    (windows,) = (one for one in PROJECT["tool"]["scikit-build"]["overrides"] if "platform-system" in one["if"])
    assert windows["wheel"]["cmake"] is False
    assert all(tag.startswith("py3-none-win_") for tag in windows["wheel"]["tags"])


def test_hooks_run_the_pinned_tools_on_files_that_exist():
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = {hook["id"]: hook for hook in repositories[0]["hooks"]}
    assert list(hooks) == ["ruff-check", "ruff-format", "clang-format", "mypy"]
    for hook in hooks.values():
        tool = re.match(r"\.venv/bin/([\w-]+)( |$)", hook["entry"])[1]
        assert re.search(rf"^{tool}==", pinned, re.M)
        assert any(re.search(hook.get("files", ""), name) for name in tracked())


def test_the_source_archive_has_the_sources_alone():
    settings = PROJECT["tool"]["scikit-build"]["sdist"]
    assert settings["inclusion-mode"] == "explicit"
    prefixes = tuple(pattern.strip("/").removesuffix("**") for pattern in settings["include"])
    assert [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in tracked())] == []
    project = PROJECT["project"]
    for name in (*project["license-files"], project["readme"], "pyproject.toml", "native/CMakeLists.txt"):
        assert name.startswith(prefixes)
    assert not any(name.startswith(prefixes) for name in ("tests/", "results/", ".venv/", "docs/"))


def check_answer(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK_ANSWER), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.heavy
def test_an_answer_is_right_or_wrong():
    right = check_answer("--engine", "torch")
    assert (right.returncode, right.stderr) == (0, "")
    assert re.search(r"cat\.jpg: cat, 99\.\d%$", right.stdout.strip())
    wrong = check_answer("docs/tutorials/images/cat.jpg", "dog", "--engine", "torch")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.strip().endswith("cat.jpg: verydeep answers cat, and the class is dog")
    missing = check_answer("nothing.png", "cat", "--engine", "torch")
    assert missing.returncode == 1 and "nothing.png" in missing.stderr


@pytest.fixture
def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", CHECK_WHEEL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_compiler_on_the_path_is_found(check_wheel, tmp_path):
    assert check_wheel.compilers(str(tmp_path)) == []
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    (tmp_path / "g++").chmod(0o755)
    assert check_wheel.compilers(str(tmp_path)) == ["g++"]


def test_a_wheel_that_is_not_there(check_wheel, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check_wheel.py", "dist/none.whl"])
    assert check_wheel.main() == "dist/none.whl is not there; build it by: make wheel"


def instructions(name: str) -> list[str]:
    """What the Dockerfile says with an instruction, line by line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]


def test_an_image_is_built_of_the_sources_alone():
    ignored, *taken = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored == "*"
    wanted = {
        pattern.strip("/").removesuffix("/**") for pattern in PROJECT["tool"]["scikit-build"]["sdist"]["include"]
    }
    assert {line.removeprefix("!") for line in taken if line.startswith("!")} == wanted


def test_an_image_serves():
    from verydeep.commands.special import command

    (entry,), (words,) = map(json.loads, instructions("ENTRYPOINT")), map(json.loads, instructions("CMD"))
    assert entry == ["verydeep"]
    assert words[0] == "serve"
    given = command("serve").read(words[1:])
    assert (given["models"], given["host"]) == (("cifar10",), "0.0.0.0")
    assert instructions("EXPOSE") == [str(given["port"])]
    assert any('[serve]"' in line for line in instructions("RUN"))
    assert set(PROJECT["project"]["optional-dependencies"]) >= {"serve"}
