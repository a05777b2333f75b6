"""`verydeep transfer`: model + labelled pictures -> a classifier on the model's features (Appendix B)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.errors import DataError, UsageError, require
from verydeep.images.data import train_and_test
from verydeep.images.pictures import Unreadable, readable, too_many
from verydeep.images.sources import open_data
from verydeep.inference import EngineName, PrecisionName
from verydeep.notes import progress, say, say_skipped
from verydeep.run_folder import read_split
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate, with_network

if TYPE_CHECKING:
    from verydeep.extraction.extractor import Extractor
    from verydeep.images.data import Split
    from verydeep.linear.classifier import Classifier, Described, Features
    from verydeep.linear.machine import Labels, Machine


@dataclass
class Transfer:
    """Train a linear SVM on a model's features, as Appendix B does, and tell how well it does.

    fc8 is dropped; fc7 (after its ReLU) runs densely over the whole picture, and its mean over space and mirror
    image is divided by its length, at each scale. C is chosen on a held-out fifth of the training pictures.

    Without --splits the data's own parts are trained and tested on. With --splits 3 --per-class 30 it is
    Caltech-101's protocol: mean class recall over random splits, and its spread. The classifier is saved beside
    the model, and `verydeep predict` uses it.
    """

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or one of its weights; with --no-save another library's weights, too."""
    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Labelled pictures, as for `verydeep train`."""
    scales: tuple[int, ...] = ()
    """Q, one or several; by default S, or the middle of its range. The paper's are 256 384 512."""
    combine: Literal["stack", "average"] = "stack"
    """Whether the features of several scales are stacked or averaged."""
    layer: str = "relu7"
    """Layer that the features are of; pool5 of a network that is features only."""
    splits: int = 0
    """Random splits to test on; 0 takes the data's own parts."""
    per_class: int = 30
    """Training pictures of each class, of a random split."""
    test_per_class: int = 50
    """Test pictures of each class, at most, of a random split."""
    seed: int = 0
    """Of the random splits and of the held-out fifth."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read; they are named."""
    no_save: FlagCreatePairsOff[bool] = False
    """Test alone; leave no classifier beside the model."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: PrecisionName = "auto"
    """Of the products; auto is float32."""
    engine: EngineName = "auto"
    """native computes on the processor without torch; auto takes it unless there is a GPU."""

    def __post_init__(self) -> None:
        self.model = Path(with_network(self.model, self.tensors))

    def run(self) -> None:
        """Describe the pictures, train, test, save and print."""
        require("sklearn", "train", "transfer")
        from verydeep.extraction.extractor import extractor_of
        from verydeep.linear.classifier import Classifier, Described, digest

        for option, value, least in (
            ("--splits", self.splits, 0),
            ("--per-class", self.per_class, 2),
            ("--test-per-class", self.test_per_class, 1),
            ("--max-unreadable", self.max_unreadable, 0),
        ):
            if value < least:
                raise UsageError(f"{option} is {value}; it has to be at least {least}")
        model = locate(self.model)
        if not self.no_save and (model.embedded or not is_ours(model.path)):
            raise UsageError(
                f"{self.model} is no run folder, beside whose weights a classifier could lie; make it one by: "
                f"verydeep convert {self.model} RUN, or leave no classifier by --no-save"
            )
        config, tensors = open_source(self.model)
        extractor = extractor_of(
            config, tensors, [self.layer], device=self.device, precision=self.precision, engine=self.engine
        )
        described = Described(self.layer, self.scales or (config.trained_on.test_scale,), True, self.combine)
        # Not tested on images that the network was trained on, if this is its folder, grown since.
        data = open_data(self.data).split_as(read_split(model.path))
        say_skipped(self.data, data.skipped)
        split = train_and_test(data)
        features, labels, is_train = self._describe(extractor, described, split)
        recalls, machine = self._test(features, labels, is_train, len(data.class_names))
        facts = self._facts(split, described, recalls, machine, len(labels))
        if not self.no_save:
            self._save(
                Classifier(
                    described,
                    data.class_names,
                    machine.weights,
                    machine.bias,
                    machine.sharpness,
                    facts,
                    digest(tensors),
                )
            )
        print(json_line(facts) if self.json else self._readable(facts))

    def _describe(
        self, extractor: Extractor, described: Described, split: Split
    ) -> tuple[Features, Labels, np.ndarray[Any, np.dtype[np.bool_]]]:
        from verydeep.linear.described import describe_pictures

        pictures = split.train.join(split.other)
        lost: list[Unreadable] = []
        with progress("describing", len(pictures)) as advance:
            features = describe_pictures(extractor, pictures, described, advance=advance, unreadable=lost.append)
        if len(lost) > self.max_unreadable:
            raise too_many(lost)
        for picture in lost:
            say(f"left out: {picture.reason}")
        is_train = np.arange(len(pictures)) < len(split.train)
        if len(lost) == len(pictures):
            raise DataError(f"not one of the {len(pictures)} pictures can be read")
        described_ones = readable(len(pictures), lost)
        return features[described_ones], pictures.labels[described_ones], is_train[described_ones]

    def _test(
        self, features: Features, labels: Labels, is_train: np.ndarray[Any, np.dtype[np.bool_]], num_classes: int
    ) -> tuple[list[float], Machine]:
        """Recall on each split; and the machine to keep, which is trained on the training part."""
        from verydeep.linear.machine import over_splits, splits, train_machine

        if self.splits:
            several = splits(labels, num_classes, self.splits, self.per_class, self.test_per_class, self.seed)
        else:
            several = [(np.flatnonzero(is_train), np.flatnonzero(~is_train))]
        with progress("training", len(several) + bool(self.splits), "machines") as advance:
            recalls, machines = over_splits(features, labels, num_classes, several, self.seed, advance)
            if not self.splits:
                return recalls, machines[0]
            machine = train_machine(features[is_train], labels[is_train], num_classes, self.seed)
            advance(1)
        return recalls, machine

    def _save(self, classifier: Classifier) -> None:
        from verydeep.linear.classifier import write_classifier

        say(f"{write_classifier(self.model, classifier)} written; `verydeep predict {self.model}` uses it")

    def _facts(
        self, split: Split, described: Described, recalls: list[float], machine: Machine, count: int
    ) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "data": self.data,
            "num_pictures": count,
            "num_classes": len(split.train.class_names),
            "layer": self.layer,
            "scales": list(described.scales),
            "combine": self.combine,
            "split": f"{self.splits} random, {self.per_class} a class to train on"
            if self.splits
            else split.origin,
            "mean_class_recall": recalls,
            "C": machine.strength,
        }

    def _readable(self, facts: dict[str, Any]) -> str:
        recalls = facts["mean_class_recall"]
        spread = f" ± {np.std(recalls, ddof=1):.1f}" if len(recalls) > 1 else ""
        return "\n".join(
            [
                f"{facts['num_pictures']:,} pictures of {facts['num_classes']} classes, {facts['layer']}, "
                f"Q = {', '.join(map(str, facts['scales']))}; {facts['split']}",
                f"mean class recall {np.mean(recalls):.1f}{spread} %, C = {facts['C']:g}",
            ]
        )
