"""Runs on the embedded digits: what they learn, that they repeat, that they go on where they stopped."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import verydeep
from verydeep.api.train import Trained
from verydeep.cli import main
from verydeep.errors import TrainingError, UsageError
from verydeep.run_folder import JOURNAL, LAST_WEIGHTS, STATE, WEIGHTS, read_config
from verydeep.training.journal import read_journal
from verydeep.training.loop import InterruptedRunError, Trainer
from verydeep.training.recipe import RECIPES, Recipe, find_recipe

SMALL = replace(find_recipe("digits"), width=0.03, epochs=2, batch_size=64, warmup_epochs=0)


def train(run: Path, recipe: Recipe = SMALL, **options) -> Trained:
    return verydeep.train("digits", run, recipe=recipe, **options)


def weights(run: Path) -> bytes:
    return (run / LAST_WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(run)
    return run


def test_a_run_folder_has_everything(unbroken):
    config = read_config(unbroken)
    assert config.class_names == tuple("0123456789")
    assert config.trained_on.scale == (36, 36)
    assert not config.trained_on.mirror
    facts = config.provenance
    assert Recipe.from_json(facts["recipe"]) == SMALL
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {WEIGHTS, LAST_WEIGHTS, JOURNAL, STATE} <= {path.name for path in unbroken.iterdir()}
    held_out = json.loads((unbroken / "split.json").read_text())["held_out"]
    assert len(held_out) == 359


def test_the_answer_and_the_command_say_the_same(unbroken, capsys):
    """A run that has ended is resumed: nothing is left to do, and it is told again."""
    best = min(record["validation_error"] for record in read_journal(unbroken / JOURNAL) if "best" in record)
    trained = train(unbroken, resume=True)
    assert (trained.run, trained.best_error, trained.test_scale, trained.epochs) == (unbroken, best, 36, 2)
    assert trained.num_unreadable == 0
    words = ["train", "digits", str(unbroken), "--recipe", "digits", "--resume"]
    capsys.readouterr()
    main(words)
    out = capsys.readouterr().out
    assert out == f"{trained}\n"
    assert out == f"{unbroken}: least validation error {best:.2f} % (top-1, Q = 36)\n"
    main([*words, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told.pop("seconds") > 0
    assert told == {name: value for name, value in trained.to_dict().items() if name != "seconds"}


def test_provenance_says_what_was_called(unbroken, tmp_path):
    short = ["--recipe", "digits", "--width", "0.03", "--epochs", "1", "--batch-size", "1438"]
    called = read_config(unbroken).provenance["command"]
    assert called == f"verydeep.train('digits', '{unbroken}', recipe={SMALL!r})"
    main(["train", "digits", str(tmp_path / "a run"), *short])
    told = read_config(tmp_path / "a run").provenance["command"]
    assert told == f"verydeep train digits '{tmp_path}/a run' {' '.join(short)}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "no setting of a recipe is called 'epoch'; did you mean epochs?"),
        ({"image_size": 32}, "no setting of a recipe is called 'image_size'; it is called `window` now"),
        ({"recipe": "digit"}, "no recipe is called 'digit'; .* did you mean digits?"),
        ({"tensors": "ema"}, "`tensors` chooses a network of `start_from` or `grow_from`"),
        ({"workers": -1}, "`workers` is -1; it must be 0 or more"),
        ({"save_steps": 0}, "`save_steps` is 0; it must be at least 1"),
        ({"init": "hee"}, "no initialisation is called 'hee'; there are he, glorot, .* did you mean he?"),
    ],
)
def test_a_wrong_argument_is_said_in_pythons_words(tmp_path, settings, said):
    with pytest.raises(UsageError, match=said):
        verydeep.train("digits", tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_the_journal_has_a_line_a_step_and_a_line_an_epoch(unbroken):
    records = read_journal(unbroken / JOURNAL)
    steps = [record for record in records if "rate" in record]
    epochs = [record for record in records if "validation_error" in record]
    assert [record["step"] for record in steps] == list(range(2 * (1438 // 64)))
    assert [record["epoch"] for record in epochs] == [0, 1]
    assert all(record["wait"] <= record["seconds"] for record in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_the_same_seed_gives_the_same_bits(unbroken, tmp_path):
    train(tmp_path / "again")
    assert weights(tmp_path / "again") == weights(unbroken)
    train(tmp_path / "other", replace(SMALL, seed=1))
    assert weights(tmp_path / "other") != weights(unbroken)


@pytest.mark.parametrize(
    "stop_after",
    [
        pytest.param(1, marks=pytest.mark.heavy),
        21,
        pytest.param(22, marks=pytest.mark.heavy),
        pytest.param(30, marks=pytest.mark.heavy),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(unbroken, tmp_path, stop_after, monkeypatch):
    run = tmp_path / "run"
    step = Trainer._step

    def interrupt(self, batch, number, interrupted=False):
        if number + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, number, interrupted)

    monkeypatch.setattr(Trainer, "_step", interrupt)
    with pytest.raises(
        InterruptedRunError, match=r"stopped after step \d+ of 44 and saved; resume with `resume=True`"
    ):
        train(run)
    monkeypatch.setattr(Trainer, "_step", step)
    train(run, resume=True)
    assert weights(run) == weights(unbroken)
    steps = [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]
    assert steps == list(range(2 * (1438 // 64)))
    told = [
        [
            {name: one for name, one in record.items() if name != "images_per_second"}
            for record in read_journal(path / JOURNAL)
            if "validation_error" in record
        ]
        for path in (run, unbroken)
    ]
    assert told[0] == told[1]


def test_resuming_with_other_settings_is_refused(unbroken, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main(["train", "digits", str(unbroken), "--recipe", "digits", "--resume", "--learning-rate", "7"])
    assert exit_code.value.code == 2
    assert "learning_rate cannot be changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patience": 3}, "`patience` is of `schedule=plateau`, and the schedule is cosine"),
        ({"color_shift_form": "root"}, "`color_shift_form` is of `color_shift`, which is 0"),
    ],
)
def test_a_setting_that_changes_nothing_is_refused(tmp_path, settings, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        verydeep.train("digits", tmp_path / "run", recipe="digits", **settings)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path):
    with pytest.raises(
        TrainingError, match=r"loss is (nan|inf) at step \d+ \(epoch 1, learning rate 9\d+\.?\d*, batch of 64\)"
    ):
        train(tmp_path / "run", replace(SMALL, learning_rate=1e5, precision="float32"))
    records = read_journal(tmp_path / "run" / JOURNAL)
    assert all(np.isfinite(record["loss"]) for record in records)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.heavy)])
def test_both_precisions_learn(tmp_path, precision):
    train(tmp_path / "run", replace(SMALL, precision=precision, width=0.06, batch_size=32, epochs=3, dropout=0.0))
    last = [record for record in read_journal(tmp_path / "run" / JOURNAL) if "validation_error" in record][-1]
    assert last["validation_error"] < 45  # chance is 90


def test_growing_starts_from_net_a(unbroken, tmp_path, capsys):
    settings = replace(SMALL, config="D", epochs=1)
    train(tmp_path / "deep", settings, grow_from=unbroken)
    assert "conv1_1, conv2_1, conv3_1, conv3_2, fc6, fc7, fc8 come from" in capsys.readouterr().err
    deep, shallow = read_config(tmp_path / "deep"), read_config(unbroken)
    assert deep.preprocessing == shallow.preprocessing
    assert deep.provenance["grown_from"] == str(unbroken)


def test_worker_processes_feed_the_same_images(unbroken, tmp_path):
    train(tmp_path / "run", workers=2)
    assert weights(tmp_path / "run") == weights(unbroken)


def test_a_set_smaller_than_a_batch_lowers_the_rate_with_it(tmp_path):
    train(tmp_path / "run", replace(SMALL, batch_size=1438 * 4, epochs=1, learning_rate=0.1, schedule="plateau"))
    [rate] = [record["rate"] for record in read_journal(tmp_path / "run" / JOURNAL) if "rate" in record]
    assert rate == pytest.approx(0.1 / 4)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_tells_its_command_and_what_to_expect(name):
    recipe = find_recipe(name)
    assert recipe.train_scale[0] >= recipe.window
    told = RECIPES[name].__doc__
    assert "verydeep train" in told
    assert "Time:" in told
    assert "Result:" in told
