"""Descriptions: what is read, and one sentence for each mistake, before anything runs."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.inference import PrecisionName
from verydeep.studies.description import PRECISIONS, SHIPPED, parse, read_text
from verydeep.studies.workflow import make_workflow

TOP = 'data = "digits"\nrecipe = "digits"\nreach = 4\n'
A = '[[train]]\nnetworks = "A"\n'
D = '[[train]]\nnetworks = "D"\n'


def read(text: str):
    return parse(text, "study.toml")


MISTAKES = {
    "": "there is no [[train]]",
    "[[train]": "study.toml is not TOML",
    "x = " + "[" * 5000: "study.toml is not TOML",
    "titel = 'x'\n" + A: "no key is called 'titel'; there are title, data, recipe",
    "titel = 'y'\n" + A: "did you mean title?",
    "[[trian]]\n": "did you mean train?",
    "train = 3": "train is 3; it must be a table for each, [[train]]",
    "[[train]]\n": "[[train]] 1 has no networks",
    "[[train]]\nnetworks = ['A', 'F']": "[[train]] 1: no configuration is called 'F'; Table 1 has A",
    "[[train]]\nnetworks = ['A', 'A']": "networks names one twice",
    "[[train]]\nnetworks = 3": "networks is 3; it must be a word in quotes, or a list of them",
    TOP + A + "scael = 36": "no key is called 'scael'; there are networks, name, train_scale",
    TOP + A + "scale = 30": "scale of A is 30, smaller than its window of 32 pixels; use a scale of 32 or more",
    TOP + A + "scale = [40, 36]": "train_scale is [40, 36]; it must be a number of pixels, or the least",
    TOP + A + "scale = true": "train_scale is True",
    TOP + A + "seeds = []": "seeds is []; it must be whole numbers",
    TOP + A + "seeds = [1, 1]": "seeds names one twice: [1, 1]",
    TOP + A + "seeds = -1": "seed is -1",
    TOP + A + "seeds = 0x" + "f" * 6000: "seeds is too great a number",
    TOP + A + "recipe = 'digit'": "did you mean digits?",
    TOP + A + "settings = {epoch = 3}": "no setting is called 'epoch'; did you mean epochs?",
    TOP + A + "settings = {epochs = 'x'}": "epochs is 'x'; it must be a whole number",
    TOP + A + "settings = {epochs = 0}": "epochs is 0; it must be from 1",
    TOP + A + "settings = {width = nan}": "width is nan",
    TOP + A + "settings = {learning_rate = 1e400}": "learning_rate is inf",
    TOP + A + "settings = {batch_norm = 1}": "batch_norm is 1; it must be true or false",
    TOP + A + "settings = {init = 'hee'}": "init has 'hee'; there are he, glorot, normal, normal-literal",
    TOP + A + "settings = {schedule = 'linear'}": "schedule has 'linear'; there are plateau, steps, cosine",
    TOP
    + A
    + "settings = {scale = 40}": "train_scale is not one of the settings; say it by train_scale in [[train]]",
    TOP + A + "name = '../A'": "name is '../A'; it becomes a folder's",
    TOP + A + A: "[[train]] 1 and [[train]] 2 both make runs called 'A'; give one of them another name",
    TOP + D + "grow_from = 'B'": "D starts from 'B', and no [[train]] makes runs of that name",
    TOP + D + "from = 'D'": "D starts from D: a circle, so none can start",
    TOP + D + "from = 'x'\n" + D + "name = 'x'\nfrom = 'D'": "D starts from x starts from D: a circle",
    TOP + A + D + "grow_from = 'A'\nfrom = 'A'": "D has both grow_from and from",
    TOP + A + D + "from = 'A'": "D starts from A, whose config is A, and its own is D",
    TOP + A + D + "grow_from = 'A'\nsettings = {width = 0.5}": "whose width is 0.125, and its own is 0.5",
    TOP + A + D + "grow_from = 'A'\nseeds = [0, 1]": "D with seed 1 starts from A with that seed, which A lacks",
    TOP + D + "[[train]]\nnetworks = 'E'\ngrow_from = 'D'": "E grows from D, which is of configuration D",
    TOP + A + "[[train]]\nnetworks = 'B-5x5'\ngrow_from = 'A'": "B-5x5 has no layers of net A's shapes",
    TOP + A + "[[test]]\nnetworks = 'B'": "[[test]] 1: no [[train]] makes runs called 'B'",
    TOP + A + "[[test]]\nviews = 'dens'": "centre, ten; did you mean dense?",
    TOP + A + "[[test]]\nscales = 'two'": "scales has 'two'; there are one, three",
    TOP + A + "[[test]]\nscales = [31, 36]": "Q of A is 31, 36; 31 is smaller than its window of 32 pixels",
    TOP[:-2] + "5\n" + A + "[[test]]\nscales = 'three'": "5 pixels around its S of 36; 31 is smaller",
    TOP + A + "[[test]]\nscales = []": "scales is []",
    TOP + A + "[[fuse]]\nnetworks = 'A'": "[[fuse]] 1: a fusion takes two networks or more, and here is A alone",
    TOP + A + "[[fuse]]\nnetworks = ['A', 'E']": "[[fuse]] 1: no [[train]] makes runs called 'E'",
    TOP + A + D + "seeds = 1\n[[fuse]]\nnetworks = ['A', 'D']": "A+D: no seed is one of all its networks",
    TOP + A + D + "[[fuse]]\nnetworks = ['A', 'D']\n" * 2: "two [[fuse]] are called 'A+D'",
    "reach = 0\n" + A: "reach is 0; it must be at least 1 pixel",
    "size = {train = 1}\n" + A: "[size] takes train, test and classes",
    "test_precision = 'float16'\n" + A: "test_precision has 'float16'",
}


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_sentence(text):
    with pytest.raises(UsageError) as error:
        read(text)
    assert MISTAKES[text] in str(error.value)
    assert str(error.value).startswith("study.toml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["[[train]]", TOP + A + A])
def test_nothing_is_written_for_a_mistake(text, tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["study", str(tmp_path / "wrong.toml"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("verydeep: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study"], "a study needs a folder: give --out"),
        (["study", "--out", "OUT"], "a study needs a description: give FILE"),
        (["study", "digits", "OUT"], "OUT is said by --out: `verydeep study digits --out OUT`"),
        (["study", "--report", "OUT"], "a study needs a folder: give --out"),
        (["study", "digit", "--out", "OUT"], "digit does not exist; give a study's TOML file"),
        (["study", "digits", "--out", "OUT", "--processes", "0"], "--processes is 0"),
        (["study", "digits", "--out", "OUT", "--processes", "2", "--launch", "torchrun"], "cannot be combined"),
        (["study", "digits", "--out", "OUT", "--launch", "'"], "is not a command"),
        (["study", "digits", "--out", "OUT", "--speed", "0"], "--speed is 0"),
        (["study", "imagenet", "--out", "OUT"], "give it by --data"),
        (["study", "--report", "--out", "OUT"], "OUT has no study.toml"),
        (["study", "--report", "--out", "OUT", "--dry-run"], "--report runs nothing"),
    ],
)
def test_a_wrong_request(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_right(name):
    description = parse(read_text(name), name)
    assert len(make_workflow(description).steps) > 10
    configurations = {training.recipe.config for training in description.trainings.values()}
    if name != "photos":
        assert configurations == {"A", "A-LRN", "B", "C", "D", "E", "B-5x5"}


def test_the_papers_rules_of_scales():
    description = parse(read_text("imagenet"), "imagenet")
    d, d384, jittered = (description.trainings[name] for name in ("D", "D-384", "D-jittered"))
    assert d.test_scales("one", 32) == (256,)
    assert d.test_scales("three", 32) == (224, 256, 288)
    assert d384.test_scales("three", 32) == (352, 384, 416)
    assert jittered.test_scales("one", 32) == (384,)
    assert jittered.test_scales("three", 32) == (256, 384, 512)
    assert (d384.start_from, jittered.start_from, d384.recipe.learning_rate) == ("D", "D-384", 1e-3)


def test_those_that_others_start_from_come_first():
    text = TOP + "[[train]]\nnetworks = 'E'\ngrow_from = 'A'\n" + D + "grow_from = 'A'\n" + A
    assert list(read(text).trainings) == ["A", "E", "D"]


SCALARS = (
    st.none().map(lambda _: "true")
    | st.integers(-5, 10**20).map(str)
    | st.sampled_from(
        [
            "'A'",
            "'D'",
            "'*'",
            "'three'",
            "'{network}'",
            "nan",
            "inf",
            "[]",
            "{}",
            "[1, 'A']",
            "['A', 'D']",
            "1979-05-27",
            "''",
        ]
    )
)
KEYS = st.sampled_from(
    [
        "networks",
        "name",
        "scale",
        "grow_from",
        "from",
        "recipe",
        "settings",
        "seeds",
        "views",
        "scales",
        "reach",
        "x",
    ]
)
HEADS = st.sampled_from(["[[train]]", "[[test]]", "[[fuse]]", "[settings]", "[size]", "[train]", "['x y']"])
LINES = st.lists(HEADS | st.builds("{} = {}".format, KEYS, SCALARS), max_size=12)


@given(LINES.map("\n".join) | st.text(max_size=60))
@settings(max_examples=400)
def test_any_text_is_a_study_or_one_sentence(text):
    try:
        description = read(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        make_workflow(description)


def test_precisions_are_those_of_evaluate():
    assert get_args(PrecisionName) == PRECISIONS
