"""The tutorials' notebooks as they are stored: run from top to bottom, with small outputs of no one machine."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import re
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks as tool  # noqa: E402

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
MOST_BYTES = 400_000


def stored(path: Path) -> tool.Notebook:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in stored(path)["cells"] if cell["cell_type"] == "code"]


def source(path: Path) -> str:
    return "\n\n".join(tool.text(cell["source"]) for cell in code_cells(path))


def unknown_names(code: str) -> list[str]:
    """Names that are used and nowhere bound, and names that a module of the code does not have."""
    tree = ast.parse(code)
    bound, modules = set(dir(builtins)), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ExceptHandler):
            bound.add(node.name)
        elif isinstance(node, ast.Import):
            for one in node.names:
                name = one.asname or one.name.split(".")[0]
                bound.add(name)
                modules[name] = importlib.import_module(one.name if one.asname else name)
        elif isinstance(node, ast.ImportFrom):
            bound.update(one.asname or one.name for one in node.names)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    missing = sorted(used - bound)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        path, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            path.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name) and base.id in modules:
            value = modules[base.id]
            for part in path:
                if not hasattr(value, part):
                    missing.append(f"{base.id}.{'.'.join(path)}")
                    break
                value = getattr(value, part)
    return missing


def test_names_that_do_not_exist_are_found():
    code = "import json\nfrom sys import path\nfor x in path:\n    print(x, y, json.dump, json.nothing)"
    assert unknown_names(code) == ["y", "json.nothing"]


def test_there_are_three():
    assert [path.name[:2] for path in TUTORIALS] == ["1-", "2-", "3-"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
class TestTutorial:
    def test_it_is_a_notebook_that_was_run_from_top_to_bottom(self, path):
        notebook = stored(path)
        assert (notebook["nbformat"], notebook["metadata"]) == (4, tool.METADATA)
        ids = [cell["id"] for cell in notebook["cells"]]
        assert ids == [f"cell-{number + 1}" for number in range(len(ids))]
        assert all(cell["metadata"] == {} for cell in notebook["cells"])
        counts = [cell["execution_count"] for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))

    def test_its_outputs_are_clean(self, path):
        outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
        assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
        figures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert len(figures) >= 4
        for figure in figures:
            with Image.open(BytesIO(b64decode(figure["data"]["image/png"]))) as picture:
                picture.load()
                assert max(picture.size) <= 900
        words = json.dumps(outputs, ensure_ascii=False)
        assert "━" not in words
        assert "Warning" not in words
        assert not re.search(r"/(home|root|tmp|work|usr|Users)/|[A-Z]:\\\\", path.read_text(encoding="utf-8"))
        assert path.stat().st_size < MOST_BYTES

    def test_every_name_of_its_code_exists(self, path):
        assert unknown_names(source(path)) == []

    def test_its_images_and_pages_exist(self, path):
        markdown = "\n".join(tool.text(c["source"]) for c in stored(path)["cells"] if c["cell_type"] == "markdown")
        links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", markdown) if "://" not in link]
        assert links
        links += re.findall(r'"(images/[^"]+)"', source(path))
        assert [link for link in links if not (path.parent / link).is_file()] == []


def png(side: int) -> str:
    file = BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(levels).save(file, "PNG")
    return b64encode(file.getvalue()).decode("ascii")


def notebook(*outputs: dict) -> tool.Notebook:
    return {"cells": [{"cell_type": "code", "source": "work()\nshow()", "outputs": list(outputs)}]}


def printed(words: str) -> dict:
    return {"output_type": "stream", "name": "stderr", "text": words}


def shown(data: dict) -> dict:
    return {"output_type": "display_data", "data": data, "metadata": {"needs_background": "light"}}


def cleaned_outputs(*outputs: dict, before: tuple[dict, ...] = ()) -> list[dict]:
    (cell,) = tool.cleaned(notebook(*outputs), notebook(*before))["cells"]
    assert (cell["id"], cell["execution_count"], cell["source"]) == ("cell-1", 1, ["work()\n", "show()"])
    return cell["outputs"]


def test_cleaning_drops_progress_and_joins_what_is_printed():
    bar, cleared = shown({"text/plain": "training ━━━━ 3/3"}), shown({"text/plain": ""})
    found = cleaned_outputs(printed("a\n"), bar, cleared, printed("b\nc"))
    assert found == [{"output_type": "stream", "name": "stderr", "text": ["a\n", "b\n", "c"]}]


def test_cleaning_makes_figures_smaller():
    large = png(64)
    (found,) = cleaned_outputs(shown({"image/png": large, "text/plain": "<Figure>", "text/html": "x"}))
    assert set(found["data"]) == {"image/png", "text/plain"}
    assert found["metadata"] == {}
    assert len(found["data"]["image/png"]) < 0.5 * len(large)
    with Image.open(BytesIO(b64decode(found["data"]["image/png"]))) as picture:
        assert picture.size == (64, 64)


def test_an_output_that_differs_in_timings_alone_stays_as_it_was():
    before = cleaned_outputs(printed("error 3.0 %, 12 images/s, in 3.1 s"))
    same = cleaned_outputs(printed("error 3.0 %, 99 images/s, in 8 s"), before=tuple(before))
    assert same == before
    other = cleaned_outputs(printed("error 4.0 %, 99 images/s, in 8 s"), before=tuple(before))
    assert other[0]["text"] == ["error 4.0 %, 99 images/s, in 8 s"]
