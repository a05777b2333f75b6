"""Let an installed verydeep classify an image with the bundled model, and compare its answer.

    python tools/check_answer.py [IMAGE CLASS] [--engine native]

The Python that runs this is that of the environment to be tested. Without IMAGE and CLASS it is an image of this
checkout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

# The cat of the tutorials, which the model is sure of.
IMAGE = Path(__file__).parent.parent / "docs" / "tutorials" / "images" / "cat.jpg"
CLASS = "cat"


def main() -> str | None:
    """Ask the command `verydeep`; the return value says what is wrong, and None is success."""
    parser = argparse.ArgumentParser(description="Let an installed verydeep classify an image.")
    parser.add_argument("image", nargs="?", type=Path, default=IMAGE, help=f"(default: {IMAGE.name})")
    parser.add_argument("wanted", nargs="?", default=CLASS, metavar="class", help="(default: %(default)s)")
    parser.add_argument("--engine", choices=("native", "torch"), default="native", help="(default: %(default)s)")
    words = parser.parse_args()
    verydeep = shutil.which("verydeep", path=Path(sys.executable).parent)
    if verydeep is None:
        return f"{Path(sys.executable).parent} has no command verydeep; install a wheel of verydeep there first"
    command = [verydeep, "predict", "cifar10", words.image, "--engine", words.engine, "--top", "1", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        return answer.stderr.strip()
    (best,) = json.loads(answer.stdout)["predictions"]
    if best["class"] != words.wanted:
        return f"{words.image}: verydeep answers {best['class']}, and the class is {words.wanted}"
    print(f"verydeep predict cifar10 {words.image}: {best['class']}, {best['probability']:.1%}")
    return None


if __name__ == "__main__":
    sys.exit(main())
