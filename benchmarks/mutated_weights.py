"""Does each of 500 damaged files of weights of each kind give a sentence, and nothing else.

    python benchmarks/mutated_weights.py [--count 500] [--kinds KIND ...] [--seed 0]

Files are damaged as in `tests/weights/mutations.py`: cut, bits flipped, lengths and shapes made absurd, headers
lengthened, pieces moved, all but the beginning replaced by noise. Each is inspected, by the reader that
`inspect` has for it: libraries' in a process apart, ours here. What is counted: refused with a sentence; read
all the same, as a flipped bit within a number is not seen; and anything else, which is a mistake of ours:
another exception, a file created, more than a minute, more than 2 GB. Prints a line of JSON for each kind.

The process apart is forked from this one, which has loaded PyTorch, h5py and SciPy already: to start Python and
load them for each file would take an hour. `--whole` does that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "weights"))
os.environ.setdefault("KERAS_BACKEND", "torch")

from mutations import ENDINGS, mutants, write

from verydeep.api.inspect import inspect
from verydeep.errors import VerydeepError
from verydeep.weights.files import sandbox, sandbox_process
from verydeep.weights.formats import FORMATS

MOST_SECONDS, MOST_KILOBYTES, MOST_LETTERS = 60, 2_000_000, 1500


class Forked:
    """The sandbox's process as `subprocess.Popen` would give it, forked."""

    def __init__(self, command: list[str], **others: object) -> None:
        module, path, most_bytes, most_seconds, facts = command[-5:]
        read, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(write_end, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.close(read)
            os.close(write_end)
            try:
                sandbox_process.main(module, Path(path), int(most_bytes), int(most_seconds), json.loads(facts))
            finally:
                os._exit(0)
        os.close(write_end)
        self.stdout = os.fdopen(read, "rb")
        self.code: int | None = None

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stdout.close()
        self.wait()

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end: its exit code, or the signal that ended it as a negative number."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code


def outcome(path: Path) -> str:
    """What becomes of one file."""
    start = time.perf_counter()
    try:
        inspect(path).to_dict()
        result = "read"
    except VerydeepError as error:
        sentence = str(error)
        whole = str(path) in sentence and sentence.isprintable() and len(sentence) < MOST_LETTERS
        result = "refused" if whole else f"no sentence: {sentence!r}"
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    return result if time.perf_counter() - start < MOST_SECONDS else f"{result}, after too long"


def test(kind: str, count: int, seed: int) -> dict[str, object]:
    """Damage and inspect files of one kind, in a folder of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = write(kind, folder / f"whole{ENDINGS[kind]}").read_bytes()
        outcomes: Counter[str] = Counter()
        start = time.perf_counter()
        for way, damaged in mutants(content, count, seed):
            path = folder / f"damaged{ENDINGS[kind]}"
            path.write_bytes(damaged)
            result = outcome(path)
            outcomes[result if result in ("read", "refused") else f"{way}: {result}"] += 1
        files = sorted(file.name for file in folder.iterdir())
    created = [file for file in files if not file.startswith(("whole", "damaged"))]
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    mistakes = {result: number for result, number in outcomes.items() if result not in ("read", "refused")}
    return {
        "kind": kind,
        "files": count,
        "refused": outcomes["refused"],
        "read": outcomes["read"],
        "mistakes": mistakes,
        "created": created,
        "peak_mb": round(peak / 1000),
        "too_much_memory": peak > MOST_KILOBYTES,
        "seconds": round(time.perf_counter() - start),
    }


def main() -> None:
    """Test every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--kinds", nargs="+", default=list(ENDINGS), choices=list(ENDINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()
    if not arguments.whole:
        for form in FORMATS.values():
            import_module(form.reader)
        sandbox.subprocess = SimpleNamespace(Popen=Forked, DEVNULL=None, PIPE=None)  # type: ignore[assignment]
    results = []
    for kind in arguments.kinds:
        results.append(test(kind, arguments.count, arguments.seed))
        print(json.dumps(results[-1]), flush=True)
    sys.exit(any(result["mistakes"] or result["created"] or result["too_much_memory"] for result in results))


if __name__ == "__main__":
    main()
