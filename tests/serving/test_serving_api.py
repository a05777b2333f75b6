"""The description of the API, and the Open Inference Protocol, version 2."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from sample_images import save, smooth
from served import Client, serving

import verydeep
from verydeep.serving.routes import ROUTES

pytest.importorskip("verydeep._native")
pytest.importorskip("starlette")

INFER = "/v2/models/b/infer"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    return [save(folder / f"{number}.png", smooth(40, 36, seed=number)) for number in range(3)]


@pytest.fixture(scope="module")
def client(run) -> Client:
    with serving(run) as client:
        yield client


@pytest.fixture(scope="module")
def right(run, files) -> np.ndarray:
    return verydeep.load(run).posterior(files)


def encoded(files: list[Path]) -> dict[str, object]:
    data = [base64.b64encode(file.read_bytes()).decode() for file in files]
    return {"name": "image", "datatype": "BYTES", "shape": [len(files)], "data": data}


def output(answer: dict, name: str) -> dict:
    return next(one for one in answer["outputs"] if one["name"] == name)


def test_encoded_images_as_json(client, run, files, right):
    answer = client.post_json(INFER, {"id": "7", "inputs": [encoded(files)]}).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "b", "1")
    found = output(answer, "probabilities")
    assert (found["datatype"], found["shape"]) == ("FP64", [3, 3])
    np.testing.assert_array_equal(np.reshape(found["data"], (3, 3)), right)
    names = verydeep.load(run).class_names
    assert output(answer, "labels")["data"] == [names[row.argmax()] for row in right]


def test_encoded_images_in_binary(client, files, right):
    binary = b"".join(struct.pack("<I", len(one)) + one for one in (file.read_bytes() for file in files))
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(binary)}}
    asked = {"inputs": [tensor], "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
    text = json.dumps(asked).encode()
    reply = client.post(INFER, text + binary, Inference_Header_Content_Length=str(len(text)))
    assert reply.status == 200, reply
    length = int(reply.headers["inference-header-content-length"])
    (found,) = json.loads(reply.content[:length])["outputs"]
    assert found["parameters"]["binary_data_size"] == len(reply.content) - length == 72
    np.testing.assert_array_equal(np.frombuffer(reply.content[length:], "<f8").reshape(3, 3), right)


@pytest.mark.parametrize("nested", [True, False])
def test_pixels(client, files, right, nested):
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": data}
    answer = client.post_json(INFER, {"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).json()
    np.testing.assert_array_equal(np.reshape(answer["outputs"][0]["data"], (3, 3)), right)


def test_preprocessed_images_are_those_of_the_onnx_export(client, run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    verydeep.export(run, to="onnx", out=tmp_path / "b.onnx")
    images = np.random.default_rng(0).standard_normal((2, 3, 40, 48)).astype(np.float32) * 50
    session = onnxruntime.InferenceSession(tmp_path / "b.onnx")
    wanted = {one.name for one in session.get_outputs()}
    scores = session.run(["score_map"] if "score_map" in wanted else None, {session.get_inputs()[0].name: images})[
        0
    ]
    means = scores.mean((2, 3), dtype=np.float64)
    probabilities = np.exp(means) / np.exp(means).sum(1, keepdims=True)
    binary = images.tobytes()
    tensor = {"name": "images", "datatype": "FP32", "shape": [2, 3, 40, 48]}
    text = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(binary)}}]}).encode()
    reply = client.post(INFER, text + binary, Inference_Header_Content_Length=str(len(text)))
    found = np.reshape(output(reply.json(), "probabilities")["data"], (2, 3))
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    listed = client.post_json(INFER, {"inputs": [tensor | {"data": images.tolist()}]}).json()
    np.testing.assert_array_equal(np.reshape(output(listed, "probabilities")["data"], (2, 3)), found)


PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3]}
NUMBERS = {"name": "images", "datatype": "FP32", "shape": [1, 3, 1, 1]}
TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["eA=="]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "an object with 'inputs'"),
        ({}, "'inputs' must be a list with one tensor"),
        ({"inputs": [TENSOR, TENSOR]}, "with one tensor"),
        ({"id": 7, "inputs": [TENSOR]}, "'id' must be text"),
        ({"inputs": [TENSOR | {"name": "picture"}]}, "no input is called 'picture'; there are image"),
        ({"inputs": [TENSOR | {"name": ["image"]}]}, "no input is called"),
        ({"inputs": [TENSOR | {"datatype": "UINT8"}]}, "it must be BYTES"),
        ({"inputs": [TENSOR | {"shape": [1, 1]}]}, "it must be [n]"),
        ({"inputs": [TENSOR | {"shape": [-1]}]}, "it must be [n]"),
        ({"inputs": [TENSOR | {"shape": [True]}]}, "it must be [n]"),
        ({"inputs": [TENSOR | {"shape": [2]}]}, "has the shape [2], and 1 images"),
        ({"inputs": [TENSOR | {"data": ["?"]}]}, "image 0 is not base64"),
        ({"inputs": [TENSOR | {"data": [1]}]}, "must be base64 strings"),
        ({"inputs": [TENSOR | {"data": None}]}, "has no 'data'"),
        ({"inputs": [TENSOR]}, "image 0: not a readable image"),
        ({"inputs": [TENSOR], "outputs": {}}, "'outputs' must be a list"),
        ({"inputs": [TENSOR], "outputs": [{"name": "scores"}]}, "no output is called 'scores'"),
        ({"inputs": [TENSOR | {"parameters": {"binary_data_size": 3}}]}, "0 bytes follow the JSON"),
        ({"inputs": [TENSOR | {"parameters": []}]}, "must be an object"),
        ({"inputs": [PIXELS | {"data": [1, 2, 256]}]}, "0 to 255"),
        ({"inputs": [PIXELS | {"data": [1, 2]}]}, "the 3 numbers"),
        ({"inputs": [PIXELS | {"data": [[1], 2, 3]}]}, "mixes"),
        ({"inputs": [PIXELS | {"data": ["1", "2", "3"]}]}, "numbers"),
        ({"inputs": [NUMBERS | {"data": [1, 2, 1e300]}]}, "not finite"),
        ({"inputs": [NUMBERS | {"data": [1, 2, 3]}]}, "image is 1x1 pixels"),
        ({"inputs": [PIXELS | {"shape": [1, 10**6, 10**6, 3], "data": []}]}, "the 3000000000000 numbers"),
        ({"inputs": [TENSOR | {"shape": [10**6]}]}, "at most 64"),
    ],
)  # fmt: skip
def test_what_does_not_follow_the_protocol(client, value, reason):
    reply = client.post_json(INFER, value)
    assert reply.status in (400, 413)
    assert reason in reply.error()


@pytest.mark.parametrize("length", ["-1", "x", "99999999", ""])
def test_a_header_that_does_not_fit(client, length):
    reply = client.post(INFER, b"{}", Inference_Header_Content_Length=length)
    assert reply.status == 400
    assert "Inference-Header-Content-Length" in reply.error()


@pytest.mark.parametrize("binary", [b"\x01\x00", b"\x09\x00\x00\x00abc", b"\xff\xff\xff\xff"])
def test_binary_data_that_ends_early(client, binary):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(binary)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    reply = client.post(INFER, text + binary, Inference_Header_Content_Length=str(len(text)))
    assert reply.status == 400
    assert "ends within" in reply.error()


def test_no_outputs_are_all_outputs(client, files):
    answer = client.post_json(INFER, {"inputs": [encoded(files)], "outputs": []}).json()
    assert [one["name"] for one in answer["outputs"]] == ["probabilities", "labels"]


def test_models_have_one_version(client, files):
    base = "/v2/models/b/versions"
    assert client.get(f"{base}/1").json() == client.get("/v2/models/b").json()
    assert client.get(f"{base}/1/ready").json()["ready"]
    asked = {"inputs": [encoded(files)]}
    assert client.post_json(f"{base}/1/infer", asked).json() == client.post_json(INFER, asked).json()
    for reply in (
        client.get(f"{base}/2"),
        client.get(f"{base}/2/ready"),
        client.post_json(f"{base}/2/infer", asked),
    ):
        assert reply.status == 404
        assert "b has no version '2'; it has 1" in reply.error()


def test_metadata(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status == client.get("/v2/health/ready").status == 200
    facts = client.get("/v2/models/b").json()
    assert [one["datatype"] for one in facts["inputs"]] == ["BYTES", "UINT8", "FP32"]
    assert facts["outputs"][0] == {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]}
    assert client.get("/v2/models/b/ready").json() == {"name": "b", "ready": True}
    assert client.get("/v2/models/c").status == 404


def test_the_description_tells_every_address(client, files):
    described = client.get("/openapi.json").json()
    there = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert there == {(route.method, route.path) for route in ROUTES}
    assert len({one["operationId"] for methods in described["paths"].values() for one in methods.values()}) == len(
        there
    )
    for schema in schemas(described):
        Draft202012Validator.check_schema(schema)
    for path, methods in described["paths"].items():
        names = set(re.findall(r"\{(\w+)\}", path))
        for operation in methods.values():
            assert {one["name"] for one in operation["parameters"] if one["in"] == "path"} == names


def schemas(value: object) -> list[dict]:
    if isinstance(value, dict):
        own = [value["schema"]] if isinstance(value.get("schema"), dict) else []
        return own + [one for part in value.values() for one in schemas(part)]
    return [one for part in value for one in schemas(part)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/predict", "?top=2"),
        ("/map", "?format=json"),
        ("/extract", "?layers=relu1_1"),
        ("/channels", "?layers=relu1_1"),
        ("/models", ""),
        ("/health", ""),
        ("/v2/models/{model}", ""),
    ],
)
def test_answers_are_as_described(client, files, path, query):
    described = client.get("/openapi.json").json()["paths"][path]
    (method,) = described
    address = path.replace("{model}", "b") + query
    reply = client.post(address, files[0].read_bytes()) if method == "post" else client.get(address)
    schema = described[method]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema
    Draft202012Validator(schema).validate(reply.json())
