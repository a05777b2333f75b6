"""Run the tutorials' notebooks and write them with their outputs, without what changes from run to run.

    python tools/notebooks.py                     # all of docs/tutorials
    python tools/notebooks.py NOTEBOOK.ipynb ...

It needs `nbclient` and `ipykernel`. A notebook runs in its own folder. An error in a cell ends the run, and
nothing is written.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
COLORS = 256  # of a stored figure: half of the bytes or less
TIMING = re.compile(r"\d+(?:\.\d+)?(?= s\b| images/s\b)|(?<= %) +\d+(?=  best so far|\\n)")  # the last: of epochs
MOST_SECONDS = 1200  # of a cell
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

Notebook = dict[str, Any]
Output = dict[str, Any]


def run(path: Path) -> Notebook:
    """The notebook with the outputs of a fresh run."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.setdefault(
        "OMP_WAIT_POLICY", "passive"
    )  # other work on the machine is not held up by waiting threads
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=MOST_SECONDS, kernel_name="python3", resources=resources).execute()
    executed: Notebook = json.loads(nbformat.writes(notebook))
    return executed


def cleaned(notebook: Notebook, before: Notebook) -> Notebook:
    """What is worth keeping of a notebook: no timestamps, progress bars or random names, and small figures.

    Args:
        notebook: after a run.
        before: as it was stored. An output that differs from its own only in timings is kept as it was.

    """
    stored = {text(cell["source"]): cell.get("outputs", []) for cell in before["cells"]}
    cells, count = [], 0
    for number, cell in enumerate(notebook["cells"], 1):
        source = text(cell["source"])
        kept = {"cell_type": cell["cell_type"], "id": f"cell-{number}", "metadata": {}, "source": lines(source)}
        if cell["cell_type"] == "code":
            count += 1
            fresh = list(clean_outputs(cell["outputs"]))
            for output in fresh:
                if output["output_type"] == "execute_result":
                    output["execution_count"] = count
            old = stored.get(source, [])
            same = without_timings(old) == without_timings(fresh)
            kept |= {"execution_count": count, "outputs": old if same else fresh}
        cells.append(kept)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def clean_outputs(outputs: list[Output]) -> Iterator[Output]:
    """The outputs of a cell but for progress bars; what was printed in several parts is one."""
    printed: dict[str, Output] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            name = output["name"]
            if name not in printed:
                printed[name] = {"name": name, "output_type": "stream", "text": []}
                yield printed[name]
            printed[name]["text"] = lines(text(printed[name]["text"]) + text(output["text"]))
        elif not is_progress(output):
            data = dict(output["data"])
            if "image/png" in data:
                data = {"image/png": small_png(text(data["image/png"])), "text/plain": data["text/plain"]}
            yield {**output, "data": data, "metadata": {}}


def is_progress(output: Output) -> bool:
    """Whether it is a bar, or the place where one was."""
    data = output["data"]
    return set(data) == {"text/plain"} and (
        not text(data["text/plain"]).strip() or "━" in text(data["text/plain"])
    )


def small_png(encoded: str) -> str:
    """The same picture with few colors, in base64."""
    picture = Image.open(BytesIO(b64decode(encoded))).convert("RGB")
    file = BytesIO()
    picture.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    small = b64encode(file.getvalue()).decode("ascii")
    return small if len(small) < len(encoded) else encoded.strip()


def without_timings(outputs: list[Output]) -> str:
    """Outputs as one text, with a mark in place of each number of seconds, or of images a second."""
    return TIMING.sub("#", json.dumps(outputs, ensure_ascii=False, sort_keys=True))


def text(value: str | list[str]) -> str:
    """A text of a notebook, which may be stored in lines."""
    return value if isinstance(value, str) else "".join(value)


def lines(value: str) -> list[str]:
    """A text in lines, as it is stored, so that a difference of two versions is of few lines."""
    return value.splitlines(keepends=True)


def main() -> None:
    """Run the notebooks that are named, or all."""
    for path in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else sorted(TUTORIALS.glob("*.ipynb")):
        begun = time.monotonic()
        before = json.loads(path.read_text(encoding="utf-8"))
        after = cleaned(run(path), before)
        stored = json.dumps(after, ensure_ascii=False, indent=1) + "\n"
        path.write_text(stored, encoding="utf-8")
        print(f"{path.name}: {time.monotonic() - begun:.0f} s, {len(stored.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
