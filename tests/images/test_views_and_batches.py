"""Training's views against crops of the rescaled image; batches that depend on seed and step alone."""

from __future__ import annotations

from collections import Counter
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_images import class_folders, cut, save, smooth

from verydeep.errors import DataError, ImageError, UsageError
from verydeep.images.batches import Batch, TrainingBatches, feed
from verydeep.images.decode import MAX_PIXELS
from verydeep.images.geometry import rescaled_size
from verydeep.images.image_set import Arrays, Files, ImageSet
from verydeep.images.in_memory import keep_in_memory
from verydeep.images.sources import open_data
from verydeep.images.views import TrainingView, ViewDraws, mirrored, rescale
from verydeep.plan import GREATEST_SCALE

UNIFORM = st.floats(0, 1, exclude_max=True)


def one_draw(scale: int, across: float, down: float, mirrored: bool = False) -> ViewDraws:
    return ViewDraws(
        np.array([scale]), np.array([across]), np.array([down]), np.array([mirrored]), np.zeros((1, 3))
    )


def places_of(side: int) -> np.ndarray:
    """An image that tells in red and green which column and row a pixel is in."""
    rows, columns = np.mgrid[:side, :side].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1)


# Views


@given(st.integers(36, 60), st.integers(36, 60), UNIFORM, UNIFORM, st.booleans(), st.booleans())
def test_a_view_of_an_image_at_scale_is_a_window_of_it(width, height, across, down, mirrored, in_memory):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = min(width, height)
    image = pixels if in_memory else Image.fromarray(pixels)
    view = TrainingView((scale, scale), 32).make(image, one_draw(scale, across, down, mirrored), 0)
    left, top = int(across * (width - 31)), int(down * (height - 31))
    window = pixels[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(view, window[:, ::-1] if mirrored else window)


@pytest.mark.parametrize("scale", [64, 100, 224, 256, 400])
@pytest.mark.parametrize(("across", "down"), [(0, 0), (0.5, 0.25), (1 - 1e-9, 1 - 1e-9)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_view_is_near_to_a_crop_of_the_rescaled_image(photographs, scale, across, down, in_memory):
    for pixels in photographs:
        image = Image.fromarray(pixels)
        view = TrainingView((scale, scale), 64).make(
            pixels if in_memory else image, one_draw(scale, across, down), 0
        )
        whole = np.asarray(rescale(image, scale))
        left, top = int(across * (whole.shape[1] - 63)), int(down * (whole.shape[0] - 63))
        window = whole[top : top + 64, left : left + 64].astype(float)
        # Cutting first leaves the filter without the pixels beyond the window's edge, and no more than that.
        assert np.abs(view - window).mean() < 0.7
        assert np.abs(view - window)[4:-4, 4:-4].max() <= 2
        # A pixel to the side it would be far off.
        assert np.abs(np.roll(view, 1, axis=1) - window).mean() > 3 * np.abs(view - window).mean()


def test_a_mirrored_view_is_the_mirror_image(photographs):
    view = TrainingView((100, 100), 96)
    plain, mirror = (view.make(photographs[0], one_draw(100, 0.3, 0.7, flag), 0) for flag in (False, True))
    np.testing.assert_array_equal(mirror, plain[:, ::-1])
    assert (mirror != plain).any()
    np.testing.assert_array_equal(mirrored(np.stack([plain, mirror])), np.stack([mirror, plain]))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(32, 80), UNIFORM, UNIFORM)
def test_every_image_gives_a_whole_view(width, height, scale, across, down):
    view = TrainingView((scale, scale), 32).make(
        Image.new("RGB", (width, height)), one_draw(scale, across, down), 0
    )
    assert view.shape == (32, 32, 3)
    assert view.dtype == np.uint8


def test_a_long_and_narrow_image_is_cut_without_being_rescaled_whole():
    pixels = np.zeros((1, 60_000, 3), np.uint8)  # at this scale 13,440,000 x 224
    assert TrainingView((224, 224), 224).make(pixels, one_draw(224, 0.9, 0), 0).shape == (224, 224, 3)
    with pytest.raises(ImageError, match="60000x1 pixels would be 13440000x224"):
        rescale(Image.fromarray(pixels), 224)


def test_draws_cover_their_ranges():
    draws = TrainingView((40, 44), 32).draw(np.random.default_rng(0), 20_000)
    scales, counts = np.unique(draws.scale, return_counts=True)
    assert scales.tolist() == [40, 41, 42, 43, 44]
    assert counts.min() > 3700
    assert abs(draws.mirrored.mean() - 0.5) < 0.02
    for uniform in (draws.across, draws.down):
        assert uniform.min() >= 0
        assert uniform.max() < 1
        assert np.histogram(uniform, 10, (0, 1))[0].min() > 1800
    assert abs(np.corrcoef(draws.across, draws.down)[0, 1]) < 0.03


def test_views_cover_every_place_of_the_image():
    view = TrainingView((36, 36), 32)
    draws = view.draw(np.random.default_rng(0), 1000)
    views = [view.make(places_of(36), draws, number) for number in range(1000)]
    corners = {(int(pixels[0].min(0)[0]), int(pixels[0, 0, 1])) for pixels in views}
    assert corners == {(left, top) for left in range(5) for top in range(5)}


def test_nothing_is_mirrored_unless_wanted():
    draws = TrainingView((36, 36), 32, mirror=False).draw(np.random.default_rng(0), 1000)
    assert not draws.mirrored.any()
    assert draws.mirrored.dtype == np.bool_


@pytest.mark.parametrize("scale", [(31, 31), (31, 64), (40, 36), (0, 0)])
def test_a_scale_that_holds_no_window_is_refused(scale):
    said = rf"`train_scale` is {scale[0]}:{scale[1]}; it must be at least .* 32 pixels"
    with pytest.raises(UsageError, match=said):
        TrainingView(scale, 32)


def test_the_greatest_scale_is_that_of_the_largest_image():
    assert isqrt(MAX_PIXELS) == GREATEST_SCALE
    with pytest.raises(UsageError, match=f"`train_scale` has the scale {GREATEST_SCALE + 1}; the greatest is"):
        TrainingView((32, GREATEST_SCALE + 1), 32)


# Batches


def numbered(count: int, side: int = 36) -> ImageSet:
    """Images in memory whose pixels and labels are their numbers."""
    arrays = tuple(np.full((side, side, 3), number, np.uint8) for number in range(count))
    names = tuple(str(number) for number in range(count))
    return ImageSet(names, np.arange(count), names, Arrays(arrays))


def shown(batch: Batch) -> list[int]:
    """Numbers of the images in a batch of `numbered` ones, by their pixels."""
    assert (batch.pixels == batch.pixels[:, :1, :1, :1]).all()
    return batch.pixels[:, 0, 0, 0].tolist()


def assert_same(one: Batch, other: Batch) -> None:
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.unreadable == other.unreadable


@pytest.fixture
def on_disk(tmp_path) -> ImageSet:
    """Ten images; the view below shows them at other scales than they have."""
    return open_data(str(class_folders(tmp_path, {"cat": 6, "dog": 4}))).all


JITTERED = TrainingView((40, 60), 32)


def test_a_batch_is_a_function_of_seed_and_step(on_disk):
    one, other = (TrainingBatches(on_disk, JITTERED, 4, seed=5) for _ in range(2))
    forwards = [one[step] for step in range(6)]
    backwards = [other[step] for step in reversed(range(6))][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        assert_same(first, second)
    assert (one[0].pixels != one[1].pixels).any()
    assert (one[0].pixels != TrainingBatches(on_disk, JITTERED, 4, seed=6)[0].pixels).any()


def test_images_in_memory_give_the_same_batches(on_disk):
    view = TrainingView((36, 36), 32)  # the scale they have
    kept, _ = keep_in_memory(on_disk, 36)
    assert_same(TrainingBatches(kept, view, 4, seed=0)[3], TrainingBatches(on_disk, view, 4, seed=0)[3])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_thread_and_worker_processes_feed_the_same_batches(on_disk):
    batches = TrainingBatches(on_disk, JITTERED, 4, seed=5)
    random_state = torch.get_rng_state()
    wanted = [batches[step] for step in range(3, 9)]
    for num_workers in (0, 2):
        fed = list(feed(batches, 3, 9, num_workers))
        assert len(fed) == 6
        for one, other in zip(fed, wanted, strict=True):
            assert_same(one, other)
    # Dropout draws from it: it must not matter how often batches were asked for, and in which way.
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("num_workers", [None, 0])
def test_feeding_nothing_and_stopping_early(num_workers):
    batches = TrainingBatches(numbered(8), JITTERED, 4, seed=0)
    assert list(feed(batches, 5, 5, num_workers)) == []
    for number, batch in enumerate(feed(batches, 2, 1000, num_workers)):
        assert_same(batch, batches[2 + number])
        if number == 3:
            break


@settings(max_examples=30)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_shows_each_image_at_most_once(count, batch_size, seed):
    batches = TrainingBatches(numbered(count), TrainingView((36, 36), 32), batch_size, seed)
    for epoch in (0, 3):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        numbers = []
        for step in steps:
            batch = batches[step]
            assert len(batch.labels) == min(batch_size, count)
            assert shown(batch) == batch.labels.tolist()
            numbers += shown(batch)
        assert len(set(numbers)) == len(numbers)
        assert count - len(numbers) < batch_size


def test_another_epoch_is_in_another_order():
    batches = TrainingBatches(numbered(50), TrainingView((36, 36), 32), 50, seed=0)
    orders = [shown(batches[epoch]) for epoch in range(3)]
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != list(range(50))


def test_an_image_is_shown_in_another_view_each_time():
    images = ImageSet(("a",), np.array([0]), ("a",), Arrays((places_of(36),)))
    batches = TrainingBatches(images, TrainingView((36, 36), 32), 1, seed=0)
    views = {batches[step].pixels.tobytes() for step in range(1000)}
    assert len(views) == 5 * 5 * 2


def test_what_an_epoch_leaves_out_is_shown_in_another():
    batches = TrainingBatches(numbered(10), TrainingView((36, 36), 32), 4, seed=0)
    count = Counter(number for step in range(2 * 40) for number in shown(batches[step]))
    assert min(count[number] for number in range(10)) > 20


# What cannot be read


def test_the_next_image_of_the_order_stands_in(on_disk):
    whole = TrainingBatches(on_disk, JITTERED, 5, seed=1)
    order = np.random.default_rng([1, 0, 0]).permutation(10)  # as the documented streams are drawn
    assert whole[0].labels.tolist() == on_disk.labels[order[:5]].tolist()
    cut(on_disk.source.paths[order[2]])
    batch = TrainingBatches(on_disk, JITTERED, 5, seed=1)[0]
    assert [image.name for image in batch.unreadable] == [on_disk.names[order[2]]]
    assert batch.unreadable[0].reason.startswith(f"{on_disk.source.paths[order[2]]}: damaged")
    assert batch.labels.tolist() == on_disk.labels[order[[0, 1, 3, 3, 4]]].tolist()
    for place in (0, 1, 3, 4):
        np.testing.assert_array_equal(batch.pixels[place], whole[0].pixels[place])
    draws = JITTERED.draw(np.random.default_rng([1, 1, 0]), 5)
    stand_in = on_disk.source.read(int(order[3]), int(draws.scale[2]))
    np.testing.assert_array_equal(batch.pixels[2], JITTERED.make(stand_in, draws, 2))


def test_the_last_of_the_order_is_replaced_by_the_first(on_disk):
    order = np.random.default_rng([1, 0, 0]).permutation(10)
    cut(on_disk.source.paths[order[9]])
    batch = TrainingBatches(on_disk, JITTERED, 5, seed=1)[1]
    assert batch.labels[4] == on_disk.labels[order[0]]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_worker_processes_tell_what_cannot_be_read(on_disk):
    cut(on_disk.source.paths[7])
    batches = TrainingBatches(on_disk, JITTERED, 10, seed=1)
    fed = list(feed(batches, 0, 2, num_workers=1))
    for step, batch in enumerate(fed):
        assert_same(batch, batches[step])
        assert {image.name for image in batch.unreadable} == {on_disk.names[7]}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_nothing_that_can_be_read_is_one_sentence(on_disk, num_workers):
    for path in on_disk.source.paths:
        path.write_bytes(b"")
    batches = TrainingBatches(on_disk, JITTERED, 4, seed=0)
    with pytest.raises(DataError) as caught:
        list(feed(batches, 0, 3, num_workers))
    assert str(caught.value) == "none of the training images can be read; replace them, or add images"


def test_no_images_at_all_are_refused(on_disk):
    nothing = ImageSet((), np.empty(0, np.int64), ("cat", "dog"), Files(()))
    with pytest.raises(DataError, match="no images to train on"):
        TrainingBatches(nothing, JITTERED, 4, seed=0)


def test_a_jpeg_far_larger_than_the_scale_is_decoded_smaller(tmp_path):
    path: Path = save(tmp_path / "a.jpg", smooth(400, 360), quality=95)
    batch = TrainingBatches(ImageSet(("a",), np.array([0]), ("a",), Files((path,))), JITTERED, 1, seed=0)[0]
    draws = JITTERED.draw(np.random.default_rng([0, 1, 0]), 1)
    whole = JITTERED.make(Image.fromarray(smooth(400, 360)), draws, 0)
    assert rescaled_size(400, 360, int(draws.scale[0]))[1] <= 60
    assert np.abs(batch.pixels[0].astype(float) - whole).mean() < 3
