"""`verydeep evaluate`: model + labelled pictures -> error rates."""

from __future__ import annotations

import json as json_format
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.progress import progress
from verydeep.configurations import num_parameters
from verydeep.errors import UsageError
from verydeep.evaluation.protocols import Dense
from verydeep.evaluation.results import Facts, Result, write_result
from verydeep.run_folder import ModelConfig, read_config, read_split


@dataclass
class Evaluate:
    """Test a model the paper's way: dense evaluation of whole pictures.

    The picture is rescaled so that its smaller side is Q, the network runs over all of it, its class scores are
    averaged over space, and the posteriors over scales and the mirror image.
    """

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or one of its weights."""
    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """As for `verydeep train`."""
    part: Literal["held-out", "train", "all"] = "held-out"
    """Which pictures. Of a folder without val/, the ones that the model's training held out."""
    scales: tuple[int, ...] = ()
    """Q, one or several; by default S, or the middle of its range."""
    mirror: FlagCreatePairsOff[bool] = False
    """Average with the mirror image even if training showed none; it is averaged with where training did."""
    no_mirror: FlagCreatePairsOff[bool] = False
    """Leave the mirror image out."""
    posteriors: Path | None = None
    """Keep each picture's posterior in this .npz file, for `verydeep report`."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    batch_size: int = 128
    """Pictures of one shape that are shown at once, at most."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the products; auto is float32."""

    def run(self) -> None:
        """Test, and print what comes out."""
        result = self._test()
        if self.posteriors:
            write_result(self.posteriors, result)
        print(json_format.dumps(result.summary(), ensure_ascii=False) if self.json else readable(result))

    def _test(self) -> Result:
        from verydeep.engines import open_scorer
        from verydeep.evaluation.evaluate import evaluate
        from verydeep.images.sources import open_data

        config = read_config(self.model)
        mirror = (config.trained_on.mirror or self.mirror) and not self.no_mirror
        protocol = Dense(self.scales or (config.trained_on.test_scale,), mirror)
        protocol.check(config.architecture.image_size)
        if self.posteriors and self.posteriors.suffix != ".npz":
            raise UsageError(f"--posteriors {self.posteriors} has to end with .npz")
        data = open_data(self.data, held_out=read_split(self.model))
        pictures = {"held-out": data.held_out, "train": data.train, "all": data.all}[self.part]
        pictures = pictures.relabel(config.class_names)
        scorer = open_scorer(self.model, self.device, self.precision)
        start = time.perf_counter()
        with progress("testing", len(pictures)) as advance:
            posteriors = evaluate(scorer, pictures, protocol, batch_size=self.batch_size, advance=advance)
        facts = self._facts(config, protocol, time.perf_counter() - start)
        return Result(facts, pictures.names, pictures.labels, posteriors)

    def _facts(self, config: ModelConfig, protocol: Dense, seconds: float) -> Facts:
        architecture = config.architecture
        return Facts(
            model=str(self.model),
            configuration=architecture.configuration,
            width=architecture.width,
            parameters=num_parameters(architecture),
            trained_scale=config.trained_on.scale,
            views=protocol.views,
            scales=protocol.scales,
            mirror=protocol.mirror,
            data=self.data,
            part=self.part,
            class_names=config.class_names,
            seconds=seconds,
        )


def readable(result: Result, most: int = 10) -> str:
    """Tell a result in a few lines, the worst classes last."""
    rates, facts = result.error_rates, result.facts
    views = f"{facts.views}, Q = {', '.join(map(str, facts.scales))}" + ", mirror images" * facts.mirror
    lines = [
        f"{rates.num_images:,} pictures ({facts.part} of {facts.data}), {views}, {facts.seconds:.1f} s",
        f"top-1 error {rates.top1_error:.2f} %",
        f"top-{rates.top_k} error {rates.top5_error:.2f} %",
    ]
    order = sorted(
        (label for label in range(len(facts.class_names)) if rates.per_class[label] > 0),
        key=lambda label: -rates.per_class[label],
    )
    if order:
        lines.append("most often wrong:")
    for label in order[:most]:
        row = rates.confusion[label].copy()
        row[label] = 0
        taken_for = facts.class_names[int(row.argmax())]
        lines.append(f"  {rates.per_class[label]:5.1f} %  {facts.class_names[label]}, most for {taken_for}")
    return "\n".join(lines)
