"""Dense testing against the same made with torchvision, and what it must not depend on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.metrics import confusion_matrix, top_k_accuracy_score
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from verydeep.api.new import new
from verydeep.chunks.plan import by_shape
from verydeep.cli import main
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation import evaluate as evaluate_module
from verydeep.evaluation.error_rates import error_rates
from verydeep.evaluation.evaluate import Member, evaluate, scoring_of
from verydeep.evaluation.posterior import softmax
from verydeep.evaluation.protocols import PROTOCOLS, Dense, MultiCrop, protocols_of
from verydeep.evaluation.results import read_result, write_result
from verydeep.evaluation.score_map import score_map
from verydeep.images.geometry import centre_offset, grid_offsets, rescaled_size
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.inference import open_engine
from verydeep.inference.torch_engine import TorchEngine
from verydeep.model import load

WINDOW = 64
CLASSES = 7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "D"
    new("D", path, width=0.1, num_classes=CLASSES, window=WINDOW)
    return path


@pytest.fixture(scope="module")
def engine(run) -> TorchEngine:
    return open_engine(run, device="cpu", engine="torch")


@pytest.fixture(scope="module")
def images(photographs) -> ImageSet:
    """Pieces of two photographs, of four shapes."""
    boxes = [(0, 0, 200, 120), (50, 60, 170, 300), (300, 100, 420, 220), (200, 10, 600, 250)] * 3
    shifted = [(a + 7 * n, b + 5 * n, c + 7 * n, d + 5 * n) for n, (a, b, c, d) in enumerate(boxes)]
    arrays = tuple(
        np.asarray(Image.fromarray(photographs[number % 2]).crop(box)) for number, box in enumerate(shifted)
    )
    labels = np.arange(len(arrays)) % CLASSES
    names = tuple(f"piece {number}" for number in range(len(arrays)))
    return ImageSet(names, labels, tuple(map(str, range(CLASSES))), Arrays(arrays))


def peer_posteriors(engine: TorchEngine, images: ImageSet, scales, mirror: bool) -> np.ndarray:
    """Section 3.2 with torchvision's transforms and a sequential network, one image at a time, in float64."""
    model = engine.network
    layers: list[nn.Module] = []
    for layer in model.architecture.layers:
        if layer.name.startswith("pool"):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [model.get_submodule(layer.name), nn.ReLU()]
    peer = nn.Sequential(*layers[:-1])
    preprocessing = engine.config.preprocessing
    normalize = v2.Normalize(list(preprocessing.mean), list(preprocessing.deviation))
    posteriors = []
    for number in range(len(images)):
        views = []
        for scale in scales:
            image = v2.functional.resize(Image.fromarray(images.source.read(number)), scale, antialias=True)
            x = normalize(pil_to_tensor(image).float())[None]
            for view in [x, x.flip(3)] if mirror else [x]:
                with torch.inference_mode():
                    views.append(peer(view).double().mean((2, 3)).softmax(1))
        posteriors.append(torch.cat(views).mean(0).numpy())
    return np.stack(posteriors)


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("scales", [(WINDOW,), (70, 96, 130)])
def test_dense_posteriors_are_the_peers(engine, images, scales, mirror):
    ours = evaluate([Member(engine, (Dense(scales, mirror),))], images)
    np.testing.assert_allclose(ours, peer_posteriors(engine, images, scales, mirror), atol=2e-6)
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-12)


def test_crops_are_copied_a_batch_at_a_time(engine, monkeypatch):
    """All crops of a chunk would take grid x grid times its images."""
    stacked = []

    def noted(arrays, *given, **options):
        stacked.append(len(arrays))
        return stack(arrays, *given, **options)

    stack = np.stack
    monkeypatch.setattr(np, "stack", noted)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 72, 80, 3), dtype=np.uint8)
    found = evaluate_module._posteriors_at(engine, MultiCrop((72,), grid=4), list(pixels), 7)
    assert found.shape[0] == 9 and max(stacked) == 7
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "batch_size", [pytest.param(1, marks=pytest.mark.heavy), 2, pytest.param(5, marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("views", PROTOCOLS)
def test_posteriors_do_not_depend_on_batches_or_order(engine, images, views, batch_size):
    """To float32 rounding: a product of another size is summed in another order."""
    tests = [Member(engine, protocols_of(views, (70, 96), mirror=True, grid=2))]
    all_at_once = evaluate(tests, images)
    np.testing.assert_allclose(all_at_once.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(evaluate(tests, images, batch_size=batch_size), all_at_once, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = evaluate(tests, images.select(order.tolist()), batch_size=batch_size)
    np.testing.assert_allclose(shuffled, all_at_once[order], atol=1e-6)


def test_progress_counts_every_image(engine, images):
    counts: list[int] = []
    evaluate([Member(engine, (Dense((70, 96)),))], images, batch_size=2, advance=counts.append)
    assert sum(counts) == len(images)


def test_a_scale_below_the_window_says_what_to_use(engine, images):
    with pytest.raises(UsageError, match="use `scales=64` or more"):
        evaluate([Member(engine, (Dense((96, 32)),))], images)


def crop_posteriors(engine: TorchEngine, images: ImageSet, scale: int, crop) -> np.ndarray:
    """Posteriors by torchvision's crop transform, which gives one or several crops of the resized image."""
    posteriors = []
    for number in range(len(images)):
        image = v2.functional.resize(Image.fromarray(images.source.read(number)), scale, antialias=True)
        crops = crop(image)
        crops = crops if isinstance(crops, (tuple, list)) else [crops]
        maps = engine.score_maps(np.stack([np.asarray(one) for one in crops]))
        posteriors.append(softmax(maps[:, :, 0, 0]).mean(0))
    return np.stack(posteriors)


@pytest.mark.parametrize("scale", [WINDOW, 71, 100])
def test_centre_and_ten_crops_are_torchvisions(engine, images, scale):
    for views, crop in (("centre", v2.CenterCrop(WINDOW)), ("ten", v2.TenCrop(WINDOW))):
        ours = evaluate([Member(engine, protocols_of(views, (scale,), mirror=True))], images)
        np.testing.assert_allclose(ours, crop_posteriors(engine, images, scale, crop), atol=1e-6)


def test_fifty_crops_are_the_grids(engine, images):
    """By slices written out, one image at a time."""

    def crops(image: Image.Image) -> list[np.ndarray]:
        upright = np.asarray(image)
        height, width = upright.shape[0] - WINDOW, upright.shape[1] - WINDOW
        tops, lefts = np.linspace(0, height, 5).round().astype(int), np.linspace(0, width, 5).round().astype(int)
        return [
            pixels[top : top + WINDOW, left : left + WINDOW]
            for pixels in (upright, upright[:, ::-1])
            for top in tops
            for left in lefts
        ]

    ours = evaluate([Member(engine, (MultiCrop((90,)),))], images)
    np.testing.assert_allclose(ours, crop_posteriors(engine, images, 90, crops), atol=1e-6)


def test_means_are_taken_within_a_protocol_first(engine, images):
    both = evaluate([Member(engine, protocols_of("both", (70, 96), mirror=True))], images)
    dense = evaluate([Member(engine, (Dense((70, 96)),))], images)
    crops = evaluate([Member(engine, (MultiCrop((70, 96)),))], images)
    np.testing.assert_allclose(both, (dense + crops) / 2, atol=1e-6)


@given(st.integers(0, 300), st.integers(1, 60), st.integers(1, 9))
def test_grid_covers_corners_and_centre(room, window, count):
    offsets = grid_offsets(room + window, window, count)
    assert len(offsets) == count
    assert offsets == sorted(offsets)
    assert all(0 <= offset <= room for offset in offsets)
    if count > 1:
        assert (offsets[0], offsets[-1]) == (0, room)
    if count % 2:
        assert offsets[count // 2] == centre_offset(room + window, window)
    gaps = np.diff(offsets)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@given(st.lists(st.tuples(st.integers(8, 60), st.integers(8, 60)), max_size=40), st.integers(1, 9), st.booleans())
def test_a_plan_has_every_image_once_and_whole_images_of_one_shape(sizes, batch_size, dense):
    arrays = tuple(np.zeros((height, width, 3), np.uint8) for width, height in sizes)
    names = tuple(map(str, range(len(sizes))))
    images = ImageSet(names, np.zeros(len(sizes), np.int64), ("a",), Arrays(arrays))
    protocol = Dense((32, 48)) if dense else MultiCrop((32, 48))
    plan = by_shape(images, protocol.scales, batch_size, whole=protocol.whole)
    assert sorted(number for chunk in plan for number in chunk.images) == list(range(len(sizes)))
    assert [chunk.number for chunk in plan] == list(range(len(plan)))
    assert all(len(chunk.images) <= batch_size for chunk in plan)
    for chunk in plan if dense else ():
        assert len({rescaled_size(*sizes[number], 48) for number in chunk.images}) == 1


@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_error_rates_are_scikit_learns(num_classes, count, seed):
    random = np.random.default_rng(seed)
    posteriors = softmax(random.normal(size=(count, num_classes)))
    labels = random.integers(0, num_classes, count)
    rates = error_rates(posteriors, labels)
    expected = confusion_matrix(labels, posteriors.argmax(1), labels=np.arange(num_classes))
    assert (rates.confusion == expected).all()
    assert rates.top1_error == pytest.approx(100 * np.mean(posteriors.argmax(1) != labels))
    if num_classes > 5:
        top5 = top_k_accuracy_score(labels, posteriors, k=5, labels=np.arange(num_classes))
        assert rates.top5_error == pytest.approx(100 * (1 - top5))
    else:
        assert rates.top5_error == 0
        assert rates.top_k == num_classes


def test_ties_count_the_first_class_as_better():
    rates = error_rates(np.full((6, 6), 1 / 6), np.arange(6))
    assert rates.top1_error == pytest.approx(100 * 5 / 6)
    assert rates.top5_error == pytest.approx(100 / 6)


def test_score_map_of_one_window_is_its_posterior(engine, photographs):
    window = Image.fromarray(photographs[0]).crop((100, 100, 100 + WINDOW, 100 + WINDOW))
    seen = score_map(engine, window, WINDOW)
    assert seen.posteriors.shape == (CLASSES, 1, 1)
    expected = softmax(engine.score_maps(np.asarray(window)[None])[:, :, 0, 0])
    np.testing.assert_allclose(seen.posteriors[:, 0, 0], expected[0])


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_fine_score_map_is_the_dense_map_of_the_shifted_image(engine, photographs, stride):
    image = Image.fromarray(photographs[0]).crop((0, 0, 170, 133))
    fine = score_map(engine, image, 133, stride)
    assert fine.posteriors.shape[1:] == ((133 - WINDOW) // stride + 1, (170 - WINDOW) // stride + 1)
    np.testing.assert_allclose(fine.posteriors.sum(0), 1, atol=1e-6)
    steps = 32 // stride
    for down, across in ((0, 0), (1 % steps, 0), (steps - 1, steps - 1)):
        shifted = np.asarray(image)[None, down * stride :, across * stride :]
        expected = softmax(np.moveaxis(engine.score_maps(shifted)[0], 0, -1))
        np.testing.assert_allclose(
            np.moveaxis(fine.posteriors[:, down::steps, across::steps], 0, -1), expected, atol=1e-9
        )


def test_score_map_shows_a_class_where_it_is(engine):
    """A map whose only window that says so lies at the lower right is brightest there."""
    posteriors = np.zeros((CLASSES, 3, 3))
    posteriors[0] = 1
    posteriors[:, 2, 2] = np.eye(CLASSES)[3]
    blank = score_map(engine, Image.new("RGB", (128, 128)), 128, 32)
    sheet = np.asarray(replace(blank, posteriors=posteriors).draw(3)).astype(int).sum(-1)
    panel = sheet[16 : 16 + 448, 2 * 16 + 448 : 2 * 16 + 2 * 448]
    assert panel[300:, 300:].mean() > panel[:150, :150].mean() + 100


def test_results_come_back_as_they_were(run, tmp_path, capsys):
    file = tmp_path / "result.npz"
    run_digits = tmp_path / "model"
    new("A", run_digits, width=0.05, num_classes=10, window=32)
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(run_digits),
            "digits",
            "--part",
            "val",
            "--scales",
            "32",
            "40",
            "--json",
            "--out",
            str(file),
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    result = read_result(file)
    assert json.loads(json.dumps(result.to_dict())) == printed
    assert printed["num_images"] == 359
    assert printed["scales"] == [32, 40]
    assert printed["views"] == "dense"
    assert printed["mirror"] is True
    assert printed["seconds"] > 0
    assert 0 <= printed["top5_error"] <= printed["top1_error"] <= 100
    write_result(tmp_path / "again.npz", result)
    again = read_result(tmp_path / "again.npz")
    assert again.facts == result.facts
    assert (again.posteriors == result.posteriors).all()


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_a_result_cut_short_is_refused(tmp_path, keep, engine, images):
    file = tmp_path / "result.npz"
    new("A", tmp_path / "model", width=0.05, num_classes=10, window=32)
    main(["evaluate", str(tmp_path / "model"), "digits", "--out", str(file)])
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="is not a result"):
        read_result(file)


def test_a_loaded_model_answers_for_paths_images_and_arrays(run, photographs, tmp_path):
    model = load(run)
    path = tmp_path / "photograph.png"
    Image.fromarray(photographs[0]).save(path)
    with Image.open(path) as image:
        by_path, by_image, by_array = (model.predict(one, top=3) for one in (path, image, photographs[0]))
    assert by_path == by_image == by_array
    assert len(by_path) == 3
    assert by_path[0].probability >= by_path[1].probability
    assert model.posterior(photographs).shape == (2, CLASSES)
    with pytest.raises(Exception, match="levels of 0 to 255"):
        model.predict(photographs[0].astype(np.float32))


def test_a_mirrored_score_map_is_that_of_the_image_continued_by_its_mirror_image(engine, photographs):
    picture, half = Image.fromarray(photographs[0]).crop((0, 0, 160, 128)), WINDOW // 2
    sheet = Image.new("RGB", (3 * 160, 3 * 128))
    for column in range(3):
        for row in range(3):
            piece = picture if column == 1 else ImageOps.mirror(picture)
            sheet.paste(piece if row == 1 else ImageOps.flip(piece), (column * 160, row * 128))
    sheet = sheet.crop((160 - half, 128 - half, 320 + half, 256 + half))
    whole = score_map(engine, picture, 128, 16, mirrored=True)
    assert whole.posteriors.shape[1:] == (128 // 16 + 1, 160 // 16 + 1)  # windows are centred from edge to edge
    np.testing.assert_allclose(whole.posteriors, score_map(engine, sheet, 192, 16).posteriors, atol=1e-9)
    np.testing.assert_array_equal(whole.pixels, np.asarray(picture))


@pytest.mark.parametrize("size", [(207, 130), (192, 193), (223, 222)])
def test_a_mirrored_score_map_covers_sides_that_are_no_multiple_of_the_stride(engine, size):
    found = score_map(engine, Image.new("RGB", size), min(size), 32, mirrored=True)
    assert np.isfinite(found.spread(found.posteriors[0], size, 1.0)).all()


def test_an_image_that_changed_its_size_since_the_plan_is_scored(engine, photographs):
    """Chunks have images of one shape by the sizes that were looked up."""
    images = [Image.fromarray(photographs[0]).crop((0, 0, *size)) for size in ((100, 80), (90, 80), (100, 80))]
    scoring = scoring_of([Member(engine, protocols_of("dense", (80,), mirror=True))])
    rescaled = [{80: np.asarray(image)} for image in images]
    found = scoring.posteriors(rescaled)
    for row, one in zip(found, rescaled, strict=True):
        np.testing.assert_allclose(row, scoring.posteriors([one])[0], atol=1e-6)


def test_a_mirrored_score_map_is_paler_where_a_window_reaches_beyond_the_image(engine):
    """All of one class: the colour is full in the middle, half as thick at an edge, a quarter in a corner."""
    blank = score_map(engine, Image.new("RGB", (192, 192)), 192, 32, mirrored=True)
    ones = replace(blank, posteriors=np.eye(CLASSES)[3][:, None, None] * np.ones(blank.posteriors.shape))
    sheet = np.asarray(ones.draw(3)).astype(float)
    panel = sheet[16 : 16 + 448, 2 * 16 + 448 : 2 * 16 + 2 * 448]
    strength = (panel - 48).sum(-1) / (panel[224, 224] - 48).sum()  # black in grey is 48
    assert strength[:, 224][[0, -1]] == pytest.approx(0.5, abs=0.02)
    assert strength[0, 0] == pytest.approx(0.25, abs=0.02)


def test_a_score_map_refuses_small_scales_and_other_classes(engine):
    with pytest.raises(UsageError, match="use `scale=64` or more"):
        score_map(engine, Image.new("RGB", (64, 64)), 63)
    for label in ("ship", -1, CLASSES):
        with pytest.raises(UsageError, match="number of a class, 0 to 6"):
            score_map(engine, Image.new("RGB", (64, 64)), 64).draw(label)
