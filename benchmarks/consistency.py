"""Compare thousands of random data folders, images and weight files with how independent libraries read them.

    python benchmarks/consistency.py [--cases 2000] [--kinds KIND ...] [--first 0]

A case either agrees with the independent reading, or is refused with a sentence. Anything else is a mistake:
another answer in silence, or an exception without a sentence. Prints a line of JSON for each kind, with mistakes
and examples of refusals; exits with 1 if there is a mistake. The test suite runs the first cases of each kind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "tests" / name) for name in ("consistency", "weights", "")]
os.environ.setdefault("KERAS_BACKEND", "torch")

from cases import CASES, run_case  # noqa: E402 - found by the line above
from outcomes import AGREE, DIFFER, REFUSED  # noqa: E402


def test(kind: str, seeds: range) -> dict[str, object]:
    """Run cases of one kind."""
    outcomes: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    mistakes: dict[int, str] = {}
    start = time.perf_counter()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "case"
            outcome = run_case(kind, seed, folder)
            outcomes[outcome.kind] += 1
            if outcome.kind == DIFFER:
                mistakes[seed] = outcome.words
            elif outcome.words:
                sentences[re.sub(r"\d+", "#", outcome.words.replace(name, ""))[:160]] += 1
    return {
        "kind": kind,
        "cases": len(seeds),
        **{word: outcomes[word] for word in (AGREE, REFUSED, DIFFER)},
        "mistakes": mistakes,
        "refusals": dict(sentences.most_common(8)),
        "seconds": round(time.perf_counter() - start),
    }


def main() -> None:
    """Run every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="of all kinds together")
    parser.add_argument("--kinds", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--first", type=int, default=0, help="seed of the first case of each kind")
    arguments = parser.parse_args()
    shares = {kind: CASES[kind].in_suite for kind in arguments.kinds}
    failed = False
    for kind, share in shares.items():
        count = -(-arguments.cases * share // sum(shares.values()))
        result = test(kind, range(arguments.first, arguments.first + count))
        print(json.dumps(result, ensure_ascii=False), flush=True)
        failed |= bool(result[DIFFER])
    sys.exit(failed)


if __name__ == "__main__":
    main()
