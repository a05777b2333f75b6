"""`verydeep extract`: model + pictures -> what layers give for them, in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.predict import find
from verydeep.distributed import World, world
from verydeep.errors import DataError, UsageError
from verydeep.extraction.summaries import Summary
from verydeep.images import digits
from verydeep.images.listing import Skipped
from verydeep.images.shard_index import MANIFEST
from verydeep.images.sources import open_data
from verydeep.images.storage import is_local
from verydeep.images.unlabelled import unlabelled
from verydeep.inference import EngineName, PrecisionName, products_in
from verydeep.notes import progress, say, say_skipped
from verydeep.processes import start_processes
from verydeep.weights.source import locate, weights_path, with_network

if TYPE_CHECKING:
    from verydeep.evaluation.plan import Chunk
    from verydeep.extraction.plan import Shown
    from verydeep.extraction.shared import FeatureParts
    from verydeep.images.pictures import Pictures
    from verydeep.run_folder import ModelConfig


@dataclass
class Extract:
    """Keep what a network's layers give for pictures, for retrieval, clustering or a classifier of another kind.

    Pictures are rescaled so that the smaller side is Q, and shown whole. Any number of them takes the same memory.
    An extraction that was interrupted goes on where it stopped when the same command is given again, and comes to
    the same file. With --processes, or under torchrun, the pictures are shared out.
    """

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name."""
    pictures: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="PICTURES")]
    """Pictures, folders of pictures, patterns such as 'holiday/*.jpg', or shards."""
    layers: tuple[str, ...]
    """Names such as conv4_3 (before its ReLU), relu4_3 (after it), pool5, fc7, relu7."""
    out: Path
    """File to write: .npz (NumPy), or .parquet."""
    pool: Summary = "mean"
    """What is kept of a layer's maps: their mean or their max over space, their gram matrix, or, by none, all."""
    scales: tuple[int, ...] = ()
    """Q, the smaller side; by default S, or the middle of its range."""
    crop: FlagCreatePairsOff[bool] = False
    """Show the middle window of the network alone, so that all pictures have one shape."""
    pooling: Literal["max", "average"] = "max"
    """Of the network itself: average replaces every max-pooling."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read; they are named."""
    processes: int = 1
    """Processes of this machine that share the pictures; the file is the same."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: PrecisionName = "auto"
    """Of the products; auto is float32."""
    engine: EngineName = "auto"
    """native computes on the processor without torch; auto takes it unless there is a GPU."""

    def __post_init__(self) -> None:
        self.model = Path(with_network(self.model, self.tensors))

    def run(self) -> None:
        """Extract, write, and say what was written."""
        from verydeep.extraction.archive import check_features_out, write_features

        check_features_out(self.out)
        if self.max_unreadable < 0:
            raise UsageError(f"--max-unreadable is {self.max_unreadable}; it has to be 0 or more")
        with start_processes(self.processes, self._extract) if self.processes != 1 else world() as here:
            parts, plan, pictures, shapes, facts = self._extract(here)
            if not here.first:
                return
            count = write_features(self.out, parts, plan, pictures, shapes, facts)
            parts.remove()
        kept = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
        print(f"{self.out}: {count:,} pictures, {kept}")

    def _extract(
        self, here: World
    ) -> tuple[FeatureParts, list[Chunk], Pictures, dict[str, tuple[int, ...]], dict[str, Any]]:
        from verydeep.extraction.extractor import open_extractor
        from verydeep.extraction.plan import check_shown, make_plan, paths_of
        from verydeep.extraction.shared import extract_shared

        extractor = open_extractor(
            self.model,
            self.layers,
            pooling=self.pooling,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
        )
        shown = self._shown(extractor.config)
        check_shown(shown, extractor.config.architecture, extractor.path)
        pictures = find_pictures(self.pictures)
        plan, shapes = make_plan(pictures, shown, paths_of(extractor.path, self.layers), self.pool)
        facts = self._facts(extractor.config, shown)
        parts = self._parts(pictures, shown, facts)
        with progress("extracting", here.num_counted(len(pictures))) as advance:
            lost = extract_shared(
                extractor,
                pictures,
                plan,
                here,
                parts,
                shown=shown,
                summary=self.pool,
                leave_out=self.max_unreadable,
                advance=advance,
            )
        for picture in lost:
            say(f"left out: {picture.reason}")
        if here.first and len(lost) == len(pictures):
            raise DataError(f"not one of the {len(pictures)} pictures can be read")
        return parts, plan, pictures, shapes, facts

    def _shown(self, config: ModelConfig) -> Shown:
        from verydeep.extraction.plan import Shown

        scale = self.scales[0] if self.scales else config.trained_on.test_scale
        return Shown(scale, config.architecture.window if self.crop else None)

    def _parts(self, pictures: Pictures, shown: Shown, facts: dict[str, Any]) -> FeatureParts:
        from verydeep.extraction.shared import FeatureParts

        stat = weights_path(locate(self.model).path).stat()
        key = {
            **facts,
            "weights": [stat.st_size, stat.st_mtime_ns],
            "pictures": pictures.fingerprint,
            "window": shown.window,
            "device": self.device,
            "engine": self.engine,
        }
        return FeatureParts(self.out, key, "--out")

    def _facts(self, config: ModelConfig, shown: Shown) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "configuration": config.architecture.configuration,
            "layers": list(self.layers),
            "pool": self.pool,
            "scale": shown.scale,
            "crop": self.crop,
            "pooling": self.pooling,
            "precision": products_in(self.precision),
        }


def find_pictures(words: tuple[str, ...]) -> Pictures:
    """Turn the command line's words into pictures: files, folders and patterns; or one data set of another form.

    Raises:
        UsageError: there are no words, or a pattern matches nothing.
        PictureError: there is no such file, or a folder without pictures.

    """
    if len(words) == 1:
        (word,) = words
        if word == digits.NAME or not is_local(word) or (Path(word) / MANIFEST).is_file():
            return open_data(word).all
    skipped = Skipped()
    found = unlabelled(find(words), skipped)
    say_skipped(", ".join(words), str(skipped))
    return found
