"""A loaded model: sent to other processes, shown anything that is an image, and printed."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import pickle
import shutil
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep
from verydeep.api import predict as predict_module
from verydeep.api.new import new
from verydeep.errors import ImageError, ModelError, UsageError, VerydeepError
from verydeep.evaluation.ranking import Prediction, Ranking, Rankings
from verydeep.inference.native import NativeEngine
from verydeep.linear.classifier import Classifier, FeatureSpec, weights_digest, write_classifier
from verydeep.model import Model
from verydeep.results import Result
from verydeep.run_folder import read_model

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    new("A", path, width=0.05, num_classes=5, window=32)
    return path


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("again", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_a_copy_of_a_model_answers_the_same(run, engine, again):
    model = verydeep.load(run, engine=engine, threads=1)
    other = again(model)
    assert type(other) is Model
    assert (other.name, other.class_names) == (model.name, model.class_names)
    np.testing.assert_array_equal(other.posterior([IMAGE]), model.posterior([IMAGE]))


def test_a_model_is_sent_to_a_spawned_process():
    model = verydeep.load("cifar10", threads=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(model.posterior, [IMAGE]).result(timeout=60)
    np.testing.assert_array_equal(there, model.posterior([IMAGE]))


def test_a_model_of_a_relative_path_is_found_from_another_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(verydeep.load("run"))
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).posterior([IMAGE]).shape == (1, 5)


def test_what_was_said_of_other_weights_is_said_again(run, tmp_path, monkeypatch):
    """Weights of another library, whose preprocessing and class names the caller gave."""
    from safetensors.numpy import save_file

    save_file(read_model(run)[1], tmp_path / "bare.safetensors")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    monkeypatch.chdir(tmp_path)
    model = verydeep.load("bare.safetensors", preprocessing="oxford", class_names="names.txt")
    pickled = pickle.dumps(model)
    monkeypatch.chdir("/")
    other = pickle.loads(pickled)
    assert other.config == model.config
    np.testing.assert_array_equal(other.posterior([IMAGE]), model.posterior([IMAGE]))


def test_a_classifier_beside_the_model_is_sent_too(run):
    names, weights = ("left", "right"), np.eye(2, 205, dtype=np.float32)
    described = FeatureSpec(scales=(32,))
    network = weights_digest(read_model(run)[1])
    classifier = Classifier(
        described=described,
        class_names=names,
        sharpness=1.0,
        facts={},
        network=network,
        weights=weights,
        bias=weights[:, 0],
    )
    write_classifier(run, classifier)
    model = verydeep.load(run)
    other = pickle.loads(pickle.dumps(model))
    assert other.class_names == names
    np.testing.assert_array_equal(other.posterior([IMAGE]), model.posterior([IMAGE]))


def test_taps_of_the_native_engine_are_sent_too(run):
    taps = verydeep.features(run, ["relu4_1"], engine="native")
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(taps))(IMAGE[None])["relu4_1"], taps(IMAGE[None])["relu4_1"]
    )


def test_weights_that_have_changed_are_not_taken_for_the_same(run):
    pickled = pickle.dumps(verydeep.load(run, engine="native"))
    shutil.rmtree(run)
    new("A", run, width=0.05, num_classes=5, window=32, seed=1)
    with pytest.raises(ModelError, match="other weights than when the model was opened"):
        pickle.loads(pickled)


def test_a_model_whose_file_has_gone_says_so_before_it_is_sent(run):
    model = verydeep.load(run, engine="native")
    shutil.rmtree(run)
    with pytest.raises(ModelError, match="is gone"):
        pickle.dumps(model)
    assert copy.deepcopy(model).predict(IMAGE) == model.predict(IMAGE)


def test_an_engine_of_weights_in_memory_says_why_it_is_not_pickled(run):
    with pytest.raises(VerydeepError, match="in memory alone"):
        pickle.dumps(NativeEngine(*read_model(run)))


def kinds_of_image(folder):
    """The same image in every form that is taken."""
    Image.fromarray(IMAGE).save(folder / "a.png")
    content = (folder / "a.png").read_bytes()
    return {
        "path": folder / "a.png",
        "text": str(folder / "a.png"),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "buffer": io.BytesIO(content),
        "Pillow": Image.fromarray(IMAGE),
        "array": IMAGE,
        "read-only": np.frombuffer(IMAGE.tobytes(), np.uint8).reshape(IMAGE.shape),
        "strided": np.repeat(IMAGE, 2, axis=1)[:, ::2],
    }


def test_every_form_of_an_image_is_taken_alone_and_in_a_list(run, tmp_path):
    model = verydeep.load(run)
    wanted = model.predict(IMAGE, top=2)
    kinds = kinds_of_image(tmp_path)
    for kind, image in kinds.items():
        assert model.predict(image, top=2) == wanted, kind
    kinds = kinds_of_image(tmp_path)
    assert model.predict(list(kinds.values()), top=2) == [wanted] * len(kinds)
    with (tmp_path / "a.png").open("rb") as file:
        assert model.predict(file, top=2) == wanted
    assert model.predict(iter([IMAGE]), top=2) == model.predict(IMAGE[None], top=2) == [wanted]
    assert model(IMAGE, 2) == wanted
    assert model.predict([]) == []
    np.testing.assert_array_equal(
        model.score_map(tmp_path / "a.png").posteriors, model.score_map(IMAGE).posteriors
    )


def test_grey_arrays_are_grey_images(run):
    model = verydeep.load(run)
    grey = IMAGE[..., 0]
    wanted = model.predict(Image.fromarray(grey))
    assert model.predict(grey) == model.predict(grey[..., None]) == wanted


class NotAnImage:
    """Whose type a message names."""


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "empty file"),
        (b"hello, this is text\n", "a text file"),
        (io.StringIO("text"), 'opened as text; open it with mode "rb"'),
        (io.BytesIO(), "been read to its end"),
        (NotAnImage(), "is a NotAnImage; give a path, bytes"),
        (7, "is a int; give a path, bytes"),
        (None, "is a NoneType; give a path, bytes"),
        (IMAGE / 255, r"shape \(40, 50, 3\) and type float64; it must be uint8"),
        (IMAGE.transpose(2, 0, 1), r"shape \(3, 40, 50\)"),
        (IMAGE[:0], r"shape \(0, 50, 3\)"),
        (np.zeros((2, 2, 4), np.uint8), r"shape \(2, 2, 4\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        ("/nowhere/a.png", "/nowhere/a.png: no such file"),
    ],
)
def test_what_is_no_image_is_said_in_a_sentence(run, image, said):
    model = verydeep.load(run)
    with pytest.raises(ImageError, match=said):
        model.predict(image)
    with pytest.raises(ImageError, match=said):
        model.predict([IMAGE, image])


def test_a_message_about_one_of_several_says_which(run):
    model = verydeep.load(run)
    for wrong in (b"hello", IMAGE / 255, IMAGE.tolist(), Image.new("F", (4, 4), float("nan"))):
        with pytest.raises(ImageError, match=r"images\[2\]"):
            model.predict([IMAGE, IMAGE, wrong])


def test_one_image_has_one_row_as_in_a_list(run):
    model = verydeep.load(run)
    for one in (IMAGE, Image.fromarray(IMAGE)):
        assert np.array_equal(model.posterior(one), model.posterior([one]))
    with pytest.raises(ImageError, match=r"nothing\.png"):
        model.posterior("nothing.png")
    with pytest.raises(UsageError, match="`top` is 0"):
        model.predict(IMAGE, top=0)
    file = io.BytesIO()
    file.close()
    with pytest.raises(ImageError, match="closed file"):
        model.predict(file)


def test_a_list_is_predicted_in_batches(run, monkeypatch):
    """As its posteriors are: images of one shape are shown to the engine together."""
    model = verydeep.load(run)
    batches = []
    shown = model.engine.score_maps
    monkeypatch.setattr(model.engine, "score_maps", lambda images: batches.append(len(images)) or shown(images))
    rankings = model.predict([IMAGE] * 40)
    assert max(batches) == 40
    assert len(rankings) == 40


def test_answers_are_short_to_look_at_and_lists_for_programs(run):
    model = verydeep.load(run)
    one, many = model.predict(IMAGE, top=3), model.predict([IMAGE] * 1000, top=3)
    assert isinstance(one, list)
    assert one[0] == (one[0].class_name, one[0].probability)
    assert json.loads(json.dumps(many)) == [[list(prediction) for prediction in one]] * 1000
    assert len(repr(one).splitlines()) == 3
    assert one[0].class_name in repr(one)
    assert f"{one[0].probability:.2%}" in repr(one)
    assert repr(many).splitlines()[-1] == "... and 980 more"
    for shown in (one, many, model, many[0]):
        assert len(repr(shown)) < 2000
        assert shown._repr_html_().count("<table>") == 1
    assert "<b>" not in Ranking([Prediction("<b>", 1.0)])._repr_html_()
    assert repr(Rankings()) == repr(Ranking()) == ""


def test_a_model_tells_what_it_is(run):
    told = repr(verydeep.load(run, engine="native"))
    assert told.startswith("<verydeep.Model")
    for fact in (
        str(run),
        "configuration: A",
        "width: 0.05",
        "32 pixels",
        "5 (0, 1, 2 and 2 more)",
        "engine: native",
    ):
        assert fact in told
    assert "relu4_1" in repr(verydeep.features(run, ["relu4_1"], engine="native"))


def test_a_score_map_shows_itself(run):
    mapped = verydeep.load(run).score_map(IMAGE)
    assert repr(mapped).startswith(
        "<ScoreMap of 80x64 pixels: 17 rows and 21 columns of windows of 32 pixels, one every 4"
    )
    with Image.open(io.BytesIO(mapped._repr_png_())) as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == mapped.draw().size


@dataclass(frozen=True, repr=False)
class Long(Result):
    lines: int

    def __str__(self) -> str:
        return "\n".join(map(str, range(self.lines)))


def test_a_long_result_is_cut_where_it_is_only_looked_at():
    assert repr(Long(40)) == str(Long(40))
    assert repr(Long(1000)).splitlines()[39:] == ["39", "... and 960 more lines: print() shows them"]
    assert "960 more lines" in Long(1000)._repr_html_()
    assert len(str(Long(1000)).splitlines()) == 1000


def test_score_maps_are_named_after_image_and_class_and_never_collide(run, tmp_path, monkeypatch):
    """The same name in two folders, in another case, with another suffix; with letters that mean something."""
    monkeypatch.setattr("verydeep.evaluation.score_map.SHOWN_SIDE", 32)  # small drawings are sooner written
    names = ["a/0.png", "b/0.png", "b/0.jpg", "a/X.png", "b/x.png", "a/0-1.png", "a/con.png", "a/-rf.png"]
    names += ["a/é.png", "b/e\u0301.png", 'a/new\nline:*?"<>|.png', f"a/{'ö' * 120}.png"]
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE).save(path)
    before = {path: path.read_bytes() for path in (tmp_path / "images").rglob("*.*")}
    answers = verydeep.predict(run, tmp_path / "images", top=1, maps=tmp_path / "maps", map_scale=32)
    verydeep.predict(run, tmp_path / "images" / "a", top=1, maps=tmp_path / "images" / "a", map_scale=32)
    assert {path: path.read_bytes() for path in before} == before
    best = answers.images[0][1][0].class_name
    drawn = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert len(drawn) == len(answers) == len(names)
    assert len({unicodedata.normalize("NFD", name).casefold() for name in drawn}) == len(names)
    for name in drawn:
        assert f"-{best}" in name
        assert not set(name) & set('\n:*?"<>|/\\')
        assert len(name.encode()) <= 255
        assert name[0] not in "-."


def test_a_score_map_does_not_replace_what_it_was_not_asked_about(run, tmp_path, monkeypatch):
    monkeypatch.setattr("verydeep.evaluation.score_map.SHOWN_SIDE", 32)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    best = verydeep.predict(run, tmp_path / "a.png", top=1).images[0][1][0].class_name
    Image.fromarray(IMAGE).save(tmp_path / f"a-{best}.png")  # the user's own
    before = (tmp_path / f"a-{best}.png").read_bytes()
    for _ in range(2):
        verydeep.predict(run, tmp_path / "a.png", maps=tmp_path, map_scale=32)
        assert {path.name for path in tmp_path.glob("*.png")} == {"a.png", f"a-{best}.png", f"a-{best}-2.png"}
        assert (tmp_path / f"a-{best}.png").read_bytes() == before


def test_an_image_without_a_score_map_is_named_and_keeps_its_answer(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("verydeep.evaluation.score_map.SHOWN_SIDE", 32)
    draw = predict_module._draw_maps
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "gone"):
        Image.fromarray(IMAGE).save(images / f"{name}.png")
    Image.new("RGB", (11000, 1)).save(images / "narrow.png")

    def draw_later(*arguments):
        (images / "gone.png").unlink()
        draw(*arguments)

    monkeypatch.setattr(predict_module, "_draw_maps", draw_later)
    answers = verydeep.predict(run, images, maps=tmp_path / "maps", map_scale=128)
    assert [Path(name).stem for name, _ in answers] == ["a", "gone", "narrow"]
    gone, narrow, count = capsys.readouterr().err.splitlines()
    assert gone == f"no score map of {images / 'gone.png'}: no such file"
    assert narrow.startswith(f"no score map of {images / 'narrow.png'}: 11000x1 pixels would be")
    assert count == f"1 score map in {tmp_path / 'maps'}"
