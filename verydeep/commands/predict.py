"""`verydeep predict`: model + pictures -> what they show, and where."""

from __future__ import annotations

import csv
import glob
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.commands.quick import Numbers, Words
from verydeep.errors import PictureError, UsageError, printable
from verydeep.files import MARK
from verydeep.images.listing import Skipped
from verydeep.images.pictures import Pictures, Unreadable, readable
from verydeep.images.unlabelled import unlabelled
from verydeep.inference import EngineName, PrecisionName
from verydeep.model import Model, Prediction, TransferModel, load, ranked
from verydeep.notes import progress, say, say_skipped
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
    maps: Optional[Path] = None  # noqa: UP045 - as in `quick`
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
        skipped = Skipped()
        pictures = unlabelled(find(self.pictures), skipped)
        say_skipped(", ".join(self.pictures), str(skipped))
        lost: list[Unreadable] = []
        model = self._open()
        protocol = replace(model.protocol, scales=self.scales) if self.scales else None
        with progress("predicting", len(pictures)) as advance:
            posteriors = model.posteriors_of(pictures, protocol, advance=advance, unreadable=lost.append)
        predictions = {
            number: ranked(posteriors[number], model.class_names, self.top)
            for number in readable(len(pictures), lost).tolist()
        }
        named = [(pictures.names[number], ranking) for number, ranking in predictions.items()]
        self._print(named, alone=len(pictures) == 1)
        if self.maps:
            draw_maps(model, predictions, pictures, self.maps, self.map_scale)
        for picture in lost:
            say(f"verydeep: {picture.reason}")
        if lost:
            raise PictureError(f"{len(lost)} of {len(pictures)} pictures could not be read")

    def _open(self) -> Model:
        model = load(self.model, self.device, self.precision, self.engine, network=self.network)
        asked = [option for option, value in (("--scales", self.scales), ("--maps", self.maps)) if value]
        if asked and isinstance(model, TransferModel):
            raise UsageError(
                f"{asked[0]} is of the network; the classifier of `verydeep transfer` beside it answers here, "
                "which has scales of its own and no score maps: add --network"
            )
        window = model.config.architecture.window
        if self.map_scale is not None and self.map_scale < window:
            raise UsageError(
                f"--map-scale {self.map_scale} is smaller than the network's window of {window} pixels; "
                f"use {window} or more"
            )
        return model

    def _print(self, predictions: list[tuple[str, list[Prediction]]], *, alone: bool) -> None:
        if self.json:
            for name, ranking in predictions:
                classes = [{"class": p.class_name, "probability": p.probability} for p in ranking]
                print(json_line({"picture": name, "predictions": classes}))
        elif alone:
            for prediction in predictions[0][1] if predictions else ():
                bar = "█" * round(BAR_WIDTH * prediction.probability)
                print(f"{prediction.probability:7.2%}  {bar:{BAR_WIDTH}}  {printable(prediction.class_name)}")
        elif predictions:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            num_classes = len(predictions[0][1])
            numbers = range(1, num_classes + 1)
            writer.writerow(["picture", *(f"{what}_{n}" for n in numbers for what in ("class", "probability"))])
            for name, ranking in predictions:
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
        if not word:
            raise UsageError("the name of a picture is empty; name pictures, folders or patterns")
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
    predictions: dict[int, list[Prediction]],
    pictures: Pictures,
    folder: Path,
    scale: int | None,
) -> None:
    """Draw each picture with the map of its best class into `folder`, as `<name>.png`."""
    from PIL.PngImagePlugin import PngInfo

    from verydeep.files import write_whole

    mark = PngInfo()
    mark.add_text(*MARK)
    taken: set[str] = set()
    with progress("drawing", len(predictions)) as advance:
        for number, ranking in predictions.items():
            best = ranking[0]
            label = model.class_names.index(best.class_name)
            picture = pictures.source.read(number)
            sheet = model.score_map(picture, scale).draw(label, f"{best.class_name}  {best.probability:.1%}")
            name = Path(pictures.names[number])
            stem, count = name.stem, 2
            while stem in taken:
                stem, count = f"{name.stem}-{count}", count + 1
            taken.add(stem)
            write_whole(folder / f"{stem}.png", partial(sheet.save, format="PNG", pnginfo=mark))
            advance(1)
    say(f"{len(predictions)} score map{'s' * (len(predictions) != 1)} in {folder}")
