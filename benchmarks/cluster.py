"""`verydeep.Predictor` in Ray Data: a cluster of two local nodes, one of which is killed half-way.

    python benchmarks/cluster.py IMAGES [--count 2000] [--model cifar10] [--scale 64] [--torchvision WEIGHTS]

IMAGES is a folder. Its images are repeated up to `--count`, each with a number of its own. They are shown at
the model's own Q, or at `--scale`. The cluster writes rows as Parquet. They are compared with those of one
process: each number has to be there once, with the same classes. Rows tell on which node they were made: both
have to work.

Images a second are told of one process, of two nodes, and of two nodes of which one is killed when half of the
rows are written. With `--torchvision` a callable of torchvision with the same weights is run in Ray, too, which
shows the network the middle of each image, and `Predictor` with one view: the scores of each whole image.

It needs the extra `cluster`. `make check-cluster` runs it on images that it draws itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import verydeep

BATCH = 64
OTHERS = 2  # CPUs of the first node beside its predictor's: to write, and for the predictor of a node that is lost

LOST_SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


def draw_images(folder: Path, count: int = 200) -> None:
    """Soft images of several sizes, one of them damaged."""
    random = np.random.default_rng(0)
    for number in range(count):
        corners = Image.fromarray(random.integers(0, 256, (3, 3, 3), np.uint8))
        corners.resize((64 + number % 3 * 32, 64), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg")
    (folder / "damaged.jpg").write_bytes(b"no image")


def list_items(folder: Path, count: int) -> list[dict[str, Any]]:
    paths = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    return [{"number": number, "path": paths[number % len(paths)]} for number in range(count)]


class Placed(verydeep.Predictor):
    """A predictor that tells where it is."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Rows of a batch, and the node that made them."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {**super().__call__(batch), "node": np.array([node] * len(batch["number"]))}


def in_one_process(
    arguments: dict[str, Any], items: list[dict[str, Any]]
) -> tuple[dict[int, tuple[str, ...]], float]:
    """The classes of each number, and images a second."""
    predictor = verydeep.Predictor(**arguments)
    found: dict[int, tuple[str, ...]] = {}
    start = time.perf_counter()
    for first in range(0, len(items), BATCH):
        part = items[first : first + BATCH]
        rows = predictor({"path": [item["path"] for item in part]})
        for item, classes in zip(part, rows["classes"], strict=True):
            found[item["number"]] = tuple(classes)
    return found, len(items) / (time.perf_counter() - start)


class TorchvisionPredictor:
    """What people write by hand: torchvision's network and transforms, an image that cannot be read left empty."""

    def __init__(self, weights: str) -> None:
        import torch
        from torchvision import transforms
        from torchvision.models import vgg16

        torch.set_num_threads(1)
        self.network = vgg16()
        self.network.load_state_dict(torch.load(weights, weights_only=True))
        self.network.eval()
        self.prepare = transforms.Compose(
            [
                transforms.Resize(224),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Classes of a batch."""
        import torch

        images = []
        for path in batch["path"]:
            try:
                images.append(self.prepare(Image.open(path).convert("RGB")))
            except OSError:
                images.append(torch.zeros(3, 224, 224))
        with torch.inference_mode():
            best = self.network(torch.stack(images)).topk(3).indices
        return {"number": batch["number"], "classes": best.numpy()}


def in_ray(
    callable_class: type,
    arguments: dict[str, Any],
    items: list[dict[str, Any]],
    out: Path,
    nodes: int,
    half: Callable,
) -> float:
    """Write rows by a cluster that is there; images a second. `half` is called when half of them are written."""
    import ray

    data = ray.data.from_items(items, override_num_blocks=max(8, len(items) // (4 * BATCH)))
    rows = data.map_batches(
        callable_class,
        fn_constructor_kwargs=arguments,
        batch_size=BATCH,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=nodes),
    )
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            if count_rows(out) * 2 >= len(items):
                half()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    rows.write_parquet(str(out))
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return len(items) / seconds


def count_rows(folder: Path) -> int:
    from pyarrow import ArrowInvalid, parquet

    rows = 0
    for file in folder.glob("*.parquet"):
        try:
            rows += parquet.read_metadata(file).num_rows
        except (ArrowInvalid, OSError):  # it is being written
            continue
    return rows


def compare(out: Path, expected: dict[int, tuple[str, ...]]) -> str:
    """What is wrong with the rows of a cluster, beside those of one process; nothing where they are the same."""
    from pyarrow import parquet

    table = parquet.read_table(out, columns=["number", "classes", "node"]).to_pylist()
    numbers = [row["number"] for row in table]
    doubled = len(numbers) - len(set(numbers))
    lost = len(expected) - len(set(numbers))
    other = sum(tuple(row["classes"]) != expected[row["number"]] for row in table)
    idle = len({row["node"] for row in table}) < 2
    problem = f"{lost} lost, {doubled} doubled, {other} other classes" if lost or doubled or other else ""
    return problem or "one node made all rows" * idle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--scale", type=int)
    parser.add_argument("--torchvision", type=Path, help="weights of torchvision's vgg16, which are --model's too")
    arguments = parser.parse_args()
    import ray
    from ray.cluster_utils import Cluster

    wrong = []
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        images = arguments.images
        if images is None:
            images = folder / "images"
            images.mkdir()
            draw_images(images)
        items = list_items(images, arguments.count)
        ours = {"model": arguments.model, "top": 3, "column": "path"}
        ours |= {"scales": (arguments.scale,)} if arguments.scale else {}
        expected, speed = in_one_process(ours, items)
        print(f"one process, all threads           {speed:8.1f} images/s", flush=True)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1 + OTHERS, "_system_config": LOST_SOON}
        )
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        ours["threads"] = 1
        cases: list[tuple[str, type, dict[str, Any], Callable[[], object]]] = [
            ("two nodes", Placed, ours, lambda: None)
        ]
        if arguments.torchvision:
            peer = {"weights": str(arguments.torchvision.resolve())}
            one_view = {
                "model": arguments.model,
                "column": "path",
                "outputs": ["fc8"],
                "scales": (224,),
                "threads": 1,
            }
            cases.append(("two nodes, torchvision", TorchvisionPredictor, peer, lambda: None))
            cases.append(("two nodes, one view", verydeep.Predictor, one_view, lambda: None))
        cases.append(("two nodes, one killed half-way", Placed, ours, lambda: kill(cluster, second)))
        for number, (what, callable_class, given, half) in enumerate(cases):
            out = folder / f"rows-{number}"
            out.mkdir()
            speed = in_ray(callable_class, given, items, out, 2, half)
            verdict = f"{count_rows(out)} rows"
            if given is ours:
                problem = compare(out, expected)
                wrong += [what] * bool(problem)
                verdict = problem or "the same rows"
            alive = sum(node["Alive"] for node in ray.nodes())
            print(f"{what:34} {speed:8.1f} images/s, {alive} nodes at the end, {verdict}", flush=True)
        ray.shutdown()
        cluster.shutdown()
    sys.exit(bool(wrong))


def kill(cluster: Any, node: Any) -> None:
    """Kill a node with all its processes, at once."""
    cluster.remove_node(node, allow_graceful=False)
    print("(a node is killed)", flush=True)


if __name__ == "__main__":
    main()
