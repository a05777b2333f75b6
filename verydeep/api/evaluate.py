"""`verydeep.evaluate`: models + labelled images -> error rates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path

from verydeep.accounting import num_parameters
from verydeep.arguments import checked
from verydeep.distributed import World
from verydeep.errors import DataError, UsageError, check_least, command_line
from verydeep.evaluation.evaluate import BATCH_SIZE, Member, PosteriorParts, check_together
from verydeep.evaluation.evaluate import evaluate as posteriors_of
from verydeep.evaluation.protocols import GRID, Protocol, protocols_of
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
from verydeep.images.image_set import ImageSet, Unreadable, readable, tell_skipped
from verydeep.images.sources import open_data
from verydeep.inference import EngineName, PrecisionName, open_engine
from verydeep.linear.classifier import classifier_file, say_network_alone
from verydeep.notes import progress, say_skipped
from verydeep.plan import check_scale
from verydeep.processes import check_processes, shared
from verydeep.run_folder import ModelConfig, read_split, read_training_images
from verydeep.weights.source import locate, weights_path, with_network

Source = str | PathLike[str]


@checked
def evaluate(
    models: Source | Sequence[Source],
    data: Source,
    *,
    views: str = "dense",
    scales: tuple[int, ...] = (),
    grid: int = GRID,
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
        models: one or several: run folders or weights in them, bundled ones, or other libraries' weights.
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
        processes: processes of this machine that share the images.
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
    check_processes(processes)
    chosen, most = None, None
    if processes > 1:  # once for all of them
        opened = test.open()
        test.check(test.members(["conv1_1"]), opened)  # the first layer alone: each process opens the rest itself
        chosen = test.choose(opened)
        most = len(chosen.of(opened))
    run = partial(test.run, chosen=chosen)
    with shared(processes, run, target, most) as here:
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

    def members(self, layers: Sequence[str] | None = None) -> list[Member]:
        """The models, and the protocols that each is tested by.

        Args:
            layers: as of `open_engine`.

        Raises:
            UsageError: a model cannot name classes, or has no such views or scales.
            ModelError: a model cannot be used.

        """
        members = []
        for model in self.models:
            engine = open_engine(
                model,
                layers,
                engine=self.engine,
                precision=self.precision,
                device=self.device,
                threads=self.threads,
            )
            engine.config.architecture.check_classes()
            members.append(Member(engine, self._protocols(engine.config), model))
        return members

    def check(self, members: Sequence[Member], data: Data) -> None:
        """Make sure that models and data have the same classes, before the content of each image is looked at.

        Raises:
            UsageError: the models' classes differ, or the data has no such part.
            DataError: the models lack one of the data's classes.

        """
        check_together(members)
        try:
            self._part(data).relabel(members[0].engine.config.class_names)
        except DataError:
            taught = next((model for model in self.models if classifier_file(Path(model)).is_file()), None)
            if taught is None:
                raise
            raise DataError(
                f"the network of {taught} lacks classes of the data; the classifier of `verydeep transfer` beside "
                "it is not tested here, as that command has told how good it is. For a network of these classes: "
                f"{command_line('train', self.data, 'RUN', '--from', taught)}"
            ) from None

    def choose(self, data: Data) -> Tested:
        """Which images are tested; it takes a look at the content of each."""
        models = [locate(model).path for model in self.models]
        trainings = [Training(read_training_images(model), read_split(model)) for model in models]
        with progress("comparing with the training images", len(self._part(data))) as advance:
            return choose(data, self.part, trainings, advance)

    def run(self, here: World, chosen: Tested | None) -> tuple[Evaluation, PosteriorParts | None]:
        """Test this process's share, and gather on the first."""
        for model in self.models:
            say_network_alone(Path(model), "tested")
        members = self.members()
        class_names = members[0].engine.config.class_names
        data = self.open()
        self.check(members, data)
        tested = chosen or here.from_first(lambda: self.choose(data))
        images = tested.of(data).relabel(class_names)
        say_skipped(self.data, data.skipped)
        parts = PosteriorParts(self.out, self._key(members, images), len(class_names)) if self.out else None
        start = time.perf_counter()
        lost: list[Unreadable] = []
        with progress(f"testing {described(tested.name, self.data)}", here.num_counted(len(images))) as advance:
            posteriors = posteriors_of(
                members,
                images,
                batch_size=self.batch_size,
                world=here,
                parts=parts,
                max_unreadable=self.max_unreadable,
                unreadable=lost.append,
                advance=advance,
            )
        facts = Facts(
            tuple(map(self._facts, members)),
            self.data,
            tested.name,
            class_names,
            time.perf_counter() - start,
            num_unreadable=len(lost),
            num_trained_on=tested.num_trained_on,
        )
        if here.first:
            tell_skipped(lost, len(images))
        read = readable(len(images), lost)
        names = tuple(images.names[number] for number in read.tolist())
        return Evaluation(facts, names, images.labels[read], posteriors[read]), parts

    def _part(self, data: Data) -> ImageSet:
        return data.part(default_part(data) if self.part == "auto" else self.part)

    def _protocols(self, config: ModelConfig) -> tuple[Protocol, ...]:
        mirror = config.trained_on.mirror if self.mirror is None else self.mirror
        protocols = protocols_of(self.views, self.scales or (config.trained_on.test_scale,), mirror, self.grid)
        for protocol in protocols:  # before the data is looked at
            check_scale("scales", min(protocol.scales), config.architecture)
        return protocols

    def _key(self, members: Sequence[Member], images: ImageSet) -> dict[str, object]:
        """What decides the result, so that another's finished chunks are not taken."""
        stats = [(model, weights_path(locate(model).path).stat()) for model in self.models]
        return {
            "models": [[model, stat.st_size, stat.st_mtime_ns] for model, stat in stats],
            "protocols": [[[type(one).__name__, asdict(one)] for one in member.protocols] for member in members],
            "pictures": images.fingerprint,  # the key of parts that earlier versions began
            "batch_size": self.batch_size,
            "precision": self.precision,
            "preprocessing": [asdict(member.engine.config.preprocessing) for member in members],
            "engine": self.engine,
            "device": self.device,
        }

    def _facts(self, member: Member) -> MemberFacts:
        config, protocols = member.engine.config, member.protocols
        architecture = config.architecture
        return MemberFacts(
            model=member.name,
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
