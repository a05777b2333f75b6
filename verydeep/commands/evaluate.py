"""`verydeep evaluate`: models + labelled images -> error rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import ReadingMany, command
from verydeep.errors import UsageError
from verydeep.evaluation.test_set import PartName


@command
class Evaluate(ReadingMany):
    """Test a model the paper's way, or several as an ensemble.

    By default the test is dense: the image is rescaled so that its smaller side is Q, the network runs over all
    of it, its class scores are averaged over space, and the posteriors over scales and the mirror image.
    Several models are averaged too.

    With --processes, or under torchrun, the images are shared out; each counts once.
    """

    renamed = {"--posteriors": "--out"}

    models_and_data: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...] DATA")]
    """Run folders, or weights in them, or other libraries' weights; the last word is the data, as for `train`."""
    views: str = "dense"
    """dense: the whole image; crops: multi-crop, a grid of crops; both: multi-crop & dense, the mean of the two;
    centre: centre crop; ten: ten crops, the corners and the centre. All but centre with their mirror images."""
    scales: tuple[int, ...] = ()
    """Q, one or several (default: S, or the middle of its range)."""
    grid: int = 5
    """Crops along each side, of multi-crop."""
    mirror: FlagCreatePairsOff[bool] = False
    """Average with the mirror image even if training showed none; it is averaged with where training did."""
    no_mirror: FlagCreatePairsOff[bool] = False
    """Leave the mirror image out."""
    part: PartName = "auto"
    """Which images: auto takes test/ if it has labels, else val/, else all. Images that a model was trained on are
    left out and counted, except with --part train and --part all."""
    out: Path | None = None
    """.npz file for each image's posterior, for `verydeep report` and `verydeep fuse`. A test that was interrupted
    resumes from what it left there."""
    batch_size: int = 128
    """Images of one shape that are shown at once, at most."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of the function: models and data apart, and mirror images as they are asked for."""
        if self.mirror and self.no_mirror:
            raise UsageError("--mirror and --no-mirror exclude each other; choose one of them")
        named = super().arguments()
        *models, data = named.pop("models_and_data") or ("",)
        mirror = False if named.pop("no_mirror") else self.mirror or None
        return {**named, "models": models, "data": data, "mirror": mirror}
