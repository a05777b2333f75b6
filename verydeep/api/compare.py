"""`verydeep.compare`: images or folders -> perceptual distances of their pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from verydeep.arguments import checked
from verydeep.chunks.parts import beside
from verydeep.chunks.run import run_chunks
from verydeep.comparison.drawing import MapFolder
from verydeep.comparison.metrics import Metric, metric_of
from verydeep.comparison.page import render
from verydeep.comparison.pairs import Kind, Pairs, Sizes, find_pairs, find_sizes, parse_size, refuse_sizes
from verydeep.comparison.result import Comparison, check_pairs_out, collect, write_pairs
from verydeep.comparison.work import AllWork, ConsecutiveWork, MatchedWork, PairParts, Rows, Work, reader
from verydeep.distributed import World
from verydeep.errors import UsageError, require
from verydeep.feature_layers import LAYERS, check_vgg16
from verydeep.files import check_folder, write_text
from verydeep.images.image_set import Unreadable
from verydeep.images.views import Pixels
from verydeep.inference import EngineName, PrecisionName, choose_engine, engine_of
from verydeep.notes import note, progress, say
from verydeep.processes import check_processes, shared
from verydeep.processor import memory_bytes
from verydeep.reports.templates import check_page
from verydeep.run_folder.origin import call_now, recorded
from verydeep.weights.features import features_key, open_features
from verydeep.weights.lpips import LAYERS as LPIPS_LAYERS

MetricName = Literal["lpips", "content", "style", "dists"]
MODEL = "torchvision:vgg16"


@recorded
@checked
def compare(
    a: str | PathLike[str],
    b: str | PathLike[str] | None = None,
    *,
    all_pairs: bool = False,
    consecutive: bool = False,
    metric: MetricName = "lpips",
    model: str | PathLike[str] = MODEL,
    preprocessing: Literal["torchvision", "oxford", "matconvnet", "amdegroot"] | None = None,
    layers: tuple[str, ...] = (),
    resize: str | None = None,
    grey: Literal["repeat", "refuse"] = "repeat",
    out: str | PathLike[str] | None = None,
    maps: str | PathLike[str] | None = None,
    page: str | PathLike[str] | None = None,
    cache: float = 2.0,
    processes: int = 1,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Comparison | None:
    """Measure perceptual distances of images: LPIPS, content, style or DISTS.

    Two images give one number. Two folders are compared image by image: images of the same relative name are a
    pair, even if their endings differ. `all_pairs` compares each image of a folder with each other, or with
    each of a second folder. `consecutive` compares each image of a folder with the next one, such as frames.

    Several pairs give a table in a terminal and CSV elsewhere. A pair that cannot be compared is a row with a
    reason. With `out`, an interrupted comparison resumes when the command is repeated.

    Args:
        a: an image or a folder of images.
        b: the images to compare with.
        all_pairs: compare each image with each.
        consecutive: compare each image of A with the next one in its folder; numbers in names are put in order.
        metric: what measures the distance; dists needs torch, the others do not.
        model: VGG weights: a file, a run folder or a name; torchvision:vgg16 is downloaded once (528 MB).
        preprocessing: how images are preprocessed, for weights that do not carry it: torchvision, oxford,
            matconvnet or amdegroot.
        layers: for content and style: layers to compare, such as relu3_3 (default: those of Johnson et al. and of
            Gatys et al.).
        resize: rescale images: to the size of the first one of each pair (first), or to WIDTHxHEIGHT.
        grey: repeat takes a grey image's channel three times; refuse leaves grey images out.
        out: file to write the pairs to: .csv, .jsonl or .parquet.
        maps: folder for images that show where a pair differs, for lpips and content.
        page: HTML file with the statistics and the most different pairs.
        cache: GB of memory for what is computed of each image once, with `all_pairs`. Another size, or number of
            processes, changes the last digits of float32.
        processes: processes of this machine that share the images.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Returns:
        The distances; None on all processes but the first, under torchrun.

    Raises:
        UsageError: an argument does not fit, or images have different sizes.
        ImageError: there is no such image; one that is there and cannot be read is in the answer.
        ModelError: the model cannot be used, or gives features that are not finite.
        DiskError: a file cannot be written.

    """
    kind = _kind(all_pairs, consecutive)
    _check(kind, metric, layers, resize, maps, cache, engine, precision)
    choose_engine(engine, precision, device)  # before a large file is read
    to_page = check_page(page)
    if to_page:
        require("jinja2", "report", "making a page")
    path = Path(out) if out is not None else None
    if path:
        check_pairs_out(path)
    if maps is not None:
        check_folder(Path(maps))
    check_processes(processes)
    options = {"engine": engine, "precision": precision, "device": device, "threads": threads}
    job = _Job(
        fspath(a),
        fspath(b) if b is not None else None,
        kind,
        metric,
        fspath(model),
        preprocessing,
        layers,
        resize,
        grey,
        path,
        Path(maps) if maps is not None else None,
        int(cache * 1e9) // processes,
        options,
    )
    pairs = find_pairs(a, b, kind)
    with shared(processes, job.run, path, len(pairs)) as here:
        comparison, measured, read, parts = job.run(here, pairs)
        if not here.first:
            return None
        if path:
            comparison = replace(comparison, out=path)
            write_pairs(path, comparison)
        if parts:
            parts.remove()
        if maps is not None:
            count = len(pairs) - comparison.num_failed
            say(f"{count:,} map{'s' * (count != 1)} in {fspath(maps)}")
        if to_page:
            write_text(to_page, render(comparison, measured, read, call_now()))
            say(f"page: {to_page}")
    return comparison


def _kind(all_pairs: bool, consecutive: bool) -> Kind:
    if all_pairs and consecutive:
        raise UsageError("`all_pairs` and `consecutive` exclude each other; choose one")
    return "all" if all_pairs else "consecutive" if consecutive else "matched"


def _check(
    kind: Kind,
    metric: str,
    layers: tuple[str, ...],
    resize: str | None,
    maps: object,
    cache: float,
    engine: str,
    precision: str,
) -> None:
    """Make sure that the arguments go together."""
    if layers and metric not in LAYERS:
        raise UsageError(f"`layers` is of content and style; {metric} has layers of its own")
    if maps is not None and metric in ("style", "dists"):
        raise UsageError(f"`maps` is of lpips and content; {metric} is not a mean over places")
    if maps is not None and kind == "all":
        raise UsageError("`maps` draws a map for each pair; leave out `all_pairs`")
    if resize not in (None, "first"):
        parse_size(resize)
    if not 0 < cache < float("inf"):
        raise UsageError(f"`cache` is {cache:g}; it must be a number of GB above 0")
    if metric == "dists":
        if engine == "native":
            raise UsageError("dists is computed by torch; leave out `engine=native`")
        if precision not in ("auto", "float32"):
            raise UsageError("dists is computed in float32; leave `precision` out")
        require("torch", "train", "dists")
        note("dists is computed by torch, and each pair anew")


@dataclass(frozen=True)
class _Job:
    """The arguments of a comparison, for every process."""

    a: str
    b: str | None
    kind: Kind
    metric: MetricName
    model: str
    preprocessing: str | None
    layers: tuple[str, ...]
    resize: str | None
    grey: str
    out: Path | None
    maps: Path | None
    cache: int
    options: dict[str, Any]

    def run(
        self, here: World, found: Pairs | None = None
    ) -> tuple[Comparison, Metric, Callable[[int], Pixels], PairParts | None]:
        """Compare this process's share of the pairs, which have been found, or are looked for."""
        pairs = find_pairs(self.a, self.b, self.kind) if found is None else found
        sizes = find_sizes(pairs, self.resize)
        metric = self._metric()
        refuse_sizes(pairs, sizes, partial(_refusal, metric))
        read = reader(pairs.images, sizes, grey=self.grey == "repeat")
        work = self._work(pairs, sizes, metric, read)
        plan = work.plan()
        parts = PairParts(beside(self.out), self._key(pairs)) if self.out else None
        lost: list[Unreadable] = []
        with progress("comparing", here.num_counted(sum(len(chunk.images) for chunk in plan))) as advance:
            done: list[tuple[list[int], Rows]] = run_chunks(
                pairs.images,
                plan,
                read,
                work.rows,
                world=here,
                parts=parts,
                unreadable=lost.append,
                advance=advance,
            )
        return collect(self.metric, pairs, [rows for _, rows in done], lost), metric, read, parts

    def _metric(self) -> Metric:
        if self.metric == "dists":
            from verydeep.comparison.dists import DistsMetric  # not above: it takes torch

            return DistsMetric(self.model, self.preprocessing, self.options["device"], self.options["threads"])
        config, tensors = open_features(self.model, self.preprocessing)
        if self.metric == "lpips":
            check_vgg16(config.architecture, "LPIPS")
            return metric_of(self.metric, engine_of(config, tensors, LPIPS_LAYERS, **self.options))
        layers = self.layers or LAYERS[self.metric]
        return metric_of(self.metric, engine_of(config, tensors, layers, **self.options), layers)

    def _work(self, pairs: Pairs, sizes: Sizes, metric: Metric, read: Callable[[int], Pixels]) -> Work:
        if self.kind == "all":
            return AllWork(pairs, sizes, metric, read, self.cache)
        draw = MapFolder(self.maps, pairs, self.metric) if self.maps else None
        made = ConsecutiveWork if self.kind == "consecutive" else MatchedWork
        return made(pairs, sizes, metric, read, draw)

    def _key(self, pairs: Pairs) -> dict[str, Any]:
        """What decides the distances, so that another's finished chunks are not taken."""
        return {
            "kind": self.kind,
            "metric": self.metric,
            "weights": features_key(self.model, self.preprocessing),
            "layers": list(self.layers),
            "resize": self.resize,
            "grey": self.grey,
            "maps": self.maps and str(self.maps),
            "images": pairs.images.fingerprint,
            "of_a": pairs.count if pairs.two_sets else None,
            "cache": self.cache if self.kind == "all" else None,
            **{name: self.options[name] for name in ("engine", "precision", "device")},
        }


def _refusal(metric: Metric, size: tuple[int, int]) -> str | None:
    """Why images of a size cannot be compared; None where they can."""
    width, height = size
    try:
        metric.check(height, width)
    except UsageError as error:
        return str(error)
    needed, there = metric.bytes_for(height, width), memory_bytes()
    if there and needed > there:
        return (
            f"{width}x{height} pixels take about {needed / 1e9:.0f} GB, and this machine has {there / 1e9:.0f}; "
            "rescale them with `resize`"
        )
    return None
