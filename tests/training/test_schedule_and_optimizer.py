"""The rate of each step, and which parameters have which rate and decay."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import verydeep
from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.network.initialize import freeze, initialize
from verydeep.network.vgg import VGG
from verydeep.run_folder import JOURNAL
from verydeep.training.optimizer import Schedule, make_optimizer
from verydeep.training.recipe import Recipe
from verydeep.training.schedules import SCHEDULES

TINY = Architecture("A", 5, 1 / 32, 32, True)


def test_weight_decay_is_on_weights_alone():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    decayed, others = make_optimizer(network, Recipe()).param_groups
    assert [parameter.ndim for parameter in decayed["params"]] == [4]
    assert [parameter.ndim for parameter in others["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], others["weight_decay"]) == (5e-4, 0)


def test_weight_decay_is_on_all_where_wanted():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    [group] = make_optimizer(network, Recipe(decay_all=True)).param_groups
    assert len(group["params"]) == 4
    assert group["weight_decay"] == 5e-4


def test_layers_that_are_not_new_have_a_slower_rate():
    network = VGG(TINY)
    initialize(network, "he", 0)
    optimizer = make_optimizer(network, Recipe(rate_below=0.1, decay_all=True), new_layers=("fc8",))
    shares = {group["factor"]: {tuple(p.shape) for p in group["params"]} for group in optimizer.param_groups}
    fc8 = {tuple(network.get_parameter(f"fc8.{name}").shape) for name in ("weight", "bias")}
    assert shares[1.0] == fc8
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_what_is_frozen_is_not_the_optimizers():
    network = VGG(TINY)
    initialize(network, "he", 0)
    assert freeze(network, "conv2_1") == ("conv1_1", "bn1_1", "conv2_1", "bn2_1")
    trained = {id(p) for group in make_optimizer(network, Recipe()).param_groups for p in group["params"]}
    frozen = {id(p) for name, p in network.named_parameters() if name.startswith(("conv1", "bn1", "conv2", "bn2"))}
    assert trained.isdisjoint(frozen)
    assert len(trained) + len(frozen) == len(list(network.parameters()))


@pytest.mark.parametrize("name", ["conv9_9", "fc8", "pool1", ""])
def test_what_cannot_be_frozen_is_refused(name):
    with pytest.raises(UsageError, match="no layer to freeze up to is called"):
        freeze(VGG(TINY), name)


def test_plateau_divides_three_times_and_ends():
    schedule = Schedule(Recipe(patience=2), steps_per_epoch=10)
    rates = []
    for epoch, error in enumerate([50, 40, 40, 41, 39, 39, 39, 39, 39, 39, 39]):
        if schedule.finished:
            break
        rates.append(schedule.rate(10 * epoch))
        schedule.after_epoch(error)
    assert rates == pytest.approx([0.01] * 4 + [1e-3] * 3 + [1e-4] * 2 + [1e-5] * 2)
    assert schedule.finished


def test_of_equally_good_epochs_the_last_is_kept_and_patience_runs_out_all_the_same():
    schedule = Schedule(Recipe(patience=2), steps_per_epoch=10)
    assert [schedule.after_epoch(error) for error in (50, 40, 40, 41)] == [True, True, True, False]
    assert (schedule.best_error, schedule.divisions) == (40, 1)


def test_cosine_rises_and_falls_to_zero():
    recipe = Recipe(schedule="cosine", warmup_epochs=1, epochs=11, learning_rate=1.0)
    schedule = Schedule(recipe, steps_per_epoch=10)
    rates = [schedule.rate(step) for step in range(110)]
    assert rates[9] == rates[10] == max(rates) == 1
    assert rates[0] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-3


@given(st.floats(0.001, 3), st.integers(1, 50))
def test_a_warmup_rises_to_the_highest_rate_and_not_beyond(epochs, steps_per_epoch):
    recipe = Recipe(schedule="cosine", warmup_epochs=epochs, epochs=5, learning_rate=0.05)
    rates = [Schedule(recipe, steps_per_epoch).rate(step) for step in range(5 * steps_per_epoch)]
    assert rates[0] > 0 and max(rates) <= 0.05
    rising = rates[: math.ceil(epochs * steps_per_epoch)]
    assert rising == sorted(rising)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"epochs": 2, "warmup_epochs": 2},
            "the learning rate never falls, as `warmup_epochs` 2 is not below `epochs` 2",
        ),
        ({"epochs": 10, "schedule": "steps", "milestones": (3, 300)}, "epoch 300 of `milestones` is not reached"),
        ({"epochs": 10, "warmup_epochs": 2}, None),
    ],
)
def test_a_schedule_that_does_not_run_its_course_is_told(fields, said):
    found = Recipe(**fields).at_the_edge()
    assert found is None if said is None else said in found


def test_steps_divide_by_ten_after_the_milestones():
    schedule = Schedule(Recipe(schedule="steps", milestones=(2, 3), learning_rate=1.0), steps_per_epoch=10)
    rates = [schedule.rate(step) for step in (0, 19, 20, 29, 30, 1000)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


HALVING = """
from verydeep.training.schedules import SCHEDULES

def halving(highest, at):
    return highest / 2 ** at.step

SCHEDULES["halving"] = halving
"""


def test_a_new_schedule_is_a_function_and_an_entry_of_the_table(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no schedule is called 'halving'; there are plateau, steps, cosine"):
        Recipe(schedule="halving")
    (tmp_path / "a_schedule_of_mine.py").write_text(HALVING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        import_module("a_schedule_of_mine")
        run = tmp_path / "run"
        short = {"width": 0.03, "epochs": 2, "batch_size": 1438, "warmup_epochs": 0, "learning_rate": 0.05}
        trained = verydeep.train("digits", run, recipe="digits", schedule="halving", **short)
    finally:
        del SCHEDULES["halving"], sys.modules["a_schedule_of_mine"]
    records = map(json.loads, (run / JOURNAL).read_text().splitlines())
    assert [record["rate"] for record in records if "rate" in record] == [0.05, 0.025]
    assert trained.epochs == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "steps"},
        {"schedule": "cosine", "milestones": (3,)},
        {"schedule": "steps", "milestones": (5, 3)},
        {"schedule": "steps", "milestones": (3, 3)},
        {"schedule": "steps", "milestones": (0, 3)},
    ],
)
def test_milestones_belong_to_steps(fields):
    with pytest.raises(UsageError, match=r"`milestones`, rising"):
        Recipe(**fields)


def test_a_recipe_survives_json():
    recipe = Recipe(schedule="steps", milestones=(3, 5), train_scale=(256, 512))
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
    assert Recipe.from_json(fields) == recipe
