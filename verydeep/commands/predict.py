"""`verydeep predict`: model + images -> what they show, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Computing, command
from verydeep.commands.quick import Numbers, Words
from verydeep.errors import PictureError
from verydeep.notes import say
from verydeep.results import Result

if TYPE_CHECKING:
    from verydeep.api.predict import Predictions


@command
class Predict(Computing):
    """Name what images show.

    Where `verydeep transfer` has left a classifier beside the model, that answers.

    One image gives a table, several give CSV: a line for each image, with its classes and their probabilities.
    """

    renamed = {"--map": "--maps"}

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which is bundled; or another library's, a file or a name."""
    images: Annotated[Positional[Words], tyro.conf.arg(metavar="IMAGE")]
    """Images, folders of images, or patterns such as 'holiday/*.jpg'."""
    top: int = 5
    """How many classes to name."""
    scales: Numbers = ()
    """Q, one or several (default: S, or the middle of its range)."""
    maps: Optional[Path] = None  # noqa: UP045 - as in `quick`
    """Folder for images with their class score maps laid over them."""
    map_scale: Optional[int] = None  # noqa: UP045
    """Smaller side of an image for its score map (default: two windows of the network)."""
    network: FlagCreatePairsOff[bool] = False
    """Answer by the network's own classes, even if a classifier of `verydeep transfer` lies beside the model."""
    tensors: Optional[str] = None  # noqa: UP045
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""

    def show(self, answer: Result) -> None:
        """Print the predictions, then say which images cannot be read, and fail if there are any."""
        predictions: Predictions = answer  # type: ignore[assignment]
        if predictions.images:
            super().show(answer)
        lost = predictions.unreadable
        for image in lost:
            say(f"verydeep: {image.reason}")
        if lost:
            raise PictureError(f"{len(lost)} of {len(lost) + len(predictions)} pictures could not be read")
