"""One network of the mean of several networks' weights, such as the ends of a training's cycles.

    python benchmarks/mean_of_weights.py MODEL MODEL ... --out RUN

Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, arXiv 1803.05407. The models
must be of one architecture and one beginning: networks that were trained apart have nothing in common layer by
layer, and their mean is none. Statistics of batch normalisation are averaged as weights are, not measured anew.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.run_folder import write_model
from verydeep.weights.opening import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    options = parser.parse_args()
    first, _ = open_source(options.models[0])
    sums: dict[str, np.ndarray] = {}
    for model in options.models:
        config, tensors = open_source(model)
        if config.architecture != first.architecture:
            parser.error(f"{model} has another architecture than {options.models[0]}")
        for name, tensor in tensors.items():
            sums[name] = sums.get(name, 0) + tensor.astype(np.float64)
    mean = {name: (total / len(options.models)).astype(tensors[name].dtype) for name, total in sums.items()}
    notes = [
        f"weights: the mean of {len(options.models)} networks', of which the last was trained as is told here"
    ]
    write_model(options.out, replace(config, provenance={**config.provenance, "notes": notes}), mean)
    print(f"{options.out}: the mean of {len(options.models)} networks")


if __name__ == "__main__":
    main()
