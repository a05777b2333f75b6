"""Progress and results in a notebook, whose kernel is played here: no Jupyter is needed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

import verydeep
from verydeep import notes
from verydeep.training.display import display
from verydeep.training.journal import StepRecord


class Cell:
    """The outputs of a notebook's cell: each is what was last shown in its place."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.before = ""  # what the place showed before its last update
        self.messages = 0

    def display(self, content, *, raw, display_id):
        assert raw
        assert display_id
        place = len(self.outputs)
        self.outputs.append("")

        def update(content, *, raw):
            self.messages += 1
            self.before, self.outputs[place] = self.outputs[place], content["text/plain"]

        update(content, raw=raw)
        return SimpleNamespace(update=update)


@pytest.fixture
def cell(monkeypatch) -> Cell:
    cell = Cell()
    interactive, displays = ModuleType("IPython"), ModuleType("IPython.display")
    interactive.get_ipython = lambda: SimpleNamespace(kernel=object())
    displays.display = cell.display
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as ipykernel sets it
    return cell


def test_progress_in_a_notebook_is_one_line_that_is_updated_and_cleared_at_the_end(cell, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("verydeep.bars.monotonic", lambda: now)
    with notes.progress("predicting", 3000) as advance:
        for _ in range(3000):
            now += 0.01
            advance(1)
    assert len(cell.outputs) == 1
    assert cell.messages <= 2 + now / 0.25
    assert cell.before.startswith("predicting")
    assert "\n" not in cell.before
    assert cell.outputs == [""]
    assert capsys.readouterr() == ("", "")


def test_work_that_fails_leaves_its_line_where_it_was(cell):
    with pytest.raises(ZeroDivisionError), notes.progress("predicting", 10) as advance:
        advance(3)
        raise ZeroDivisionError
    assert "3/10" in cell.outputs[0]


def test_training_in_a_notebook_has_one_line_too(cell, capsys):
    with display(0, 2, 50, 8) as show:
        for step in range(100):
            show(StepRecord(step=step, epoch=step // 50, loss=1.0, error=50.0, rate=0.1, seconds=0.1, wait=0.0))
    assert len(cell.outputs) == 1
    assert "100/100" in cell.outputs[0]
    assert "\n" not in cell.outputs[0]
    assert capsys.readouterr() == ("", "")


def test_ipython_in_a_terminal_is_no_notebook(cell, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", object)
    with notes.progress("predicting", 3) as advance:
        advance(3)
    assert cell.outputs == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("cell")
def test_results_in_a_notebook_have_no_codes_of_a_terminal():
    result = verydeep.describe("A", window=32, width=0.1)
    assert "\x1b" not in result._repr_html_() + repr(result)
