"""`verydeep.evaluate`: models + labelled images -> error rates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path

from verydeep.accounting import num_parameters
from verydeep.distributed import World
from verydeep.errors import DataError, UsageError, check_least
from verydeep.evaluation.evaluate import BATCH_SIZE, Member, PosteriorParts
from verydeep.evaluation.evaluate import evaluate as posteriors_of
from verydeep.evaluation.protocols import Protocol, check, protocols_of
from verydeep.evaluation.results import (
    Evaluation,
    Facts,
    MemberFacts,
    check_result_path,
    described,
    write_result,
)
from verydeep.evaluation.test_set import PartName, Tested, Training, choose, default_part
from verydeep.images.data import Data
from verydeep.images.image_set import ImageSet, Unreadable, readable
from verydeep.images.sources import open_data
from verydeep.inference import EngineName, PrecisionName, open_engine
from verydeep.linear.classifier import say_network_alone
from verydeep.notes import progress, say, say_skipped
from verydeep.processes import shared
from verydeep.run_folder import ModelConfig, read_split, read_training_images
from verydeep.weights.source import locate, weights_path, with_network

Source = str | PathLike[str]


def evaluate(
    models: Source | Sequence[Source],
    data: Source,
    *,
    views: str = "dense",
    scales: tuple[int, ...] = (),
    grid: int = 5,
    mirror: bool | None = None,
    part: PartName = "auto",
    out: Source | None = None,
    batch_size: int = BATCH_SIZE,
    tensors: str | None = None,
    processes: int = 1,
    max_unreadable: int = 0,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Evaluation | None:
    """Measure the error rates of a model, or of several as an ensemble.

    By default the test is dense: the image is rescaled so that its smaller side is Q, and the network runs over
    all of it. Its class scores are averaged over space. The posteriors are averaged over scales and the mirror
    image, and over the models if there are several. With `processes`, or under torchrun, several processes share
    the images.

    Args:
        models: one or several: run folders or weights in them, `cifar10`, or other libraries' weights.
        data: labelled images: a folder with a folder of images for each class, or with train/ and val/ that hold
            these; ImageNet's folder; `digits`; or the folder or URL that `verydeep.shard` made.
        views: what is shown of an image. dense: the whole image; crops: multi-crop, a grid of crops; both:
            multi-crop & dense, the mean of the two; centre: centre crop; ten: ten crops, the corners and the
            centre. All but centre with their mirror images.
        scales: Q, the smaller side of the rescaled image, one or several (default: S, or the middle of its range).
        grid: crops along each side, of multi-crop.
        mirror: average with the mirror image (default: if training showed mirror images).
        part: which images: auto takes test/ if it has labels, else val/, else all. Images that a model was trained
            on are left out and counted, except with train and all.
        out: .npz file for each image's posterior, for `verydeep.report` and `verydeep.fuse`. An interrupted test
            resumes from what it left there.
        batch_size: most images in a batch, all of one shape.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        processes: processes of this machine that share the images; the result is the same.
        max_unreadable: continue if up to this many images cannot be read; they are listed.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Returns:
        The result; None on all processes but the first, under torchrun.

    Raises:
        UsageError: an argument does not fit.
        DataError: the data cannot be read, or more images than may be left out.
        ModelError: a model cannot be used, or gives scores that are not finite.

    """
    target = check_result_path(out)
    several = [models] if isinstance(models, (str, PathLike)) else models
    if not several:
        raise UsageError("evaluate takes a model, or several, and then the data")
    check_least("batch_size", batch_size, 1)
    check_least("max_unreadable", max_unreadable, 0)
    test = _Test(
        tuple(str(Path(with_network(model, tensors))) for model in several),
        fspath(data),
        views,
        scales,
        grid,
        mirror,
        part,
        target,
        batch_size,
        max_unreadable,
        engine,
        precision,
        device,
        threads,
    )
    chosen = test.choose(test.open()) if processes != 1 else None  # once for all of them
    run = partial(test.run, chosen=chosen)
    with shared(processes, run, target) as here:
        result, parts = run(here)
        if not here.first:
            return None
        if target:
            write_result(target, result)
        if parts:
            parts.remove()
        return result


@dataclass(frozen=True)
class _Test:
    """The arguments of a test, for every process."""

    models: tuple[str, ...]
    data: str
    views: str
    scales: tuple[int, ...]
    grid: int
    mirror: bool | None
    part: PartName
    out: Path | None
    batch_size: int
    max_unreadable: int
    engine: EngineName
    precision: PrecisionName
    device: str
    threads: int | None

    def open(self) -> Data:
        """The data, divided as the first model's training divided it."""
        model = locate(self.models[0]).path
        if read_training_images(model) is None:
            return open_data(self.data, held_out=read_split(model))
        return open_data(self.data).split_as(read_split(model))

    def choose(self, data: Data) -> Tested:
        """Which images are tested; it takes a look at the content of each."""
        models = [locate(model).path for model in self.models]
        trainings = [Training(read_training_images(model), read_split(model)) for model in models]
        part = default_part(data) if self.part == "auto" else self.part
        with progress("comparing with the training images", len(data.part(part))) as advance:
            return choose(data, self.part, trainings, advance)

    def run(self, here: World, chosen: Tested | None) -> tuple[Evaluation, PosteriorParts | None]:
        """Test this process's share, and gather on the first."""
        for model in self.models:
            say_network_alone(Path(model), "tested")
        engines = [
            open_engine(
                model, engine=self.engine, precision=self.precision, device=self.device, threads=self.threads
            )
            for model in self.models
        ]
        configs = [engine.config for engine in engines]
        for config in configs:
            config.architecture.check_classes()
        protocols = [self._protocols(config) for config in configs]
        data = self.open()
        tested = chosen or here.from_first(lambda: self.choose(data))
        images = tested.of(data).relabel(configs[0].class_names)
        say_skipped(self.data, data.skipped)
        num_classes = len(configs[0].class_names)
        parts = PosteriorParts(self.out, self._key(protocols, images), num_classes) if self.out else None
        start = time.perf_counter()
        lost: list[Unreadable] = []
        with progress(f"testing {described(tested.name, self.data)}", here.num_counted(len(images))) as advance:
            posteriors = posteriors_of(
                list(map(Member, engines, protocols, self.models)),
                images,
                batch_size=self.batch_size,
                world=here,
                parts=parts,
                max_unreadable=self.max_unreadable,
                unreadable=lost.append,
                advance=advance,
            )
        facts = Facts(
            tuple(map(self._facts, self.models, configs, protocols)),
            self.data,
            tested.name,
            configs[0].class_names,
            time.perf_counter() - start,
            num_unreadable=len(lost),
            num_trained_on=tested.num_trained_on,
        )
        for image in lost:
            say(f"skipped: {image.reason}")
        read = readable(len(images), lost)
        if here.first and not len(read):
            raise DataError(f"none of the {len(images)} images can be read")
        names = tuple(images.names[number] for number in read.tolist())
        return Evaluation(facts, names, images.labels[read], posteriors[read]), parts

    def _protocols(self, config: ModelConfig) -> tuple[Protocol, ...]:
        mirror = config.trained_on.mirror if self.mirror is None else self.mirror
        protocols = protocols_of(self.views, self.scales or (config.trained_on.test_scale,), mirror, self.grid)
        for protocol in protocols:
            check(protocol, config.architecture.window)
        return protocols

    def _key(self, protocols: Sequence[tuple[Protocol, ...]], images: ImageSet) -> dict[str, object]:
        """What decides the result, so that another's finished chunks are not taken."""
        stats = [(model, weights_path(locate(model).path).stat()) for model in self.models]
        return {
            "models": [[model, stat.st_size, stat.st_mtime_ns] for model, stat in stats],
            "protocols": [[[type(one).__name__, asdict(one)] for one in several] for several in protocols],
            "pictures": images.fingerprint,  # the key of parts that earlier versions began
            "batch_size": self.batch_size,
            "precision": self.precision,
        }

    def _facts(self, model: str, config: ModelConfig, protocols: tuple[Protocol, ...]) -> MemberFacts:
        architecture = config.architecture
        return MemberFacts(
            model=model,
            configuration=architecture.configuration,
            width=architecture.width,
            batch_norm=architecture.batch_norm,
            parameters=num_parameters(architecture),
            trained_scale=config.trained_on.scale,
            views=self.views,
            scales=protocols[0].scales,
            mirror=protocols[0].mirror,
            grid=self.grid,
        )
