"""`verydeep predict`: model + pictures -> what they show, and where."""

from __future__ import annotations

import csv
import glob
import json as json_format
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.progress import progress, say
from verydeep.commands.quick import Numbers, Words
from verydeep.engines import EngineName, PrecisionName
from verydeep.errors import PictureError, UsageError, printable
from verydeep.evaluation.posterior import Posteriors
from verydeep.images.pictures import Pictures, Unreadable
from verydeep.images.unlabelled import unlabelled
from verydeep.model import Model, Prediction, load, ranked
from verydeep.transfer.classifier import Classifier, read_classifier
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network

BAR_WIDTH = 30


@dataclass
class Predict:
    """Name what pictures show.

    Where `verydeep transfer` has left a classifier beside the model, that answers.

    One picture gives a table, several give CSV: a line for each picture, with its classes and their probabilities.
    """

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name."""
    pictures: Annotated[Positional[Words], tyro.conf.arg(metavar="PICTURE")]
    """Pictures, folders of pictures, or patterns such as 'holiday/*.jpg'."""
    top: int = 5
    """How many classes to name."""
    scales: Numbers = ()
    """Q, one or several; by default S, or the middle of its range."""
    map: Optional[Path] = None  # noqa: UP045 - as in `quick`
    """Folder for pictures with their class score maps laid over them."""
    map_scale: Optional[int] = None  # noqa: UP045
    """Smaller side of the picture for its score map; by default two windows of the network."""
    network: FlagCreatePairsOff[bool] = False
    """Answer by the network's own classes, even if a classifier of `verydeep transfer` lies beside the model."""
    tensors: Optional[str] = None  # noqa: UP045
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print JSON: an object, and a line, for each picture."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: PrecisionName = "auto"
    """Of the products; auto is float32."""
    engine: EngineName = "auto"
    """native computes on the processor without torch; auto takes it unless there is a GPU."""

    def __post_init__(self) -> None:
        self.model = Path(with_network(self.model, self.tensors))

    def run(self) -> None:
        """Predict and print; exit with 1 if a picture could not be read, after the others."""
        if self.top < 1:
            raise UsageError(f"--top is {self.top}; name at least 1 class")
        pictures = unlabelled(find(self.pictures))
        lost: list[Unreadable] = []
        classifier = None if self.network else read_classifier(self.model)
        if classifier:
            posteriors, class_names = self._by_classifier(classifier, pictures, lost), classifier.class_names
        else:
            model = self._open()
            posteriors, class_names = self._by_network(model, pictures, lost), model.class_names
        predictions = {
            name: ranked(posterior, class_names, self.top)
            for name, posterior in zip(pictures.names, posteriors, strict=True)
            if np.isfinite(posterior[0])
        }
        self._print(predictions, alone=len(pictures) == 1)
        if self.map and not classifier:
            draw_maps(model, predictions, pictures, self.map, self.map_scale)
        for picture in lost:
            say(f"verydeep: {picture.reason}")
        if lost:
            raise PictureError(f"{len(lost)} of {len(pictures)} pictures could not be read")

    def _open(self) -> Model:
        model = load(self.model, self.device, self.precision, self.engine)
        window = model.config.architecture.image_size
        if self.map_scale is not None and self.map_scale < window:
            raise UsageError(
                f"--map-scale {self.map_scale} is smaller than the network's window of {window} pixels; "
                f"use {window} or more"
            )
        return model

    def _by_network(self, model: Model, pictures: Pictures, lost: list[Unreadable]) -> Posteriors:
        from verydeep.evaluation.evaluate import Member, evaluate
        from verydeep.evaluation.protocols import Dense

        protocol = Dense(self.scales or model.protocol.scales, model.protocol.mirror)
        with progress("predicting", len(pictures)) as advance:
            members = [Member(model.scorer, (protocol,))]
            return evaluate(members, pictures, advance=advance, unreadable=lost.append)

    def _by_classifier(self, classifier: Classifier, pictures: Pictures, lost: list[Unreadable]) -> Posteriors:
        from verydeep.extraction.extractor import extractor_of
        from verydeep.transfer.described import describe_pictures

        asked = [option for option, value in (("--scales", self.scales), ("--map", self.map)) if value]
        if asked:
            raise UsageError(
                f"{asked[0]} is of the network; the classifier of `verydeep transfer` beside it answers here, "
                "which has scales of its own and no score maps: add --network"
            )
        layer = classifier.described.layer
        config, tensors = open_source(self.model)
        classifier.check_network(tensors)
        extractor = extractor_of(
            config, tensors, [layer], device=self.device, precision=self.precision, engine=self.engine
        )
        with progress("predicting", len(pictures)) as advance:
            features = describe_pictures(
                extractor, pictures, classifier.described, advance=advance, unreadable=lost.append
            )
        if len(lost) == len(pictures):
            return np.full((len(pictures), 1), np.nan)
        return classifier.posteriors(features)

    def _print(self, predictions: dict[str, list[Prediction]], *, alone: bool) -> None:
        if self.json:
            for name, ranking in predictions.items():
                classes = [{"class": p.class_name, "probability": p.probability} for p in ranking]
                print(json_format.dumps({"picture": name, "predictions": classes}, ensure_ascii=False))
        elif alone:
            for prediction in next(iter(predictions.values()), ()):
                bar = "█" * round(BAR_WIDTH * prediction.probability)
                print(f"{prediction.probability:7.2%}  {bar:{BAR_WIDTH}}  {printable(prediction.class_name)}")
        elif predictions:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            num_classes = len(next(iter(predictions.values())))
            numbers = range(1, num_classes + 1)
            writer.writerow(["picture", *(f"{what}_{n}" for n in numbers for what in ("class", "probability"))])
            for name, ranking in predictions.items():
                cells = [cell for p in ranking for cell in (p.class_name, f"{p.probability:.6f}")]
                writer.writerow([name, *cells])


def find(words: tuple[str, ...]) -> list[Path]:
    """Turn the command line's words into paths; a word that is no file may be a pattern.

    Raises:
        UsageError: there are no words, or a pattern matches nothing.

    """
    if not words:
        raise UsageError("no picture is given; name pictures, folders or patterns")
    paths: list[Path] = []
    for word in words:
        if Path(word).exists() or not glob.has_magic(word):
            paths.append(Path(word))
            continue
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - the word may be absolute
        if not matches:
            raise UsageError(f"no file matches {word}")
        paths += map(Path, matches)
    return paths


def draw_maps(
    model: Model,
    predictions: dict[str, list[Prediction]],
    pictures: Pictures,
    folder: Path,
    scale: int | None,
) -> None:
    """Draw each picture with the map of its best class into `folder`, as `<name>.png`."""
    from verydeep.files import write_whole

    taken: set[str] = set()
    with progress("drawing", len(predictions)) as advance:
        for name, ranking in predictions.items():
            best = ranking[0]
            label = model.class_names.index(best.class_name)
            sheet = model.score_map(name, scale).draw(label, f"{best.class_name}  {best.probability:.1%}")
            stem, number = Path(name).stem, 2
            while stem in taken:
                stem, number = f"{Path(name).stem}-{number}", number + 1
            taken.add(stem)
            write_whole(folder / f"{stem}.png", partial(sheet.save, format="PNG"))
            advance(1)
    say(f"{len(predictions)} score map{'s' * (len(predictions) != 1)} in {folder}")
