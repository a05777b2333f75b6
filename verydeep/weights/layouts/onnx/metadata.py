"""What `verydeep export` writes into an ONNX file's metadata, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping

from verydeep.errors import ModelError, printable
from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn
from verydeep.weights.source import Known


def known(told: Mapping[str, str], within: Preprocessing | None, trained_on: TrainedOn | None) -> Known:
    """What is known about an ONNX graph.

    Args:
        told: its metadata.
        within: what it does to pixels itself.
        trained_on: S, where its input says it.

    """
    try:
        mean, deviation = (tuple(map(float, json.loads(told[name]))) for name in ("mean", "deviation"))
        scale = json.loads(told["scale"]) if "scale" in told else [told["test_scale"]] * 2
        return Known(
            within or Preprocessing(mean, deviation, told["channels"]),  # type: ignore[arg-type]
            tuple(map(printable, json.loads(told["class_names"]))),
            TrainedOn((int(scale[0]), int(scale[1])), told.get("mirror", "true") == "true"),
            told.get("licence") and printable(told["licence"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError, IndexError, ModelError):
        return Known(within, trained_on=trained_on)
