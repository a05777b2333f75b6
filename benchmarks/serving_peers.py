"""The servers that `serving.py` puts beside ours: torchvision's VGG-16 behind FastAPI or LitServe.

    python benchmarks/serving_peers.py fastapi|litserve WEIGHTS PORT

WEIGHTS is a state dict of torchvision's, as `verydeep export --to torchvision` writes it.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
import time
import urllib.request

import litserve
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool
from torchvision import transforms
from torchvision.models import vgg16

PREPARE = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def network(weights: str) -> torch.nn.Module:
    model = vgg16().eval()
    if weights.endswith(".safetensors"):
        from safetensors.torch import load_file

        model.load_state_dict(load_file(weights))
    else:
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model.to(memory_format=torch.channels_last)


def prepared(content: bytes) -> torch.Tensor:
    return PREPARE(Image.open(io.BytesIO(content)).convert("RGB"))


def best(scores: torch.Tensor) -> list[dict[str, object]]:
    probabilities, labels = scores.softmax(-1).topk(5)
    return [{"label": str(int(one)), "score": float(p)} for p, one in zip(probabilities, labels, strict=True)]


def with_fastapi(weights: str, port: int) -> None:
    app, model = FastAPI(), network(weights)

    def answer(content: bytes) -> list[dict[str, object]]:
        with torch.inference_mode():
            return best(model(prepared(content)[None].to(memory_format=torch.channels_last))[0])

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    async def predict(request: Request) -> list[dict[str, object]]:
        return await run_in_threadpool(answer, await request.body())

    uvicorn.run(app, port=port, log_level="warning")


class VGG(litserve.LitAPI):
    """The same with LitServe's batches, which its worker process makes."""

    def setup(self, device: str) -> None:
        """Read the weights."""
        self.model = network(sys.argv[2])

    def decode_request(self, request):  # without a type, which LitServe would take for that of a form
        """Decode and rescale."""
        return prepared(base64.b64decode(request["image"]))

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Join images."""
        return torch.stack(inputs).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Compute."""
        return self.model(x)

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        """Part them."""
        return list(output)

    def encode_response(self, output: torch.Tensor) -> list[dict[str, object]]:
        """Name the best classes."""
        return best(output)


def with_litserve(weights: str, port: int) -> None:
    api = VGG(max_batch_size=16, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", timeout=300)
    server.run(port=port, log_level="warning", generate_client_file=False)


def tell_when_ready(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
        except OSError:
            time.sleep(0.02)
        else:
            print(f"ready {port}", flush=True)
            return


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    threading.Thread(target=tell_when_ready, args=(int(sys.argv[3]),), daemon=True).start()
    {"fastapi": with_fastapi, "litserve": with_litserve}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
