"""Watching runs: real ones, made ones, and journals of any bytes."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.lock import LOCK, is_written, writing_folder
from verydeep.reports import watched
from verydeep.reports.panels import Curve, Panel, even_ticks, make_panels
from verydeep.reports.terminal import Canvas
from verydeep.reports.watched import WatchedRun, open_run
from verydeep.run_folder import CONFIG, JOURNAL, read_config
from verydeep.training.recipe import find_recipe

PER_EPOCH = 10
RECIPE = replace(find_recipe("digits"), epochs=4, batch_size=20)


def step_line(step: int, **changed: object) -> str:
    record = {"step": step, "epoch": step // PER_EPOCH, "loss": 2.0, "error": 50.0, "rate": 0.05}
    return json.dumps({**record, "seconds": 0.5, "wait": 0.1, **changed}) + "\n"


def epoch_line(epoch: int, error: float) -> str:
    record = {"step": (epoch + 1) * PER_EPOCH, "epoch": epoch, "train_loss": 2.0, "train_error": 50.0}
    return json.dumps({**record, "validation_error": error, "best": True, "images_per_second": 40.0}) + "\n"


def lines(epochs: int, errors: tuple[float, ...] = (40.0, 30.0, 20.0, 25.0)) -> str:
    return "".join(
        "".join(step_line(step) for step in range(epoch * PER_EPOCH, (epoch + 1) * PER_EPOCH))
        + epoch_line(epoch, errors[epoch])
        for epoch in range(epochs)
    )


@pytest.fixture(scope="module")
def config_text(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("config") / "model"
    new("A", path, num_classes=3, width=0.03, window=32)
    facts = {"recipe": asdict(RECIPE), "recipe_name": "digits", "data": {"num_images": 205}}
    return json.dumps(replace(read_config(path), provenance=facts).to_json())


@pytest.fixture
def make(tmp_path, config_text):
    """Makes a run; one that is live is held as by a process that trains."""

    def make_run(
        name: str, journal: str | bytes, *, quiet: float = 0.0, config: bool = True, live: bool = True
    ) -> Path:
        run = tmp_path / name
        run.mkdir(exist_ok=True)
        if live and not is_written(run):
            trainings.enter_context(writing_folder(run))
        (run / JOURNAL).write_bytes(journal.encode() if isinstance(journal, str) else journal)
        then = time.time() - quiet
        os.utime(run / JOURNAL, (then, then))
        if config:
            (run / CONFIG).write_text(config_text)
        return run

    with ExitStack() as trainings:
        yield make_run


def facts_of(run: Path, capsys) -> dict:
    main(["watch", str(run), "--json"])
    [facts] = json.loads(capsys.readouterr().out)["runs"]
    return facts


def test_a_real_run(tmp_path, capsys):
    run = tmp_path / "real"
    arguments = ["--recipe", "digits", "--width", "0.03", "--epochs", "2", "--batch-size", "64"]
    main(["train", "digits", str(run), *arguments])
    capsys.readouterr()
    facts = facts_of(run, capsys)
    records = [json.loads(line) for line in (run / JOURNAL).read_text().splitlines()]
    errors = [record["validation_error"] for record in records if "validation_error" in record]
    steps = [record for record in records if "loss" in record][-22:]
    assert (facts["state"], facts["epoch"], facts["epochs"]) == ("finished", 2, 2)
    assert facts["step"] == facts["steps"] == 2 * (1438 // 64)
    assert facts["configuration"] == "A"
    assert facts["recipe"] == "digits"
    assert facts["validation_error"] == errors[-1]
    assert facts["best_error"] == min(errors)
    assert facts["loss"] == pytest.approx(np.mean([record["loss"] for record in steps]))
    assert facts["images_per_second"] == pytest.approx(64 / np.mean([record["seconds"] for record in steps]))
    waited, took = (sum(record[name] for record in steps) for name in ("wait", "seconds"))
    assert facts["waiting"] == pytest.approx(waited / took)
    main(["watch", str(run)])
    out = capsys.readouterr().out
    assert f"best {min(errors):.2f} %" in out
    assert "finished" in out


def test_a_running_run(make, capsys):
    run = make("run", lines(2) + step_line(20) + step_line(21))
    facts = facts_of(run, capsys)
    assert facts["state"] == "running"
    assert (facts["epoch"], facts["epochs"], facts["step"], facts["steps"]) == (3, 4, 22, 40)
    assert (facts["validation_error"], facts["best_error"], facts["best_epoch"]) == (30.0, 30.0, 2)
    assert facts["images_per_second"] == pytest.approx(40)
    assert facts["waiting"] == pytest.approx(0.2)
    assert facts["seconds_left"] == pytest.approx(18 * 0.5)


def test_of_equally_good_epochs_the_last_is_the_best(make, capsys):
    """Its weights are in model.safetensors."""
    facts = facts_of(make("run", lines(4, (20.0, 30.0, 20.0, 25.0))), capsys)
    assert (facts["best_error"], facts["best_epoch"]) == (20.0, 3)


def test_a_run_without_a_process_is_interrupted(make, capsys):
    run = make("a run", lines(2) + step_line(20), live=False)
    facts = facts_of(run, capsys)
    assert (facts["state"], facts["step"]) == ("interrupted", 21)
    assert facts["resume"] == f"verydeep train DATA '{run}' --resume"
    main(["watch", str(run)])
    out = capsys.readouterr().out
    assert "epoch 3/4 · interrupted" in " ".join(out.split())
    assert "resume: verydeep train DATA" in out
    holder = {"process": 1, "host": platform.node(), "command": "verydeep", "since": "2026-01-01T00:00:00+00:00"}
    (run / LOCK).write_text(json.dumps(holder))  # what a killed process leaves
    assert facts_of(run, capsys)["state"] == "interrupted"
    (run / LOCK).write_text(json.dumps(holder | {"host": "another"}))  # whose locks cannot be seen here
    assert facts_of(run, capsys)["state"] == "running"
    assert facts_of(make("done", lines(4), live=False), capsys)["state"] == "finished"


def test_where_a_run_stands(make, capsys):
    """At half a second a step 70 seconds are nothing unusual, and validation may take an epoch's time more."""
    assert facts_of(make("a", lines(2) + step_line(20), quiet=60), capsys)["state"] == "running"
    assert facts_of(make("b", lines(2) + step_line(20), quiet=90), capsys)["state"] == "stalled"
    ended = lines(2) + "".join(step_line(step) for step in range(20, 30))
    assert facts_of(make("c", ended, quiet=72), capsys)["state"] == "validating"
    assert facts_of(make("d", ended, quiet=90), capsys)["state"] == "stalled"
    assert facts_of(make("e", lines(4), quiet=1e6), capsys)["state"] == "finished"
    assert facts_of(make("f", lines(4), quiet=1e6, config=False), capsys)["state"] == "stalled"
    main(["watch", str(make("b", lines(1) + step_line(10), quiet=3600))])
    assert "stalled, nothing written for 1 h 0 min" in " ".join(capsys.readouterr().out.split())


def test_the_last_plateau_ends_a_run(make, capsys):
    run = make("run", "".join(epoch_line(epoch, 50.0) for epoch in range(9)), quiet=1e6)
    config = json.loads((run / CONFIG).read_text())
    recipe = replace(RECIPE, epochs=74, schedule="plateau", patience=2)
    config["provenance"]["recipe"] = asdict(recipe)
    (run / CONFIG).write_text(json.dumps(config))
    assert facts_of(run, capsys)["state"] == "finished"
    config["provenance"]["recipe"]["patience"] = 3
    (run / CONFIG).write_text(json.dumps(config))
    assert facts_of(run, capsys)["state"] == "stalled"


@pytest.mark.parametrize("width", [20, 50, 80, 100, 200])
def test_it_fits_a_file_of_any_width_without_control_characters(make, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    runs = [make("one", lines(3)), make("two\x1b[31m\n", lines(4))]
    main(["watch", *map(str, runs)])
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert r"two\x1b[31m\n" in out.replace("\n", "")
    assert "•" in out
    assert "x" in out
    assert max(map(len, out.splitlines())) <= width
    for title in ("training loss", "training error", "validation error", "learning rate"):
        assert title in out


@pytest.mark.parametrize(
    ("journal", "words"),
    [
        ("", ["before its first step", "no step yet", "nothing yet"]),
        ("".join(map(step_line, range(3))), ["epoch 1/4", "training loss 2", "nothing yet"]),
        (lines(1) + step_line(10)[:30], ["epoch 1/4", "best 40.00 %"]),
        (lines(1).encode() + b"\xff\n[1]\n" + step_line(10).encode(), ["epoch 2/4"]),
        (lines(1) + step_line(10, loss=math.nan, error=math.inf), ["epoch 2/4", "training loss 2"]),
        (lines(1) + epoch_line(1, math.nan), ["epoch 2/4", "best 40.00 %"]),
        (epoch_line(0, 40.0), ["epoch 1/4", "40 images/s"]),
    ],
)
def test_unfinished_and_odd_journals(make, capsys, journal, words):
    run = make("run", journal)
    main(["watch", str(run)])
    out = " ".join(capsys.readouterr().out.split())  # a long name of the run breaks lines anywhere
    assert all(word in out for word in words), out
    facts_of(run, capsys)


ODD = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, 5e-324, -1.0, 0, 10**400, True, None, "1", [], {}]),
    st.floats(),
    st.integers(-5, 10**20),
)
FIELDS = ("step", "epoch", "loss", "error", "rate", "seconds", "wait", "validation_error", "images_per_second")
RECORDS = st.dictionaries(st.sampled_from(FIELDS), ODD).map(lambda record: json.dumps(record).encode())
JOURNALS = st.lists(st.one_of(RECORDS, st.binary(max_size=40)), max_size=12).map(b"\n".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JOURNALS, st.booleans())
def test_no_journal_makes_it_fail(make, capsys, journal, config):
    run = make("run" if config else "alone", journal + b"\n", config=config)
    facts_of(run, capsys)
    main(["watch", str(run)])
    assert "learning rate" in capsys.readouterr().out


def test_an_image(make, tmp_path, capsys):
    runs = [make("$x^$ 日本", lines(2)), make("empty", "")]
    main(["watch", *map(str, runs), "--out", str(tmp_path / "curves.png")])
    assert not capsys.readouterr().out
    main(["watch", *map(str, runs), "--out", str(tmp_path / "curves.png"), "--json"])
    with Image.open(tmp_path / "curves.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert image.width == 1320
    assert (pixels == (0x5A, 0x2C, 0xA0)).all(1).sum() > 500
    out, err = capsys.readouterr()
    assert len(json.loads(out)["runs"]) == 2
    assert err.endswith("curves.png: 2 runs\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "no run is given; `verydeep train DATA RUN` makes one"),
        (["nowhere"], 1, "nowhere does not exist; give a run folder"),
        (["."], 1, "has no journal.jsonl: it holds runs; give one of them, such as run"),
        (["run", "--out", "curves.jpg"], 2, "--out curves.jpg has to end with .png"),
        (["run", "--png", "curves.png"], 2, "--png is called --out now"),
        (["run", "--follow"], 2, "--follow needs a terminal"),
        (["run"] * 7, 2, "7 runs are too many for one chart; give at most 6"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(make, tmp_path, monkeypatch, capsys, arguments, code, words):
    make("run", lines(1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["watch", *arguments])
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in out + err


def test_reading_goes_on_where_it_stopped_and_starts_anew_for_a_resumed_run(make):
    run = make("run", lines(1) + step_line(10)[:20])
    watched = open_run(run)
    assert len(watched.column("loss")) == 10
    with (run / JOURNAL).open("a") as file:
        file.write(step_line(10)[20:] + step_line(11))
    watched.numbers.read()
    assert watched.column("step").tolist() == list(range(12))
    aside = run / "aside"
    aside.write_text(lines(1))
    aside.replace(run / JOURNAL)
    watched.numbers.read()
    assert watched.column("step").tolist() == list(range(10))
    assert watched.column("validation_error").tolist() == [40.0]


def test_a_run_that_is_extended_meanwhile_has_more_epochs(make):
    run = make("run", lines(2))
    watched = open_run(run)
    config = json.loads((run / CONFIG).read_text())
    config["provenance"]["recipe"]["epochs"] = 2
    (run / CONFIG).write_text(json.dumps(config))
    watched.read()
    assert (watched.headline().state, watched.headline().epochs) == ("finished", 2)
    config["provenance"]["recipe"]["epochs"] = 8
    (run / CONFIG).write_text(json.dumps(config))
    with (run / JOURNAL).open("a") as file:
        file.write(step_line(20))
    watched.read()
    assert (watched.headline().state, watched.headline().epochs) == ("running", 8)
    (run / CONFIG).write_text("{")  # what was known of it stays
    watched.read()
    assert watched.headline().epochs == 8


def test_follow_ends_with_the_run_and_leaves_the_screen_clean(make):
    """In a real terminal: a pseudo-terminal whose other end we hold."""
    pty = pytest.importorskip("pty")
    run = make("run", lines(3))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    words = [sys.executable, "-m", "verydeep", "watch", str(run), "--follow"]
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    out = b""
    while b"learning rate" not in out:
        out += os.read(ours, 65536)
    assert process.poll() is None
    make("run", lines(4))
    try:
        while part := os.read(ours, 65536):
            out += part
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.wait(20) == 0
    assert out.count(b"\x1b[?1049h") == out.count(b"\x1b[?1049l") == 1
    after = out.split(b"\x1b[?1049l")[1]
    assert b"finished" in after
    assert b"\x1b[94m" in after  # the curves' colour, and not a dim one
    assert out.rindex(b"\x1b[?25h") > out.rindex(b"\x1b[?25l")


def test_ctrl_c_ends_following_with_a_last_drawing(make, monkeypatch, capsys):
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(time, "sleep", interrupt)
    main(["watch", str(make("run", lines(1))), "--follow"])
    assert "epoch 1/4 · running" in " ".join(capsys.readouterr().out.split())


def test_of_a_long_journal_a_part_is_read(tmp_path, monkeypatch):
    """All epochs, the last steps in full, and of the others evenly spaced ones, so that it takes little."""
    monkeypatch.setattr(watched, "MOST_BYTES", watched.MOST_BYTES // 20)
    monkeypatch.setattr(watched, "WHOLE_TAIL", watched.WHOLE_TAIL // 20)
    number, per_epoch = 50_000, 1_000
    line = step_line(17, epoch=1, loss=0.1717, wait=7.2417e-05, seconds=0.0764830529)
    line = line.replace("17,", "%d,", 1).replace("0.1717", "%.12f")
    with (tmp_path / JOURNAL).open("w") as file:
        for step in range(number):
            file.write(line % (step, 5 - 4 * step / number))
            if (step + 1) % per_epoch == 0:
                file.write(epoch_line(0, 30.0).replace('"step": 10,', f'"step": {step + 1},'))
    run = open_run(tmp_path)
    assert len(run.column("validation_error")) == number // per_epoch
    assert run.column("step")[-100:].tolist() == list(range(number - 100, number))
    loss, *_ = make_panels([run])
    x, y = loss.curves[0].x, loss.curves[0].y
    length = run.steps_per_epoch
    np.testing.assert_allclose(y, 5 - 4 * (x * length - 1) / number, atol=1e-3)
    assert len(run.column("step")) < 12_500


@given(st.floats(1e-9, 1e12), st.integers(2, 30))
def test_ticks_are_few_and_within(right, most):
    ticks = even_ticks(right, most)
    assert 1 <= len(ticks) <= most + 1
    assert ticks[0] == 0
    assert ticks[-1] <= right * (1 + 1e-6)
    assert right < 3 * ticks[-1] or most < 4


@pytest.mark.parametrize(("steps", "parts"), [(1, 1), (15, 15), (160, 20), (400, 50), (5000, 100)])
def test_a_curve_of_steps_has_means_of_parts(make, steps, parts):
    loss, *_ = make_panels(
        [open_run(make("run", "".join(step_line(step, loss=step + 1) for step in range(steps))))]
    )
    [curve] = loss.curves
    assert len(curve.x) == parts
    np.testing.assert_allclose(curve.x * PER_EPOCH, curve.y)  # both are the part's mean step
    assert curve.y[-1] == pytest.approx(steps, abs=steps / parts)


def test_axes_hold_what_is_drawn(make):
    panels = make_panels([open_run(make("run", lines(4, (95.0, 60.0, 30.0, 22.0))))])
    assert [panel.ticks for panel in panels[1:3]] == [[50.0, 100.0], [20.0, 50.0, 100.0]]
    assert panels[0].ticks == [2.0, 5.0]
    assert panels[2].right == 4
    heights = panels[2].height([10, 20, 100, 200])
    assert heights.tolist() == [0, 0, 1, 1]


def test_braille_rises_from_left_below_to_right_above():
    panel = Panel("", "log", [], 1.0, [1.0, 10.0])
    canvas = Canvas(2, 1, marks=False)
    canvas.draw(Curve(0, np.array([0.0, 1.0]), np.array([1.0, 10.0])), panel)
    assert canvas.lines()[0].plain == "⡠⠊"


@pytest.mark.parametrize("recipe", [None, 1, {"unheard_of": 1}, {"epochs": "many"}, {"epochs": -1}])
def test_without_a_recipe_of_this_version_epochs_are_unknown(make, capsys, recipe):
    run = make("run", lines(2))
    config = json.loads((run / CONFIG).read_text())
    config["provenance"]["recipe"] = recipe
    (run / CONFIG).write_text(json.dumps(config))
    facts = facts_of(run, capsys)
    assert facts["epochs"] is None
    assert (facts["epoch"], facts["images_per_second"]) == (2, 40.0)


def test_runs_of_one_name_are_told_apart(make, tmp_path):
    from verydeep.reports.headlines import names

    numbers = open_run(make("x", "")).numbers
    runs = [WatchedRun(path, numbers) for path in ("/a/b/c", "/d/b/c", "/e/f")]
    assert names(runs) == ["/a/b/c", "/d/b/c", "e/f"]
