"""`verydeep evaluate`: models + labelled pictures -> error rates."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.configurations import num_parameters
from verydeep.distributed import World, world
from verydeep.errors import DataError, UsageError
from verydeep.evaluation.protocols import Protocol, ViewsName, check, named
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts, check_result_path, described, write_result
from verydeep.evaluation.test_set import PartName, Tested, Training, choose, default_part
from verydeep.inference import EngineName, PrecisionName
from verydeep.linear.classifier import say_network_alone
from verydeep.notes import progress, say, say_skipped
from verydeep.processes import start_processes
from verydeep.run_folder import ModelConfig, read_split, read_training_images
from verydeep.weights.source import locate, weights_path, with_network

if TYPE_CHECKING:
    from verydeep.evaluation.parts import PosteriorParts
    from verydeep.images.data import Data
    from verydeep.images.pictures import Pictures


@dataclass
class Evaluate:
    """Test a model the paper's way, or several as an ensemble.

    By default the test is dense: the picture is rescaled so that its smaller side is Q, the network runs over all
    of it, its class scores are averaged over space, and the posteriors over scales and the mirror image.
    Several models are averaged too.

    With --processes, or under torchrun, the pictures are shared out; each counts once.
    """

    models_and_data: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...] DATA")]
    """Run folders, or weights in them, or other libraries' weights; the last word is the data, as for `train`."""
    views: ViewsName = "dense"
    """dense: the whole picture; crops: a grid of crops; both: the mean of these two; centre: one crop; ten: the
    corners and the centre. All but centre with their mirror images."""
    scales: tuple[int, ...] = ()
    """Q, one or several; by default S, or the middle of its range."""
    grid: int = 5
    """Crops along each side, of crops and both."""
    mirror: FlagCreatePairsOff[bool] = False
    """Average with the mirror image even if training showed none; it is averaged with where training did."""
    no_mirror: FlagCreatePairsOff[bool] = False
    """Leave the mirror image out."""
    part: PartName = "auto"
    """Which images: auto takes test/ if it has labels, else val/, else all. Images that a model was trained on are
    left out and counted, except with --part train and --part all."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read; they are named, and count for nothing."""
    out: Path | None = None
    """Keep each picture's posterior in this .npz file, for `verydeep report` and `verydeep fuse`. A test that was
    interrupted goes on where it stopped."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    batch_size: int = 128
    """Pictures of one shape that are shown at once, at most."""
    processes: int = 1
    """Processes of this machine that share the pictures; the result is the same."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: PrecisionName = "auto"
    """Of the products; auto is float32."""
    engine: EngineName = "auto"
    """native computes on the processor without torch; auto takes it unless there is a GPU."""

    def __post_init__(self) -> None:
        models = [with_network(model, self.tensors) for model in self.models_and_data[:-1]]
        self.models_and_data = (*models, *self.models_and_data[-1:])

    def run(self) -> None:
        """Test, and print what comes out."""
        check_result_path(self.out)
        if len(self.models_and_data) < 2:
            raise UsageError("evaluate takes a model, or several, and then the data")
        if self.batch_size < 1:
            raise UsageError(f"--batch-size is {self.batch_size}; it has to be at least 1")
        if self.max_unreadable < 0:
            raise UsageError(f"--max-unreadable is {self.max_unreadable}; it has to be 0 or more")
        if self.mirror and self.no_mirror:
            raise UsageError("--mirror and --no-mirror exclude each other; choose one of them")
        chosen = self._choose(self._open()) if self.processes != 1 else None  # once for all of them
        test = partial(self._test, chosen=chosen)
        with start_processes(self.processes, test) if self.processes != 1 else world() as here:
            result, parts = test(here)
            if not here.first:
                return
            if self.out:
                write_result(self.out, result)
            if parts:
                parts.remove()
            print(json_line(result.to_dict()) if self.json else result)

    def _test(self, here: World, chosen: Tested | None) -> tuple[Evaluation, PosteriorParts | None]:
        models = [Path(word) for word in self.models_and_data[:-1]]
        for model in models:
            say_network_alone(model, "tested")
        from verydeep.evaluation.evaluate import Member
        from verydeep.evaluation.shared import evaluate_shared
        from verydeep.images.pictures import readable
        from verydeep.inference import open_scorer

        scorers = [open_scorer(model, self.device, self.precision, self.engine) for model in models]
        configs = [scorer.config for scorer in scorers]
        protocols = [self._protocols(config) for config in configs]
        data = self._open()
        tested = chosen or here.from_first(lambda: self._choose(data))
        pictures = tested.of(data).relabel(configs[0].class_names)
        say_skipped(self.models_and_data[-1], data.skipped)
        parts = self._parts(models, protocols, pictures)
        members = list(map(Member, scorers, protocols, map(str, models)))
        start = time.perf_counter()
        what = f"testing {described(tested.name, self.models_and_data[-1])}"
        with progress(what, here.num_counted(len(pictures))) as advance:
            posteriors, lost = evaluate_shared(
                members,
                pictures,
                here,
                parts,
                batch_size=self.batch_size,
                leave_out=self.max_unreadable,
                advance=advance,
            )
        facts = Facts(
            tuple(map(self._facts, models, configs, protocols)),
            self.models_and_data[-1],
            tested.name,
            configs[0].class_names,
            time.perf_counter() - start,
            num_unreadable=len(lost),
            num_trained_on=tested.num_trained_on,
        )
        for picture in lost:
            say(f"left out: {picture.reason}")
        read = readable(len(pictures), lost)
        if here.first and not len(read):
            raise DataError(f"not one of the {len(pictures)} pictures can be read")
        names = tuple(pictures.names[number] for number in read.tolist())
        return Evaluation(facts, names, pictures.labels[read], posteriors[read]), parts

    def _protocols(self, config: ModelConfig) -> tuple[Protocol, ...]:
        mirror = (config.trained_on.mirror or self.mirror) and not self.no_mirror
        scales = self.scales or (config.trained_on.test_scale,)
        protocols = named(self.views, scales, mirror, self.grid)
        for protocol in protocols:
            check(protocol, config.architecture.window)
        return protocols

    def _open(self) -> Data:
        from verydeep.images.sources import open_data

        model, data = locate(self.models_and_data[0]).path, self.models_and_data[-1]
        if read_training_images(model) is None:
            return open_data(data, held_out=read_split(model))
        return open_data(data).split_as(read_split(model))

    def _choose(self, data: Data) -> Tested:
        """Which images are tested; it takes a look at the content of each."""
        models = [locate(model).path for model in self.models_and_data[:-1]]
        trainings = [Training(read_training_images(model), read_split(model)) for model in models]
        part = default_part(data) if self.part == "auto" else self.part
        with progress("comparing with the training images", len(data.part(part))) as advance:
            return choose(data, self.part, trainings, advance)

    def _parts(
        self, models: list[Path], protocols: list[tuple[Protocol, ...]], pictures: Pictures
    ) -> PosteriorParts | None:
        if not self.out:
            return None
        from verydeep.evaluation.parts import PosteriorParts

        stats = [(str(model), weights_path(locate(model).path).stat()) for model in models]
        key = {
            "models": [[model, stat.st_size, stat.st_mtime_ns] for model, stat in stats],
            "protocols": [[[type(one).__name__, asdict(one)] for one in several] for several in protocols],
            "pictures": pictures.fingerprint,
            "batch_size": self.batch_size,
            "precision": self.precision,
        }
        return PosteriorParts(self.out, key)

    def _facts(self, model: Path, config: ModelConfig, protocols: tuple[Protocol, ...]) -> MemberFacts:
        architecture = config.architecture
        return MemberFacts(
            model=str(model),
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
