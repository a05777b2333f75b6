"""`make attack-serving`: requests that nobody would send on purpose, and a client that was not written here.

- schemathesis sends 10,000 requests that it makes from /openapi.json. None may be answered 5xx but 503.
- Triton's client asks by the Open Inference Protocol, with JSON and with binary data.
- 2,000 damaged bodies: each is answered with a sentence or is an image after all, and memory stays bounded.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
from browse_serving import SHOTS, serving
from damage import cut, flipped, gif_claiming, noise
from PIL import Image
from sample_images import smooth

import verydeep

REQUESTS = 10_000
DAMAGED = 2_000
MOST_GROWTH = 200  # MB


def main() -> int:
    failures = []
    with serving("cifar10", "--log-json") as (address, pid):
        ask_by_triton(address)
        print("Triton's client: its answers are ours, as JSON and in binary")
        statuses, growth = send_damaged(address, pid)
        print(f"{DAMAGED} damaged bodies: {statuses}; memory grew by {growth} MB")
        if growth > MOST_GROWTH or not set(statuses) <= {200, 400, 413}:
            failures.append("damaged bodies")
        if send_generated(address):
            failures.append("generated requests")
        print(health(address))
    return len(failures) > 0


def memory(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024


def health(address: str) -> str:
    with urllib.request.urlopen(f"{address}/health") as answer:
        return f"afterwards: {json.load(answer)}"


def ask_by_triton(address: str) -> None:
    import tritonclient.http as triton

    client = triton.InferenceServerClient(address.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("cifar10")
    assert client.get_server_metadata()["name"] == "verydeep"
    assert client.get_model_metadata("cifar10")["inputs"][0]["datatype"] == "BYTES"
    files = []
    for seed in range(3):
        file = io.BytesIO()
        Image.fromarray(smooth(80, 70, seed)).save(file, "PNG")
        files.append(file.getvalue())
    model = verydeep.load("cifar10")
    right = model.posterior(files)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    given = {
        "image": (np.array(files, object), "BYTES"),
        "pixels": (pixels, "UINT8"),
    }
    for name, (array, kind) in given.items():
        tensor = triton.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array, binary_data=True)
        for binary in (True, False):
            wanted = [triton.InferRequestedOutput(one, binary_data=binary) for one in ("probabilities", "labels")]
            answer = client.infer("cifar10", [tensor], outputs=wanted, request_id="7")
            np.testing.assert_array_equal(answer.as_numpy("probabilities"), right)
            labels = [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("labels")]
            assert labels == [model.class_names[row.argmax()] for row in right]
    listed = triton.InferInput("pixels", list(pixels.shape), "UINT8")
    listed.set_data_from_numpy(pixels, binary_data=False)
    np.testing.assert_array_equal(client.infer("cifar10", [listed]).as_numpy("probabilities"), right)


def send_damaged(address: str, pid: int) -> tuple[dict[int, int], int]:
    """Statuses of damaged bodies, and by how many MB the server's memory grew."""
    random = np.random.default_rng(0)
    kinds = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000")
    files = []
    for kind in kinds:
        file = io.BytesIO()
        Image.fromarray(smooth(300, 200)).save(file, kind)
        files.append(file.getvalue())
    statuses: dict[int, int] = {}
    before = 0
    for number in range(DAMAGED):
        whole = files[number % len(files)]
        made = (
            lambda whole=whole: cut(whole, random),
            lambda whole=whole: flipped(whole, random),
            lambda whole=whole: noise(random, whole[:12]),
            lambda: gif_claiming(files[2], int(random.integers(1_000, 65_000))),
        )
        body = made[number // len(files) % len(made)]()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{address}/predict", body)) as answer:
                status, content = answer.status, json.load(answer)
                assert content[0]["label"]
        except HTTPError as error:
            status, content = error.code, json.load(error)
            assert content["error"], content
        statuses[status] = statuses.get(status, 0) + 1
        if number == DAMAGED // 10:
            before = memory(pid)
    return statuses, memory(pid) - before


def send_generated(address: str) -> int:
    """Whether schemathesis finds an answer that it should not."""
    described = json.load(urllib.request.urlopen(f"{address}/openapi.json"))
    with_body = sum("post" in operations for operations in described["paths"].values())
    each = -(-REQUESTS // with_body)  # the others have little to vary
    program = Path(sys.executable).parent / "schemathesis"
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    options = f"--max-examples {each} --phases examples,fuzzing --mode all --generation-deterministic --workers 2"
    words = f"run {address}/openapi.json --checks {checks} {options}".split()
    return subprocess.run([program, *words], cwd=SHOTS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
