"""Runs that start from an earlier one: what is copied, what is new, what stays frozen."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sample_images import class_folders

import verydeep
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.images.names import nfc
from verydeep.run_folder import CONFIG, LAST_WEIGHTS, STATE, WEIGHTS, read_config
from verydeep.training.recipe import RECIPES, Recipe, find_recipe

SMALL = replace(find_recipe("digits"), width=0.03, epochs=1, batch_size=64, warmup_epochs=0)
STANDING = replace(SMALL, learning_rate=1e-10, weight_decay=0, batch_norm=True)  # weights stay where they start


def train(data: str | Path, run: Path, settings: Recipe = SMALL, **options) -> dict[str, np.ndarray]:
    verydeep.train(data, run, recipe=settings, **options)
    return load_file(run / LAST_WEIGHTS)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "earlier"
    train("digits", run)
    return run


@pytest.fixture
def animals(tmp_path) -> Path:
    return class_folders(tmp_path / "animals", {"cat": 12, "dog": 12, "emu": 12})


@pytest.mark.heavy
def test_the_same_classes_keep_every_layer(earlier, tmp_path, capsys):
    tensors = train("digits", tmp_path / "run", STANDING, start_from=earlier)
    before = load_file(earlier / WEIGHTS)
    for name in before:
        if name.partition(".")[0][:2] != "bn":
            np.testing.assert_allclose(tensors[name], before[name], atol=1e-6, err_msg=name)
    assert "all layers come from" in capsys.readouterr().err
    config = read_config(tmp_path / "run")
    assert config.preprocessing == read_config(earlier).preprocessing
    assert config.provenance["started_from"] == str(earlier)
    assert config.provenance["new_layers"] == []
    told = config.provenance["earlier"]
    assert told["recipe"] == read_config(earlier).provenance["recipe"] and "command" not in told


@pytest.mark.parametrize("grown", [False, True])
def test_rows_of_fc8_follow_the_names_of_the_classes(grown, tmp_path, capsys):
    """Whatever form of Unicode they are written in, and whichever order that puts them in."""
    names = ("café", "cafz")  # decomposed, the first is before the second; composed, behind it
    runs = {}
    for form in ("NFC", "NFD"):
        data = class_folders(tmp_path / form, {unicodedata.normalize(form, name): 6 for name in names})
        start = {"grow_from" if grown else "start_from": runs["NFC"]} if runs else {}
        runs[form] = tmp_path / f"run-{form}"
        train(data, runs[form], replace(STANDING, config="B" if grown and start else "A"), **start)
    ours, theirs = (read_config(run).class_names for run in runs.values())
    assert [nfc(name) for name in ours] == [nfc(name) for name in theirs][::-1]
    before, after = (load_file(run / LAST_WEIGHTS) for run in runs.values())
    np.testing.assert_allclose(after["fc8.weight"], before["fc8.weight"][::-1], atol=1e-6)
    told = "conv1_1, conv2_1, conv3_1, conv3_2, fc6, fc7, fc8 come from" if grown else "all layers come from"
    assert told in capsys.readouterr().err


def test_a_grown_network_of_other_classes_has_a_new_fc8(animals, tmp_path, capsys):
    train(animals, tmp_path / "a", STANDING)
    (animals / "emu").rename(animals / "yak")
    tensors = train(animals, tmp_path / "b", replace(STANDING, config="B"), grow_from=tmp_path / "a")
    before = load_file(tmp_path / "a" / LAST_WEIGHTS)
    np.testing.assert_allclose(tensors["fc7.weight"], before["fc7.weight"], atol=1e-6)
    assert np.abs(tensors["fc8.weight"] - before["fc8.weight"]).max() > 1e-3
    assert "fc6, fc7 come from" in capsys.readouterr().err


def test_other_classes_have_a_new_fc8(earlier, animals, tmp_path, capsys):
    tensors = train(animals, tmp_path / "run", STANDING, start_from=earlier)
    before = load_file(earlier / WEIGHTS)
    assert tensors["fc8.weight"].shape[0] == 3
    np.testing.assert_allclose(tensors["fc7.weight"], before["fc7.weight"], atol=1e-6)
    assert "; it is initialised anew (he)" in capsys.readouterr().err


def test_another_window_has_new_fc_layers(earlier, animals, tmp_path):
    settings = replace(STANDING, window=64, train_scale=(64, 64))
    tensors = train(animals, tmp_path / "run", settings, start_from=earlier)
    before = load_file(earlier / WEIGHTS)
    assert tensors["fc6.weight"].shape[2:] == (2, 2)
    assert read_config(tmp_path / "run").provenance["new_layers"] == ["fc6", "fc7", "fc8"]
    np.testing.assert_allclose(tensors["conv5_2.weight"], before["conv5_2.weight"], atol=1e-6)


def test_frozen_layers_stay_to_the_bit_and_the_others_learn(earlier, tmp_path):
    tensors = train("digits", tmp_path / "run", replace(SMALL, freeze="conv3_1"), start_from=earlier)
    before = load_file(earlier / WEIGHTS)
    for name in before:
        frozen = name.split(".")[0] in ("conv1_1", "bn1_1", "conv2_1", "bn2_1", "conv3_1", "bn3_1")
        assert (tensors[name] == before[name]).all() == frozen, name


@pytest.mark.heavy
def test_a_slower_rate_below_moves_them_less(earlier, animals, tmp_path):
    before = load_file(earlier / WEIGHTS)["conv5_2.weight"]
    moved = []
    for rate_below in (1.0, 0.01):
        settings = replace(SMALL, rate_below=rate_below, batch_size=8, weight_decay=0, learning_rate=0.01)
        tensors = train(animals, tmp_path / f"run{rate_below}", settings, start_from=earlier)
        moved.append(np.abs(tensors["conv5_2.weight"] - before).mean())
    assert 0 < moved[1] < 0.1 * moved[0]


@pytest.mark.heavy
def test_a_run_that_started_from_another_goes_on_as_it_began(earlier, animals, tmp_path):
    settings = replace(SMALL, freeze="conv2_1", rate_below=0.1, batch_size=8, epochs=2)
    whole = train(animals, tmp_path / "whole", settings, start_from=earlier)
    run = tmp_path / "run"
    train(animals, run, settings, start_from=earlier)
    for name in (STATE, "state.previous.pt", WEIGHTS, LAST_WEIGHTS):
        (run / name).unlink()  # as if it had been killed before it saved anything
    before = (run / CONFIG).read_bytes()
    verydeep.train(animals, run, recipe=settings, resume=True)
    assert (run / CONFIG).read_bytes() == before
    again = load_file(run / LAST_WEIGHTS)
    for name in whole:
        assert (whole[name] == again[name]).all(), name


def test_a_shift_of_colors_is_kept_with_the_model(animals, tmp_path):
    train(animals, tmp_path / "run", replace(SMALL, color_shift=0.1, batch_size=8))
    fields = json.loads((tmp_path / "run" / CONFIG).read_text())
    values = fields["principal_colors"]["eigenvalues"]
    assert values == sorted(values, reverse=True)
    assert read_config(tmp_path / "run").principal_colors is not None


@pytest.mark.parametrize(
    ("recipe", "settings", "window", "scale"),
    [
        (None, {}, 32, (36, 36)),
        (None, {"window": 32}, 32, (36, 36)),
        (None, {"train_scale": (32, 40)}, 32, (32, 40)),
        (None, {"window": 64, "train_scale": (64, 64)}, 64, (64, 64)),
        ("cifar10", {}, 32, (36, 40)),
    ],
)
def test_the_window_and_scale_are_those_of_the_earlier_network_unless_told_otherwise(
    earlier, animals, tmp_path, recipe, settings, window, scale
):
    small = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-6}
    run = tmp_path / "run"
    answer = verydeep.train(animals, run, recipe=recipe, start_from=earlier, **small, **settings)
    config = read_config(run)
    assert (config.architecture.window, config.trained_on.scale) == (window, scale)
    assert answer.test_scale == sum(scale) // 2


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        ({"start_from": True, "grow_from": True}, {}, "cannot be combined"),
        ({}, {"freeze": "conv1_1"}, "needs `start_from` or `grow_from`"),
        ({"start_from": True}, {"config": "D"}, "has config A; it cannot become D"),
        ({"start_from": True}, {"freeze": "conv9"}, "no layer to freeze up to is called 'conv9'"),
    ],
)
def test_what_does_not_go_together_is_refused(earlier, tmp_path, options, settings, said):
    run = tmp_path / "run"
    with pytest.raises(UsageError, match=said):
        train("digits", run, replace(SMALL, **settings), **dict.fromkeys(options, earlier))
    assert not run.exists()  # the name is still free


def test_a_rate_below_needs_layers_that_come_from_another_network(earlier, tmp_path):
    for start in ({}, {"grow_from": earlier}):
        with pytest.raises(UsageError, match=r"`rate_below` .* needs `start_from`"):
            verydeep.train("digits", tmp_path / "run", recipe="digits", rate_below=0.5, **start)


def test_the_same_words_resume_it(earlier, animals, tmp_path):
    """README: the same command with --resume."""
    small = {"epochs": 1, "batch_size": 8}
    verydeep.train(animals, tmp_path / "run", start_from=earlier, **small)
    verydeep.train(animals, tmp_path / "run", start_from=earlier, resume=True, **small)
    with pytest.raises(UsageError, match=r"began from .*earlier, and is resumed so"):
        verydeep.train(animals, tmp_path / "run", grow_from=earlier, resume=True)
    with pytest.raises(UsageError, match=r"began from .*earlier, and is resumed so"):
        verydeep.train(animals, tmp_path / "run", start_from="cifar10", resume=True)


QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-9}


def test_few_images_start_from_a_bundled_model(animals, tmp_path, capsys):
    run = tmp_path / "run"
    verydeep.train(animals, run, **QUICK)
    note = "note: 30 images are few, so the training starts from tiny-imagenet; `start_from=none` starts from"
    assert capsys.readouterr().err.count(note) == 1
    config, bundled = read_config(run), verydeep.load("tiny-imagenet").config
    assert config.provenance["started_from"] == "tiny-imagenet" and config.provenance["new_layers"] == ["fc8"]
    assert config.architecture == replace(bundled.architecture, num_classes=3)
    assert config.preprocessing == bundled.preprocessing and config.trained_on.scale == bundled.trained_on.scale
    verydeep.train(animals, run, resume=True, **QUICK)
    with pytest.raises(UsageError, match=r"run began from tiny-imagenet, and is resumed so"):
        verydeep.train(animals, run, start_from="none", resume=True)


@pytest.mark.parametrize(
    "asked",
    [
        {"start_from": "none", **QUICK},
        {"recipe": "digits", "width": 0.03, **QUICK},
        {"config": "A", "width": 0.03, "window": 32, "train_scale": (36, 36), **QUICK},
    ],
    ids=["random weights", "a recipe", "a network"],
)
def test_who_chooses_a_start_a_recipe_or_a_network_gets_it(animals, tmp_path, capsys, asked):
    run = tmp_path / "run"
    verydeep.train(animals, run, **asked)
    assert "starts from tiny-imagenet;" not in capsys.readouterr().err
    assert "started_from" not in read_config(run).provenance
    verydeep.train(animals, run, resume=True, start_from="none", **{"recipe": asked.get("recipe"), **QUICK})


def test_settings_of_the_network_are_a_reason_for_random_weights_that_is_told(animals, tmp_path, capsys):
    words = "--width 0.03 --window 32 --train-scale 36 --epochs 1 --batch-size 8"
    main(["train", str(animals), str(tmp_path / "run"), *words.split()])
    told = "few to train from random weights; without --width, --window, --train-scale the training starts from"
    assert told in capsys.readouterr().err


def test_a_model_of_the_users_is_not_taken_for_the_bundled_one(earlier, animals, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "photos", lambda: replace(find_recipe("digits"), width=0.03, **QUICK))
    Path("tiny-imagenet").symlink_to(earlier)
    verydeep.train(animals, "run")
    assert "started_from" not in read_config(Path("run")).provenance
    Path("none").symlink_to(earlier)  # a run that is called so is one
    verydeep.train(animals, "other", start_from="none", **QUICK)
    assert read_config(Path("other")).provenance["started_from"] == "none"


def test_random_weights_are_an_option_of_the_command_line(animals, tmp_path, capsys):
    words = "--from none --epochs 1 --batch-size 8 --width 0.03"
    main(["train", str(animals), str(tmp_path / "run"), *words.split()])
    assert "images are few" not in capsys.readouterr().err
    assert "started_from" not in read_config(tmp_path / "run").provenance


def test_many_images_start_from_random_weights(animals, tmp_path, monkeypatch):
    monkeypatch.setattr("verydeep.training.start.FEW_IMAGES", 30)
    small = replace(find_recipe("photos"), width=0.03, **QUICK)
    monkeypatch.setitem(RECIPES, "photos", lambda: small)
    verydeep.train(animals, tmp_path / "run")
    assert read_config(tmp_path / "run").architecture.width == 0.03


def test_a_network_has_one_start(earlier, animals, tmp_path):
    with pytest.raises(UsageError, match="cannot be combined"):
        verydeep.train(animals, tmp_path / "run", start_from="none", grow_from=earlier)


def test_layers_that_are_drawn_are_not_frozen(earlier, tmp_path):
    """A window of another size needs new FC layers; a grown network has new convolutions."""
    larger = replace(SMALL, freeze="fc6", window=64, train_scale=(64, 64))
    with pytest.raises(UsageError, match=r"keep fc6 as it was drawn at random; freeze up to conv5_2 at most"):
        train("digits", tmp_path / "run", larger, start_from=earlier)
    deeper = replace(SMALL, config="B", freeze="conv2_1")
    with pytest.raises(UsageError, match=r"keep conv1_2 as it was drawn at random; freeze up to conv1_1 at most"):
        train("digits", tmp_path / "run", deeper, grow_from=earlier)


def test_notes_have_the_options_of_the_command_line(animals, tmp_path, capsys):
    main(["train", str(animals), str(tmp_path / "run"), "--epochs", "1", "--batch-size", "8"])
    assert "; --from none starts from random weights" in capsys.readouterr().err


def test_the_option_is_called_from(earlier, tmp_path, capsys):
    words = ["train", "digits", str(tmp_path / "run"), "--recipe", "digits", "--width", "0.03", "--epochs", "1"]
    main([*words, "--from", str(earlier)])
    assert f"all layers come from {earlier}" in capsys.readouterr().err
