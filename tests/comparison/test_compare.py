"""`verydeep.compare` beside the `lpips` package and our losses on torch, on every kind of pair and file."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from advice import on_page
from PIL import Image
from sample_images import bomb, cut, save, smooth
from torchvision_peer import networks
from without_torch import WITHOUT_TORCH

import verydeep
from verydeep import perceptual
from verydeep.cli import main
from verydeep.comparison import metrics
from verydeep.comparison.work import AllWork
from verydeep.errors import ImageError, ModelError, UsageError
from verydeep.feature_layers import LAYERS
from verydeep.images.drawing import heat_colors
from verydeep.processor import native_module
from verydeep.run_folder import ModelConfig, TrainedOn, write_model
from verydeep.weights.published import PREPROCESSING

pytestmark = pytest.mark.skipif(native_module() is None, reason="built without a C++ compiler")

IMAGENET = PREPROCESSING["torchvision"]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def vgg16() -> tuple[torch.nn.Module, verydeep.VGG]:
    """torchvision's VGG-16 with random weights, and ours with the same."""
    return networks("D", batch_norm=False, width=1.0, with_fc=False)


@pytest.fixture(scope="module")
def model(vgg16, tmp_path_factory) -> Path:
    """The same network as a run folder."""
    folder = tmp_path_factory.mktemp("models") / "vgg16"
    config = ModelConfig(vgg16[1].architecture, IMAGENET, (), TrainedOn((256, 256)))
    write_model(folder, config, {name: tensor.numpy() for name, tensor in vgg16[1].state_dict().items()})
    return folder


@pytest.fixture(scope="module")
def folders(photographs, tmp_path_factory) -> tuple[Path, Path]:
    """Cuts of photographs of several odd sizes, and the same changed in several ways; one is the same."""
    root, random = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    for number in range(8):
        height, width = ((37, 50), (32, 32), (48, 41))[number % 3]
        top, left = random.integers(0, 300, 2)
        cuts = photographs[number % 2][top : top + height, left : left + width]
        noisy = np.clip(cuts + random.normal(0, 20, cuts.shape), 0, 255).astype(np.uint8)
        other = (cuts, noisy, np.roll(cuts, 2, 1), 255 - cuts)[number % 4]
        save(root / "a" / "part" / f"{number}.png", cuts)
        save(root / "b" / "part" / f"{number}.png", other)
    return root / "a", root / "b"


def tensor(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float()


def paths(comparison: verydeep.api.compare.Comparison) -> list[tuple[Path, Path]]:
    return [(Path(first), Path(second)) for first, second, _ in comparison]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_lpips_is_the_packages_to_1e_5(engine, vgg16, model, folders, monkeypatch):
    lpips = pytest.importorskip("lpips")
    with monkeypatch.context() as patch:
        patch.setattr("torchvision.models.vgg16", lambda **options: vgg16[0])
        reference = lpips.LPIPS(net="vgg", verbose=False)
    found = verydeep.compare(*folders, model=model, engine=engine)
    with torch.no_grad():
        wanted = [
            reference(*(tensor(path) / 255 for path in pair), normalize=True).item() for pair in paths(found)
        ]
    assert len(found) == 8 and max(wanted) > 0.1
    assert np.abs(found.distances - wanted).max() < 1e-5
    assert found.distances[[0, 4]].tolist() == [0, 0]  # exactly, of equal images


@pytest.mark.parametrize("metric", ["content", "style"])
def test_content_and_style_are_our_losses(metric, vgg16, model, folders):
    made = {"content": perceptual.ContentLoss, "style": perceptual.StyleLoss}[metric]
    for layers in ((), ("conv1_2", "relu4_2")):
        options = {"preprocessing": IMAGENET, "range": (0, 255), "engine": "torch"}
        loss = made(vgg16[1], layers or LAYERS[metric], **options)
        found = verydeep.compare(*folders, metric=metric, model=model, layers=layers)
        wanted = [loss(*map(tensor, pair)).item() for pair in paths(found)]
        assert min(wanted[1:4]) > 0
        np.testing.assert_allclose(found.distances, wanted, rtol=1e-4)


def test_dists_is_our_loss_and_says_that_torch_computes_it(vgg16, model, folders, capsys):
    pytest.importorskip("DISTS_pytorch")
    loss = perceptual.DISTS(vgg16[1], preprocessing=IMAGENET, range=(0, 255))
    found = verydeep.compare(*folders, metric="dists", model=model)
    assert "dists is computed by torch" in capsys.readouterr().err
    wanted = [loss(*map(tensor, pair)).item() for pair in paths(found)]
    np.testing.assert_allclose(found.distances, wanted, atol=1e-6)
    one = [folders[0] / "part" / f"{number}.png" for number in (0, 3, 6)]
    for number, path in enumerate(one):
        shutil.copy(path, save(folders[0].parent / "c" / f"{number}.png"))
    everything = verydeep.compare(folders[0].parent / "c", metric="dists", model=model, all_pairs=True)
    wanted = [loss(tensor(one[i]), tensor(one[j])).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(everything.distances, wanted, atol=1e-6)


NO_TORCH = WITHOUT_TORCH + "\nassert not {'torch', 'torchvision', 'lpips'} & sys.modules.keys()"


@pytest.mark.parametrize("metric", ["lpips", "content", "style"])
def test_there_is_no_torch_in_the_process(metric, model, folders, tmp_path):
    maps = ["--maps", tmp_path / "maps"] if metric != "style" else []
    words = ["compare", *folders, "--metric", metric, "--model", model, "--page", tmp_path / "x.html", *maps]
    ended = subprocess.run([sys.executable, "-c", NO_TORCH, *map(str, words)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 9


def test_weights_of_another_library_are_converted_once_and_without_torch(vgg16, folders, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "vgg16.pth"
    torch.save({name: one.clone() for name, one in vgg16[0].state_dict().items()}, file)
    words = ["compare", *folders, "--model", file, "--preprocessing", "torchvision"]
    command = [sys.executable, "-c", NO_TORCH, *map(str, words)]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    (kept,) = (tmp_path / "cache" / "verydeep" / "features").iterdir()
    calls = []
    monkeypatch.setattr("verydeep.weights.importing.import_weights", lambda *words: calls.append(words))
    again = verydeep.compare(*folders, model=file, preprocessing="torchvision")
    assert again.exact() == first.stdout.removesuffix("\n")
    assert not calls
    (kept / "model.safetensors").write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert verydeep.compare(*folders, model=file, preprocessing="torchvision").exact() == again.exact()
    file.write_bytes(file.read_bytes()[:1000])  # another file under the same name
    with pytest.raises(verydeep.errors.ModelError):
        verydeep.compare(*folders, model=file, preprocessing="torchvision")


@pytest.fixture(scope="module")
def frames(photographs, tmp_path_factory) -> Path:
    """Eleven images of one size, each a little further to the right, and a copy of the first."""
    folder = tmp_path_factory.mktemp("frames")
    for number in range(11):
        save(folder / f"frame{number}.png", photographs[0][100:132, 50 + 3 * number : 82 + 3 * number])
    shutil.copy(folder / "frame0.png", folder / "frame11.png")
    return folder


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many images each call of the network has computed vectors of."""
    counts: list[int] = []
    vectors = metrics.LayerMetric.vectors

    def counting(self, images):
        counts.append(len(images))
        return vectors(self, images)

    monkeypatch.setattr(metrics.LayerMetric, "vectors", counting)
    return counts


def gigabytes(vectors: float, side: int = 32) -> float:
    """Memory of some LPIPS vectors of square images."""
    size = sum(c * (side >> stage) ** 2 for stage, c in enumerate((64, 128, 256, 512, 512)))
    return 4e-9 * size * vectors


@pytest.fixture(scope="module")
def matrix(model, frames) -> np.ndarray:
    """Distances of all frames, each pair compared alone, by names."""
    names = [f"frame{number}.png" for number in range(12)]
    files = [[np.array(Image.open(frames / name)) for name in names]] * 2
    engine = verydeep.load(model).engine
    grid = np.indices((12, 12)).reshape(2, -1)
    first, second = (np.stack([side[n] for n in numbers]) for side, numbers in zip(files, grid, strict=True))
    return metrics.LPIPS(engine).pairs(first, second)[0].reshape(12, 12)


def in_order(comparison) -> np.ndarray:
    """The matrix of a comparison, its images ordered by the numbers in their names."""
    names = [Path(name).stem for name in comparison.pairs.images.names]
    order = np.argsort([int(name.removeprefix("frame")) for name in names])
    return comparison.matrix()[np.ix_(order, order)]


def test_all_pairs_compute_each_image_once_where_memory_has_room(model, frames, matrix, counted):
    found = verydeep.compare(frames, model=model, all_pairs=True)
    assert len(found) == 66
    np.testing.assert_allclose(in_order(found), matrix, atol=1e-6)
    assert in_order(found)[0, 11] == 0  # exactly, though not the same file
    assert sum(counted) == 12


@pytest.mark.parametrize(
    "room", [pytest.param(8.5, marks=pytest.mark.heavy), 5, pytest.param(2, marks=pytest.mark.heavy), 0.1]
)
def test_larger_sets_are_compared_in_blocks(room, model, frames, matrix, counted):
    found = verydeep.compare(frames, model=model, all_pairs=True, cache=gigabytes(room))
    np.testing.assert_allclose(in_order(found), matrix, atol=1e-6)
    places = max(2, int(room))
    block = places - max(1, places // 4)
    assert sum(counted) == sum(range(12, 0, -block))  # each block, and all behind it


def test_all_pairs_of_two_sets(model, frames, matrix, tmp_path, counted):
    for number in range(4):
        shutil.copy(frames / f"frame{number}.png", save(tmp_path / "a" / f"frame{number}.png"))
    for room, computed in ((100, 16), (3.1, 28)):  # 4 and 12; two blocks of 2, each with the 12
        counted.clear()
        found = verydeep.compare(tmp_path / "a", frames, model=model, all_pairs=True, cache=gigabytes(room))
        names = [Path(name).stem.removeprefix("frame") for name in found.pairs.images.names[4:]]
        np.testing.assert_allclose(found.matrix()[:, np.argsort(list(map(int, names)))], matrix[:4], atol=1e-6)
        assert sum(counted) == computed
    one = verydeep.compare(frames / "frame0.png", frames, model=model, all_pairs=True)
    assert one.matrix().shape == (1, 12)


def test_consecutive_images_are_in_the_order_of_their_numbers_and_computed_once(model, frames, matrix, counted):
    found = verydeep.compare(frames, model=model, consecutive=True)
    names = [(first.stem, second.stem) for first, second in paths(found)]
    assert names == [(f"frame{number}", f"frame{number + 1}") for number in range(11)]
    np.testing.assert_allclose(found.distances, np.diagonal(matrix, 1), atol=1e-6)
    assert sum(counted) == 12


def test_consecutive_images_are_of_one_folder(model, frames, tmp_path):
    """The last of one is not compared with the first of the next, whose name comes between two of another."""
    for number, name in enumerate(("1.png", "2/5.png", "2/11.png", "3.png", "4/1.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(frames / f"frame{number}.png", tmp_path / name)
    found = verydeep.compare(tmp_path, model=model, consecutive=True)
    names = [tuple(str(path.relative_to(tmp_path)) for path in one) for one in paths(found)]
    assert names == [("1.png", "3.png"), ("2/5.png", "2/11.png")]
    alone = [verydeep.compare(*pair, model=model).distances[0] for pair in paths(found)]
    np.testing.assert_allclose(found.distances, alone, atol=1e-6)
    with pytest.raises(UsageError, match="no folder with two images"):
        (tmp_path / "1.png").unlink(), (tmp_path / "2/5.png").unlink()
        verydeep.compare(tmp_path, model=model, consecutive=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.heavy),
        {"all_pairs": True},
        pytest.param({"consecutive": True}, marks=pytest.mark.heavy),
    ],
)
def test_several_processes_give_the_same(options, model, frames, folders, tmp_path, monkeypatch):
    images = [frames] if options else folders
    code = (
        "import sys, verydeep\nfrom verydeep.comparison import work\n"
        "if __name__ == '__main__':\n"
        f"    print(verydeep.compare(*{list(map(str, images))}, model={str(model)!r}, processes=int(sys.argv[1]), "
        f"cache={gigabytes(10)}, **{options}).exact())"
    )
    (tmp_path / "run.py").write_text(code)
    outputs = [
        subprocess.run(
            [sys.executable, tmp_path / "run.py", str(count)], capture_output=True, text=True, check=True
        )
        for count in (1, 2)
    ]
    tables = [[row.split(",") for row in output.stdout.splitlines()] for output in outputs]
    assert len(tables[0]) > 8
    for one, two in zip(*tables, strict=True):
        assert one[:2] == two[:2]
        if one[2] != "distance":
            assert float(one[2]) == pytest.approx(float(two[2]), abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.heavy),
        {"all_pairs": True, "cache": gigabytes(5)},
        pytest.param({"consecutive": True}, marks=pytest.mark.heavy),
    ],
)
def test_an_interrupted_comparison_resumes(options, model, frames, folders, tmp_path, monkeypatch):
    images = [frames] if options else folders
    monkeypatch.setattr("verydeep.comparison.work.CHUNK_IMAGES", 2)
    wanted = verydeep.compare(*images, model=model, **options)
    out = tmp_path / "out.csv"
    write = verydeep.comparison.work.PairParts.write
    written = []

    def write_three(self, chunk, numbers, rows):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(chunk.number)
        write(self, chunk, numbers, rows)

    with monkeypatch.context() as patch:
        patch.setattr("verydeep.comparison.work.PairParts.write", write_three)
        with pytest.raises(KeyboardInterrupt):
            verydeep.compare(*images, model=model, out=out, **options)
    assert len(list((tmp_path / "out.csv.parts").glob("*.npy"))) == 3
    with pytest.raises(UsageError, match="holds finished parts of another, interrupted comparison"):
        verydeep.compare(*images, model=model, out=out, metric="content", **options)
    worked = []
    with monkeypatch.context() as patch:
        for name in ("MatchedWork", "ConsecutiveWork", "AllWork"):
            rows = getattr(verydeep.comparison.work, name).rows
            patch.setattr(
                f"verydeep.comparison.work.{name}.rows",
                lambda self, chunk, images, rows=rows: worked.append(chunk.number) or rows(self, chunk, images),
            )
        found = verydeep.compare(*images, model=model, out=out, **options)
    assert set(written).isdisjoint(worked) and worked
    np.testing.assert_allclose(found.distances, wanted.distances, atol=1e-7)
    assert not (tmp_path / "out.csv.parts").exists()
    assert len(out.read_text().splitlines()) == len(wanted) + 1


def test_parts_of_one_folder_are_not_taken_for_two(model, frames, tmp_path, monkeypatch):
    """The same images: each with each of one folder, or each of its one half with each of the other."""
    for number in range(6):
        to = tmp_path / "p" / ("p1" if number < 4 else "p2")
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(frames / f"frame{number}.png", to)
    monkeypatch.setattr("verydeep.comparison.work.CHUNK_IMAGES", 2)
    write = verydeep.comparison.work.PairParts.write

    def write_one(self, chunk, numbers, rows):
        write(self, chunk, numbers, rows)
        raise KeyboardInterrupt

    options = {"model": model, "all_pairs": True, "out": tmp_path / "out.csv"}
    with monkeypatch.context() as patch:
        patch.setattr("verydeep.comparison.work.PairParts.write", write_one)
        with pytest.raises(KeyboardInterrupt):
            verydeep.compare(tmp_path / "p", **options)
    with pytest.raises(UsageError, match="holds finished parts of another, interrupted comparison"):
        verydeep.compare(tmp_path / "p" / "p1", tmp_path / "p" / "p2", **options)


def test_features_whose_squares_overflow_are_no_small_distance():
    metric = metrics.LPIPS.__new__(metrics.LPIPS)
    metric.linear = {"relu1_2": np.ones(4, np.float32)}
    to = np.empty((1, 4, 2, 3), np.float32)
    metric._write("relu1_2", np.full((1, 4, 2, 3), 1e25, np.float32), to)
    assert np.isnan(to).all()  # 0 would look like no difference at all


@pytest.fixture
def mixed(tmp_path, photographs) -> tuple[Path, Path]:
    """Two folders of images of all kinds, of which the second has copies."""
    good = photographs[0][100:140, 200:240]
    a = tmp_path / "a"
    save(a / "good.png", good)
    save(a / "grey.png", good[..., 0])
    save(a / "sixteen.png", good[..., 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(good), Image.fromarray(255 - good)]
    frames[0].save(a / "animated.gif", save_all=True, append_images=frames[1:])
    save(a / "wide.png", good[:20])
    cut(save(a / "cut.jpg", good))
    bomb(a / "huge.png")
    (a / "text.jpg").write_text("no image")
    (a / "empty.png").write_bytes(b"")
    save(a / "small.png", good[:8, :8])
    (a / "notes.txt").write_text("beside")
    shutil.copytree(a, tmp_path / "b")
    save(tmp_path / "b" / "wide.png", good[:21])
    (tmp_path / "b" / "animated.gif").rename(tmp_path / "b" / "alone.gif")
    return a, tmp_path / "b"


def test_every_file_has_a_row(mixed, model, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, mixed), "--model", str(model), "--out", str(tmp_path / "out.csv")])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "8 of 11 pairs could not be compared" in said.err and "Traceback" not in said.err
    assert "skipped in" in said.err and "notes.txt" in said.err
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {Path(row["first"] or row["second"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 11
    for name in ("good.png", "grey.png", "sixteen.png"):
        assert float(rows[name]["distance"]) == 0 and not rows[name]["reason"]
    reasons = {name: row["reason"] for name, row in rows.items() if row["reason"]}
    assert "damaged" in reasons["cut.jpg"]
    assert "pixels" in reasons["huge.png"]
    assert "text" in reasons["text.jpg"]
    assert "empty" in reasons["empty.png"]
    assert "sizes differ: 40x20 and 40x21 pixels" in reasons["wide.png"]
    assert "needs both sides to be at least 16" in reasons["small.png"]
    assert "no image of this name in" in reasons["animated.gif"]
    assert "no image of this name in" in reasons["alone.gif"]


@pytest.mark.parametrize("option", ["--all-pairs", "--consecutive"])
def test_images_of_a_folder_that_cannot_be_read_have_rows_too(option, mixed, model, tmp_path, capsys):
    for name in ("wide.png", "small.png"):
        (mixed[0] / name).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(mixed[0]), option, "--model", str(model), "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 1 and "Traceback" not in said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    good = {"good.png", "grey.png", "sixteen.png", "animated.gif"}
    assert len(rows) == (28 if option == "--all-pairs" else 7)
    for row in rows:
        readable = {Path(row[side]).name for side in ("first", "second")} <= good
        assert (row["distance"] is not None) == readable
        assert readable or row["reason"]


def test_sizes_are_refused_or_rescaled(model, photographs, tmp_path):
    first = save(tmp_path / "a" / "x.png", photographs[0][:40, :50])
    second = save(tmp_path / "b" / "x.jpg", photographs[0][:60, :60])
    with pytest.raises(UsageError, match=r"a/x.png has 50x40 pixels, .*b/x.jpg 60x60; .*`resize=first`"):
        verydeep.compare(first, second, model=model)
    smaller = Image.open(second).resize((50, 40), Image.Resampling.BILINEAR)
    expected = verydeep.compare(first, save(tmp_path / "c" / "x.png", np.array(smaller)), model=model)
    found = verydeep.compare(first, second, model=model, resize="first")
    assert found.distances[0] == expected.distances[0] > 0
    assert verydeep.compare(first, second, model=model, resize="32x48").distances[0] > 0
    shutil.copy(second, tmp_path / "a")
    with pytest.raises(UsageError, match=r"the images have 2 sizes, such as .* use `resize=224x224`"):
        verydeep.compare(tmp_path / "a", model=model, all_pairs=True)
    for resize in ("first", "40x40"):
        assert verydeep.compare(tmp_path / "a", model=model, all_pairs=True, resize=resize).distances[0] > 0
    # Folders in which the names differ in the endings alone, and rows of frames.
    assert len(verydeep.compare(tmp_path / "b", tmp_path / "c", model=model, resize="first")) == 1
    shutil.copy(second, tmp_path / "a" / "w.jpg")
    frames = verydeep.compare(tmp_path / "a", model=model, consecutive=True)
    assert "sizes differ" in str(frames) and math.isnan(frames.distances[1]) and frames.distances[0] == 0


def test_grey_images_are_taken_or_refused(model, photographs, tmp_path):
    grey = save(tmp_path / "grey.png", photographs[0][:40, :40, 0])
    three = save(tmp_path / "three.png", np.repeat(photographs[0][:40, :40, :1], 3, 2))
    color = save(tmp_path / "color.png", photographs[0][:40, :40])
    assert verydeep.compare(grey, three, model=model).distances[0] == 0
    assert verydeep.compare(grey, color, model=model, grey="repeat").distances[0] > 0
    found = verydeep.compare(grey, color, model=model, grey="refuse")
    assert str(found.failure()) == f"{grey} is grey; `grey=repeat` takes its channel three times"


def test_an_image_is_too_large_for_this_machine(model, tmp_path, monkeypatch):
    one, other = (save(tmp_path / f"{name}.png", smooth(40, 40)) for name in "ab")
    monkeypatch.setattr("os.sysconf", lambda name: 1000)
    with pytest.raises(UsageError, match=r"40x40 pixels take about .* GB, and this machine has"):
        verydeep.compare(one, other, model=model)


def test_where_the_system_tells_no_memory_images_are_compared(model, folders, monkeypatch):
    """As on Windows."""
    monkeypatch.delattr("os.sysconf")
    assert len(verydeep.compare(*folders, model=model)) == 8


def test_without_kernels_the_other_engine_compares(model, folders, monkeypatch):
    natively = verydeep.compare(*folders, model=model, engine="native")
    monkeypatch.setitem(sys.modules, "verydeep._native", None)
    monkeypatch.delitem(sys.modules, "verydeep.inference.native", raising=False)
    monkeypatch.setattr("verydeep.inference.native_module", lambda: None)
    found = verydeep.compare(*folders, model=model)
    np.testing.assert_allclose(found.distances, natively.distances, rtol=1e-4)


def test_a_pair_is_one_number(folders, model, capsys):
    words = ["compare", *(str(folder / "part" / "1.png") for folder in folders), "--model", str(model)]
    main(words)
    number = float(capsys.readouterr().out)
    main([*words, "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["distance"] == pytest.approx(number, abs=1e-6) and record["first"].endswith("a/part/1.png")


def test_what_is_written(folders, model, tmp_path, capsys):
    found = verydeep.compare(*folders, model=model)
    known = np.sort(found.distances)
    assert found.statistics["mean"] == pytest.approx(known.mean())
    assert found.statistics["median"] == pytest.approx((known[3] + known[4]) / 2)
    assert found.statistics["percentile_95"] == pytest.approx(known[6] + 0.65 * (known[7] - known[6]))
    rows = list(found)
    for ending in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        main(["compare", *map(str, folders), "--model", str(model), "--out", str(out), "--json"])
        summary = json.loads(capsys.readouterr().out)
        assert summary["num_pairs"] == 8 and summary["mean"] == pytest.approx(known.mean())
        if ending == "csv":
            with out.open(newline="") as file:
                read = [(r["first"], r["second"], float(r["distance"])) for r in csv.DictReader(file)]
        elif ending == "jsonl":
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            read = [(r["first"], r["second"], r["distance"]) for r in lines]
        else:
            parquet = pytest.importorskip("pyarrow.parquet")
            read = [(r["first"], r["second"], r["distance"]) for r in parquet.read_table(out).to_pylist()]
        assert [row[:2] for row in read] == [row[:2] for row in rows]
        np.testing.assert_allclose([row[2] for row in read], found.distances, rtol=1e-6)
    text = str(found)
    assert len(text.splitlines()) == 10 and text.splitlines()[-1].startswith("lpips of 8 pairs: mean ")
    assert found.to_dict()["pairs"][1]["distance"] == found.distances[1]
    assert found.worst(2) == np.argsort(-found.distances)[:2].tolist()
    with pytest.raises(UsageError, match="only a comparison with `all_pairs` has a matrix"):
        found.matrix()


def test_maps_show_where_images_differ(model, photographs, tmp_path):
    image = photographs[0][:64, :64]
    changed = image.copy()
    changed[40:, 40:] = 255 - changed[40:, 40:]
    one, other = save(tmp_path / "a.png", image), save(tmp_path / "b.png", changed)
    verydeep.compare(one, other, model=model, maps=tmp_path / "maps")
    (file,) = (tmp_path / "maps").iterdir()
    sheet = np.array(Image.open(file)).astype(int)
    side, margin = 448, 16
    assert sheet.shape[1] == 3 * side + 4 * margin
    drawn = sheet[margin : margin + side, 3 * margin + 2 * side :][:, :side]
    warmth = drawn[..., 0] - drawn[..., 2]
    (palest,), (darkest,) = (heat_colors(np.array([value])).astype(int) for value in (0.8, 0.0))
    assert palest[0] - palest[2] > 100 > 0 > darkest[0] - darkest[2]
    assert warmth[300:, 300:].mean() > 40 > 0 > warmth[:150, :150].mean()
    # Its mean is nearly the distance: bilinear interpolation shifts a little at the edges.
    for metric, made in (("lpips", metrics.LPIPS), ("content", metrics.Content)):
        engine = verydeep.load(model).engine
        measured = made(engine) if metric == "lpips" else made(engine, {"relu2_2": 1.0})
        distances, maps = measured.pairs(image[None], changed[None], maps=True)
        assert maps[0].shape == (64, 64) and maps[0].mean() == pytest.approx(distances[0], rel=0.05)
    frames = tmp_path / "frames"
    for number in range(3):
        save(frames / f"{number}.png", np.roll(image, number, 1))
    verydeep.compare(frames, model=model, consecutive=True, maps=tmp_path / "more")
    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == ["1.png", "2.png"]
    with pytest.raises(ImageError, match="1 image drawn by verydeep"):  # which is no data
        verydeep.compare(tmp_path / "maps", frames, model=model)


def test_a_map_grows_as_torch_grows_it():
    random = np.random.default_rng(0)
    for rows, columns, height, width in ((1, 1, 5, 4), (2, 3, 37, 50), (18, 25, 37, 50), (37, 50, 37, 50)):
        values = random.random((rows, columns), np.float32)
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None], (height, width), mode="bilinear", align_corners=False
        )
        np.testing.assert_allclose(metrics.grown(values, height, width), wanted[0, 0].numpy(), atol=1e-6)


def test_the_page_has_the_worst_pairs(mixed, model, tmp_path):
    noisy = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    save(mixed[1] / "good.png", noisy)
    save(mixed[0] / "<b>.png", noisy)
    save(mixed[1] / "<b>.png", noisy)
    page = tmp_path / "page.html"
    found = verydeep.compare(*mixed, model=model, page=page)
    text = page.read_text(encoding="utf-8")
    assert found.worst(1) == [[Path(first).name for first, _, _ in found].index("good.png")]
    assert f"{found.distances[found.worst(1)[0]]:.6f}" in text
    assert "&lt;b&gt;.png" in text and "<b>.png" not in text
    assert text.count("data:image/png;base64") == 3 * (len(found) - found.num_failed)
    assert "sizes differ" in text and "verydeep.compare(" in text
    assert "<script" not in text and "http://" not in text
    words = ["compare", *mixed, "--model", model, "--engine", "torch", "--threads", 1, "--page", page]
    with pytest.raises(SystemExit):  # a pair cannot be compared
        main([*map(str, words)])
    assert on_page(page.read_text(encoding="utf-8")) == [["verydeep", *map(str, words)]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{a}"], "B is missing; give a second image or folder, or use --all-pairs or --consecutive"),
        (["{a}", "{b}", "--consecutive"], "--consecutive compares the images of one folder; leave B out"),
        (["{a}", "--consecutive", "--all-pairs"], "exclude each other"),
        (["{a}", "{image}"], "is an image and"),
        (["{a}", "{a}/nothing"], "no such file"),
        (["{a}", "{other}"], "have no images of the same relative name"),
        (["{image}", "--all-pairs"], "has one image; two or more are needed"),
        (["{a}", "{b}", "--resize", "big"], "--resize is 'big'; it must be first, or WIDTHxHEIGHT"),
        (["{a}", "{b}", "--cache", "0"], "--cache is 0; it must be a number of GB above 0"),
        (["{a}", "{b}", "--out", "x.txt"], "has to end with .csv, .jsonl or .parquet"),
        (["{a}", "{b}", "--page", "x.txt"], "has to end with .html"),
        (["{a}", "{b}", "--layers", "relu1_1"], "--layers is of content and style"),
        (["{a}", "{b}", "--metric", "content", "--layers", "relu9_1"], "relu9_1"),
        (["{a}", "{b}", "--metric", "style", "--maps", "m"], "style is not a mean over places"),
        (["{a}", "--all-pairs", "--maps", "m"], "leave out --all-pairs"),
        (["{a}", "{b}", "--metric", "dists", "--engine", "native"], "leave out --engine native"),
        (["{a}", "{b}", "--metric", "dists", "--precision", "bfloat16"], "leave --precision out"),
        (["{a}", "{b}", "--metric", "psnr"], "lpips, content, style, dists"),
        (["{a}", "{b}", "--model", "cifar10"], "this network is D with batch normalisation of width 0.25"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, said, folders, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "other" / "x.png")
    names = {"a": folders[0], "b": folders[1], "image": folders[0] / "part" / "0.png", "other": tmp_path / "other"}
    if "--model" not in words:
        words = [*words, "--model", str(model)]
    with pytest.raises(SystemExit) as ended:
        main(["compare", *(word.format(**names) for word in words)])
    output = capsys.readouterr()
    assert ended.value.code in (1, 2) and not output.out
    (line,) = [line for line in output.err.splitlines() if line.startswith("verydeep: ")]
    assert said in line


def test_an_image_that_cannot_be_read_is_said_of_a_pair(tmp_path, model, capsys):
    (tmp_path / "text.jpg").write_text("no image")
    image = save(tmp_path / "image.png")
    found = verydeep.compare(tmp_path / "text.jpg", image, model=model)
    assert isinstance(found.failure(), ImageError) and "text" in str(found.failure())
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "text.jpg"), str(image), "--model", str(model)])
    assert ended.value.code == 1 and capsys.readouterr().out == ""


def test_maps_replace_no_image_of_the_user(model, folders, tmp_path):
    """They are named after the second image, which may lie in the folder that they go to."""
    for name in ("0", "3"):
        save(tmp_path / f"{name}.png", np.array(Image.open(folders[0] / "part" / f"{name}.png")))
    before = (tmp_path / "3.png").read_bytes()
    for _ in range(2):  # a drawing of ours is replaced
        verydeep.compare(tmp_path / "0.png", tmp_path / "3.png", model=model, maps=tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"0.png", "3.png", "3-2.png"}
        assert (tmp_path / "3.png").read_bytes() == before


@pytest.mark.parametrize("pairs", [{}, {"consecutive": True}, {"all_pairs": True}])
@pytest.mark.parametrize("metric", ["content", "style"])
def test_distances_that_overflow_are_the_models_fault(metric, pairs, vgg16, folders, tmp_path):
    """The outputs are finite, the squares of their differences are not."""
    tensors = {name: tensor.numpy() for name, tensor in vgg16[1].state_dict().items()}
    tensors["conv1_1.weight"] = tensors["conv1_1.weight"] * np.float32(1e24)
    config = ModelConfig(vgg16[1].architecture, IMAGENET, (), TrainedOn((256, 256)))
    write_model(tmp_path / "large", config, tensors)
    for name in ("0", "3"):
        shutil.copy(folders[0] / "part" / f"{name}.png", tmp_path / f"{name}.png")
    images = [tmp_path / "0.png", tmp_path / "3.png"] if not pairs else [tmp_path]
    with pytest.raises(ModelError, match="features are NaN or infinite"):
        verydeep.compare(*images, model=tmp_path / "large", metric=metric, layers=["relu1_1"], **pairs)


@pytest.mark.parametrize("metric", ["lpips", "content", "style"])
def test_where_no_image_can_be_read_all_pairs_have_reasons(metric, model, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    found = verydeep.compare(tmp_path, model=model, metric=metric, all_pairs=True)
    assert found.num_failed == len(found) == 1
    assert "a.png" in found.to_dict()["pairs"][0]["reason"]


def test_images_that_pass_by_again_and_again_are_told_once(model, frames, tmp_path):
    shutil.copytree(frames, tmp_path / "frames")
    lost = sorted((tmp_path / "frames").iterdir())[3:5]
    for path in lost:
        cut(path, 0.3)
    found = verydeep.compare(tmp_path / "frames", model=model, metric="content", all_pairs=True, cache=1e-9)
    assert sorted(one.name for one in found.unreadable) == list(map(str, lost))


def test_an_image_that_changed_its_size_meanwhile_is_told(model, frames, tmp_path, monkeypatch):
    shutil.copytree(frames, tmp_path / "frames")
    first, *_ = sorted((tmp_path / "frames").iterdir())
    sizes = AllWork.plan

    def changing(self):
        planned = sizes(self)
        save(first, smooth(90, 70))
        return planned

    monkeypatch.setattr(AllWork, "plan", changing)
    found = verydeep.compare(tmp_path / "frames", model=model, metric="content", all_pairs=True)
    reasons = {row["reason"] for row in found.to_dict()["pairs"] if str(first) in (row["first"], row["second"])}
    assert found.num_failed == len(list(frames.iterdir())) - 1
    assert len(reasons) == 1 and "changed" in reasons.pop()


def test_names_match_in_both_forms_of_unicode(model, folders, tmp_path):
    image = folders[0] / "part" / "0.png"
    for folder, form in (("a", "NFC"), ("b", "NFD")):
        (tmp_path / folder).mkdir()
        shutil.copy(image, tmp_path / folder / unicodedata.normalize(form, "é.png"))
    found = verydeep.compare(tmp_path / "a", tmp_path / "b", model=model)
    assert found.distances.tolist() == [0]
