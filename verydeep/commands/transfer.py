"""`verydeep transfer`: model + labelled images -> a classifier on the model's features (Appendix B)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Computing, command


@command
class Transfer(Computing):
    """Train a linear SVM on a model's features, as Appendix B does, and tell how well it does.

    fc8 is dropped; fc7 (after its ReLU) runs densely over the whole image, and its mean over space and mirror
    image is divided by its length, at each scale. C is chosen on a held-out fifth of the training images.

    Without --splits the data's own parts are trained and tested on. With --splits 3 --per-class 30 it is
    Caltech-101's protocol: mean class recall over random splits, and its spread. The classifier is saved beside
    the model, and `verydeep predict` uses it.
    """

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which is bundled; or another library's, a file or a name."""
    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """Labelled images, as for `verydeep train`."""
    scales: tuple[int, ...] = ()
    """Q, one or several (default: S, or the middle of its range). The paper's are 256 384 512."""
    combine: Literal["stack", "average"] = "stack"
    """Whether the features of several scales are stacked or averaged."""
    layer: str = "relu7"
    """Layer that the features are of; pool5 of a network that is features only."""
    splits: int = 0
    """Random splits to test on; 0 takes the data's own parts."""
    per_class: int = 30
    """Training images of each class, of a random split."""
    test_per_class: int = 50
    """Test images of each class, at most, of a random split."""
    seed: int = 0
    """Of the random splits and of the held-out fifth."""
    out: Path | None = None
    """Run folder to make, of the model and the classifier (default: the classifier is left beside the model)."""
    save: bool = True
    """Keep the classifier; --no-save only makes the test."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    max_unreadable: int = 0
    """Continue if up to N images cannot be read; they are listed."""
