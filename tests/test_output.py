r"""What is printed: names that would move the cursor, letters that an encoding lacks, streams full or closed."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_images import save, smooth

from verydeep.api.new import NewModel, new
from verydeep.api.predict import Predictions
from verydeep.cli import main
from verydeep.errors import escaped, escaped_lines, printable
from verydeep.evaluation.ranking import Prediction
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts
from verydeep.notes import say
from verydeep.reports.text_table import TextTable, in_markdown
from verydeep.results import rendered

HOSTILE = "a\x1b[2Jb\rc\nd\x85e\u202ef\u2028g\x7fh\x07"
SHOWN = r"a\x1b[2Jb\rc\nd\x85e\u202ef\u2028g\x7fh\x07"
CONTROLS = [*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u2029\u202a\u202e\u2066\u2069"]


def is_clean(text: str) -> bool:
    return not any(letter in text for letter in CONTROLS if letter != "\n")


@given(st.text(st.sampled_from([*CONTROLS, *"abc é猫 \u202f\u200d"])))
def test_control_characters_are_written_out_and_nothing_else(name):
    assert not any(letter in escaped(name) for letter in CONTROLS)
    assert not any(letter in printable(name) for letter in CONTROLS)
    if not any(letter in name for letter in CONTROLS):
        assert escaped(name) == name
    assert is_clean(escaped_lines(name))
    assert escaped_lines(name).count("\n") == name.count("\n")


def test_colours_and_lines_of_a_text_stay():
    assert escaped_lines("\x1b[1;31mred\x1b[0m\nnext\x1b[2J") == "\x1b[1;31mred\x1b[0m\nnext\\x1b[2J"


def evaluation() -> Evaluation:
    member = MemberFacts(HOSTILE, "A", 1.0, False, 5, (36, 36), "dense", (36,), False)
    facts = Facts((member,), HOSTILE, "all", (HOSTILE, HOSTILE + "2"), 1.0)
    return Evaluation(facts, (HOSTILE,), np.zeros(1, np.int64), np.array([[0.1, 0.9]], np.float32))


RESULTS = {
    "predictions": lambda: Predictions(
        tuple((HOSTILE, [Prediction(HOSTILE, 1.0), Prediction("dog", 0.0)]) for _ in range(2))
    ),
    "one prediction": lambda: Predictions(((HOSTILE, [Prediction(HOSTILE, 1.0)]),)),
    "new": lambda: NewModel(HOSTILE, 5),
    "evaluation": evaluation,
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_prints_clean_lines(kind):
    text = str(RESULTS[kind]())
    assert is_clean(text)
    assert SHOWN in text


def test_csv_for_a_program_has_the_names_themselves():
    rows = list(csv.reader(io.StringIO(RESULTS["predictions"]().exact())))
    assert [row[0] for row in rows[1:]] == [HOSTILE, HOSTILE]
    assert rows[1][1] == HOSTILE


def test_tables_are_clean():
    table = TextTable("title", ("name", "number"), [(HOSTILE, "1")], range(1, 2), HOSTILE)
    assert is_clean(rendered(table.rich()))
    assert SHOWN.split("\\r")[0] in rendered(table.rich())
    assert len(table.markdown().splitlines()) == 3
    assert "\n" not in in_markdown(HOSTILE)
    assert list(csv.reader(io.StringIO(table.csv())))[1][0] == HOSTILE  # a file's own


def test_notes_and_errors_are_one_clean_line(capsys):
    say(HOSTILE)
    with pytest.raises(SystemExit):
        main(["describe", f"/no/{HOSTILE}"])
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 3
    assert all(SHOWN in line for line in lines[:2])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    new("A", path, width=0.05, num_classes=2, window=32)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "class_names": [HOSTILE, "dog"]}))
    return path


def test_a_terminal_gets_them_written_out_and_a_pipe_as_they_are(model, tmp_path):
    images = [str(save(tmp_path / f"{number}.png", smooth(40, 36))) for number in range(2)]
    command = [sys.executable, "-m", "verydeep", "predict", str(model), *images]
    piped = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert HOSTILE in {cell for row in csv.reader(io.StringIO(piped)) for cell in row}
    ours, theirs = pty.openpty()
    subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode().replace("\r\n", "\n")
    os.close(ours)
    assert is_clean(shown)
    assert SHOWN in shown
    (line, _) = subprocess.run([*command, "--json"], capture_output=True, check=True).stdout.splitlines()
    assert HOSTILE in {one["class"] for one in json.loads(line)["predictions"]}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_standard_error_has_other_letters_too(encoding):
    code = "from verydeep import cli, notes\ncli._prepare_streams()\nnotes.say('█ 猫 – end')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert outcome.stderr.decode(encoding).replace("–", "-") == "# \\u732b - end\n"


# What a shell does to a command's streams -> its exit code, and how many lines it tells on standard error.
STREAMS = {
    "describe D > /dev/full": (1, 1),
    "describe D --json > /dev/full": (1, 1),
    "--version > /dev/full": (1, 1),
    "train --help > /dev/full": (1, 1),
    "describe D >&-": (1, 1),
    "describe D --json >&-": (1, 1),
    "--help >&-": (1, 1),
    "describe Z > /dev/full": (2, 1),
    "describe Z >&-": (2, 1),
    "describe Z 2>&-": (2, 0),
    "describe Z 2> /dev/full": (2, 0),
    "describe D --json 2>&- > /dev/null": (0, 0),
    "describe D --json <&- > /dev/null": (0, 0),
    "describe D <&- >&- 2>&-": (1, 0),
}


@pytest.mark.parametrize("words", STREAMS)
def test_streams_that_are_full_or_closed(words):
    """One sentence or silence, and the right exit code; Python's own complaints at its end are not heard."""
    code, lines = STREAMS[words]
    outcome = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m verydeep {words}'], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == code, outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == lines, outcome.stderr
    if code == 1 and lines:
        assert "standard output cannot be written: " in outcome.stderr


@pytest.mark.parametrize("words", ["describe D", "describe D --json", "--help", "describe --help"])
def test_a_reader_that_has_gone(words):
    """As `| head -1` is, of a pipe: silence, and exit code 1."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "verydeep", *words.split()]
    outcome = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (outcome.returncode, outcome.stderr) == (1, "")
