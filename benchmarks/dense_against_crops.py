"""The paper's dense test by our engine, beside its 150 crops by another: seconds that an image costs each way.

    python benchmarks/dense_against_crops.py [--images FOLDER] [--rounds 5] [--json]

The dense test shows an image whole at Q = 256, 384 and 512 with its mirror image, in shapes that are not known
beforehand. The other engine is shown windows of 224x224 in batches of 16, its shapes known and its images
preprocessed; 150 of them are what 50 crops at each of three scales are. The two take turns, each round in
processes of their own. Medians of the rounds, and of the ratio within each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

SCALES = (256, 384, 512)
CROPS = 150


def bench(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "verydeep", "bench", *words, "--rounds", "1", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"] or not found["rows"]:
        sys.exit(f"{' '.join(words)}: {found['failed'] or found['not_installed']}")
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images")
    parser.add_argument("--config", default="D")
    parser.add_argument("--ours", default="verydeep-bfloat16")
    parser.add_argument("--other", default="openvino-bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    network = ["--config", arguments.config]
    network += ["--images", arguments.images] if arguments.images else []
    dense: list[float] = []
    crops: list[float] = []
    for _ in range(arguments.rounds):
        scales = [str(scale) for scale in SCALES]
        rows = bench(*network, "--dense", *scales, "--num-images", "2", "--engines", arguments.ours)
        dense.append(sum(1 / row["images_per_second"] for row in rows))
        (row,) = bench(*network, "--batch-sizes", "16", "--engines", arguments.other)
        crops.append(CROPS / row["images_per_second"])
    found = {
        "rounds": arguments.rounds,
        "dense": {"engine": arguments.ours, "seconds": statistics.median(dense)},
        "crops": {"engine": arguments.other, "seconds": statistics.median(crops)},
        "ratio": statistics.median(ours / other for ours, other in zip(dense, crops, strict=True)),
    }
    if arguments.json:
        print(json.dumps(found))
        return
    for name in ("dense", "crops"):
        print(f"{name:6} {found[name]['engine']:20} {found[name]['seconds']:.2f} s an image")
    print(f"dense / crops: {found['ratio']:.3f}")


if __name__ == "__main__":
    main()
