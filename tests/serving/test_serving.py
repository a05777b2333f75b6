"""`verydeep serve`: answers are those of the commands, whoever asks, and however many at once."""

from __future__ import annotations

import base64
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sample_images import class_folders, save, smooth
from served import Client, of_application, serving

import verydeep
from verydeep.api.new import new
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.protocols import PROTOCOLS, protocols_of
from verydeep.evaluation.ranking import ranked
from verydeep.inference import open_engine
from verydeep.serving import Limits
from verydeep.serving.models import open_models

pytest.importorskip("verydeep._native")
pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Untrained networks of the same three classes, and one of others."""
    root = tmp_path_factory.mktemp("models")
    for name, config in {"b": "B", "d": "D", "other": "A"}.items():
        new(config, root / name, width=0.06, num_classes=4 if name == "other" else 3, window=32)
    return {name: root / name for name in ("b", "d", "other")}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Photograph-like files of several shapes and kinds."""
    folder = tmp_path_factory.mktemp("images")
    shapes = [(40, 36), (50, 33), (36, 64), (40, 36), (90, 40)]
    kinds = ["jpg", "png", "webp", "jpg", "png"]
    return [
        save(folder / f"{number}.{kind}", smooth(*shape, seed=number))
        for number, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]


@pytest.fixture(scope="module")
def client(runs) -> Client:
    with serving([f"b={runs['b']}", f"d={runs['d']}", f"other={runs['other']}"]) as client:
        yield client


def in_base64(files: list[Path]) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(file.read_bytes()).decode() for file in files]}


def labelled(ranking) -> list[dict[str, object]]:
    return [{"label": one.class_name, "score": one.probability} for one in ranking]


def expected(model, file: Path, top: int = 5) -> list[dict[str, object]]:
    return labelled(model.predict(file, top))


def test_answers_are_those_of_predict_bit_for_bit(client, runs, files):
    model = verydeep.load(runs["b"])
    for file in files:
        assert client.post("/predict", file.read_bytes()).json() == expected(model, file)
    answers = verydeep.predict(runs["b"], [str(file) for file in files]).images
    several = client.post_json("/predict", in_base64(files)).json()
    assert several == [
        [{"label": one.class_name, "score": one.probability} for one in ranking] for _, ranking in answers
    ]
    other = client.post("/models/d/predict?top=1", files[0].read_bytes()).json()
    assert other == expected(verydeep.load(runs["d"]), files[0], 1)


def test_the_bundled_model_answers_as_predict_does(photographs, tmp_path):
    file = save(tmp_path / "photo.png", photographs[0])
    with serving("cifar10") as client:
        assert client.post("/predict", file.read_bytes()).json() == expected(verydeep.load("cifar10"), file)


@pytest.mark.parametrize("views", PROTOCOLS)
def test_scales_and_views(client, runs, files, views):
    from verydeep.evaluation.evaluate import Member, evaluate
    from verydeep.images.given import given_images

    model = verydeep.load(runs["b"])
    member = Member(model.engine, protocols_of(views, (32, 48), model.protocol.mirror))
    rows = evaluate([member], given_images(files))
    answer = client.post_json(f"/predict?views={views}&scales=32,48&top=3", in_base64(files)).json()
    assert answer == [labelled(ranked(row, model.class_names, 3)) for row in rows]
    again = client.post_json(f"/predict?views={views}&scales=32&scales=48&top=3", in_base64(files)).json()
    assert again == answer


def test_many_at_once_get_the_same_and_are_computed_together(runs, files):
    model = verydeep.load(runs["b"])
    alone = [expected(model, file) for file in files]
    with serving(runs["b"]) as client:
        with ThreadPoolExecutor(16) as pool:
            numbers = list(range(len(files))) * 24
            answers = list(pool.map(lambda n: client.post("/predict", files[n].read_bytes()).json(), numbers))
        assert answers == [alone[number] for number in numbers]
        counts = numbers_of(client.get("/metrics").content.decode())
        assert counts["verydeep_images_total"] == len(numbers)
        assert counts['verydeep_requests_total{route="/predict",status="200"}'] == len(numbers)
        assert counts["verydeep_batch_images_count"] < len(numbers)
        assert counts["verydeep_queue_images"] == 0


def numbers_of(text: str) -> dict[str, float]:
    """Prometheus's text format: every line is a comment, or a name and a number."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert re.fullmatch(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})?', name), line
            found[name] = float(value)
    return found


def test_buckets_of_a_histogram_add_up(client, files):
    client.post("/predict", files[0].read_bytes())
    counts = numbers_of(client.get("/metrics").content.decode())
    buckets = [
        value
        for name, value in counts.items()
        if name.startswith('verydeep_request_seconds_bucket{route="/predict"')
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == counts['verydeep_request_seconds_count{route="/predict"}'] > 0


def test_score_maps(client, runs, files):
    right = verydeep.load(runs["b"]).score_map(files[0], 48)
    found = client.post("/map?format=json&scale=48&top=2", files[0].read_bytes()).json()
    height, width = right.pixels.shape[:2]
    assert (found["width"], found["height"], found["window"], found["stride"], found["margin"]) == (
        width, height, right.window, right.stride, right.margin,
    )  # fmt: skip
    assert len(found["classes"]) == 2
    for one in found["classes"]:
        label = right.class_names.index(one["label"])
        np.testing.assert_allclose(one["map"], right.posteriors[label], atol=1e-6)
        assert one["mean"] == pytest.approx(right.posteriors[label].mean())
    drawn = client.post(f"/map?scale=48&label={right.class_names[1]}", files[0].read_bytes())
    assert drawn.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawn.content))), np.asarray(right.draw(1)))


@pytest.mark.parametrize("pool", ["mean", "max", "gram", "none"])
def test_outputs_of_layers(client, runs, files, pool):
    layers = ["relu3_1", "pool4"]
    engine = open_engine(runs["b"], layers)
    from verydeep.extraction.summaries import summarize
    from verydeep.images.given import open_image
    from verydeep.images.views import rescale

    shown = [np.asarray(rescale(open_image(file), 40)) for file in (files[0], files[3])]
    right = [
        {name: summarize(maps, pool)[0] for name, maps in engine.run(one[None], layers).items()} for one in shown
    ]
    address = f"/extract?layers=relu3_1,pool4&pool={pool}&scale=40"
    found = client.post(address, files[0].read_bytes()).json()
    assert list(found) == layers
    for name in layers:
        np.testing.assert_array_equal(np.array(found[name], np.float32), right[0][name])
    archive = client.post_json(address + "&format=npz", in_base64([files[0], files[3]]))
    with np.load(io.BytesIO(archive.content)) as arrays:
        for name in layers:
            np.testing.assert_array_equal(arrays[name], np.stack([one[name] for one in right]))


def test_outputs_of_images_of_different_shapes(client, files):
    address = "/extract?layers=relu3_1&pool=none&scale=40"
    found = client.post_json(address, in_base64(files[:2])).json()
    assert np.shape(found[0]["relu3_1"]) != np.shape(found[1]["relu3_1"])
    assert "different shapes" in client.post_json(address + "&format=npz", in_base64(files[:2])).error()


def test_strongest_channels(client, runs, files):
    found = client.post("/channels?layers=relu1_1,relu2_1&top=2&scale=40", files[0].read_bytes()).json()
    assert [one["layer"] for one in found] == ["relu1_1", "relu2_1"]
    from verydeep.images.given import open_image
    from verydeep.images.views import rescale

    pixels = np.asarray(rescale(open_image(files[0]), 40))
    maps = open_engine(runs["b"], ["relu2_1"]).run(pixels[None], ["relu2_1"])["relu2_1"][0]
    strengths = maps.mean((1, 2), dtype=np.float64)
    assert [one["channel"] for one in found[1]["strongest"]] == list(np.argsort(-strengths)[:2])
    drawn = Image.open(io.BytesIO(base64.b64decode(found[1]["strongest"][0]["map"])))
    assert drawn.size == maps.shape[:0:-1]


@pytest.mark.parametrize("metric", ["content", "style"])
def test_distances_are_those_of_compare(client, runs, files, metric):
    right = verydeep.compare(
        files[0], files[1], metric=metric, model=runs["d"], resize="first", layers=("relu3_3",)
    )
    address = f"/models/d/compare?metric={metric}&layers=relu3_3&resize=first"
    found = client.post_json(address, in_base64(files[:2])).json()
    assert found == {"metric": metric, "distance": float(right.distances[0]), "map": None}


def test_a_map_of_differences(client, files):
    found = client.post_json("/compare?map=true&scale=64&resize=first", in_base64(files[:2])).json()
    assert found["metric"] == "content"
    assert Image.open(io.BytesIO(base64.b64decode(found["map"]))).size[1] == 64
    assert client.post_json("/compare?map=true", in_base64([files[0]] * 2)).json()["distance"] == 0


def test_ensembles_are_means(runs, files):
    with serving([f"b={runs['b']}", f"d={runs['d']}"], ensemble=True) as client:
        parts = [verydeep.load(runs[name]).posterior(files[0]) for name in "bd"]
        found = client.post("/predict?top=3", files[0].read_bytes()).json()
        np.testing.assert_allclose([one["score"] for one in found], sorted(np.mean(parts, 0)[0])[::-1], rtol=1e-12)
        assert [one["name"] for one in client.get("/models").json()] == ["ensemble", "b", "d"]
        maps = [
            client.post(f"/models/{name}/map?format=json", files[0].read_bytes()).json()
            for name in ("ensemble", "b", "d")
        ]
        label = maps[0]["classes"][0]["label"]
        whole, *parts = [next(one["map"] for one in each["classes"] if one["label"] == label) for each in maps]
        np.testing.assert_allclose(whole, np.mean(parts, 0), atol=2e-6)
    with pytest.raises(UsageError, match="other classes"):
        open_models([runs["b"], runs["other"]], ensemble=True)
    with pytest.raises(UsageError, match="one is given"):
        open_models(runs["b"], ensemble=True)


def test_a_classifier_of_transfer(runs, files, tmp_path):
    pytest.importorskip("torch")
    data = class_folders(tmp_path / "data", {"blue": 6, "green": 6, "red": 6})
    run = tmp_path / "quick"
    verydeep.transfer(runs["b"], data, out=run)
    with serving([run, f"network={runs['b']}"]) as client:
        assert client.post("/predict", files[0].read_bytes()).json() == expected(verydeep.load(run), files[0])
        facts = client.get("/models").json()
        assert (facts[0]["name"], facts[0]["views"], facts[0]["has_map"]) == ("quick", [], False)
        assert (
            "classifier of `verydeep transfer`" in client.post("/predict?views=ten", files[0].read_bytes()).error()
        )
        assert "score map" in client.post("/map", files[0].read_bytes()).error()
    with pytest.raises(UsageError, match="add `network`"):
        open_models([run, runs["b"]], ensemble=True)


def test_names_of_models(runs):
    names = open_models([runs["b"], f"my.model-2={runs['d']}", str(runs["other"]) + "/"])
    assert list(names) == ["b", "my.model-2", "other"]
    assert list(open_models(verydeep.load(runs["b"]))) == ["b"]
    with pytest.raises(UsageError, match="two models have one name"):
        open_models([runs["b"], runs["b"]])
    with pytest.raises(UsageError, match="no model is given"):
        open_models([])
    with pytest.raises(ModelError):
        open_models(runs["b"].parent / "missing")


REFUSED = [
    ("POST", "/predict?top=0", b"x", 400, "`top` is '0'; it must be a whole number from 1 to 1000"),
    ("POST", "/predict?top=1e9", b"x", 400, "`top` is '1e9'"),
    ("POST", "/predict?top=1&top=2", b"x", 400, "`top` is given twice"),
    ("POST", "/predict?scale=40", b"x", 400, "did you mean scales?"),
    ("POST", "/predict?scales=40,", b"x", 400, "`scales` is ''"),
    ("POST", "/predict?scales=7", b"x", 400, "smaller than the network's window"),
    ("POST", "/predict?scales=40,40", b"x", 400, "has a scale twice"),
    ("POST", "/predict?views=all", b"x", 400, "one of dense, crops, both, centre, ten"),
    ("POST", "/predict", b"", 400, "the body is empty"),
    ("POST", "/predict", b"no image", 400, "not a readable image"),
    ("POST", "/map?label=nothing", b"x", 400, "no class is called 'nothing'"),
    ("POST", "/map?format=gif", b"x", 400, "one of png, json"),
    ("POST", "/extract", b"x", 400, "`layers` is missing"),
    ("POST", "/extract?layers=relu9_1", b"x", 400, "relu9_1"),
    ("POST", "/channels?layers=relu1_1&top=65", b"x", 400, "from 1 to 64"),
    ("POST", "/compare", b"x", 400, "send JSON with two images"),
    ("POST", "/models/none/predict", b"x", 404, "no model is called 'none'; there are b, d, other"),
    ("POST", "/nothing", b"x", 404, "no such address"),
    ("GET", "/predict", None, 405, "the method GET is not taken"),
    ("DELETE", "/models", None, 405, "the method DELETE is not taken"),
    ("GET", "/..%2f..%2fetc/passwd", None, 404, "no such address"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "reason"), REFUSED)
def test_what_is_wrong_is_told_in_a_sentence(client, method, path, body, status, reason):
    reply = client.ask(method, path, body)
    assert reply.status == status
    assert reason in reply.error()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], '{"images": [...]}'),
        ({"images": []}, "`images` is empty"),
        ({"images": ["?"]}, "images[0] is not base64"),
        ({"images": [""]}, "images[0] is empty"),
        ({"images": [1]}, "a list of base64 strings"),
        ({"images": ["bm8gaW1hZ2U="]}, "images[0]: not a readable image"),
    ],
)
def test_json_that_holds_no_images(client, value, reason):
    reply = client.post_json("/predict", value)
    assert reply.status == 400
    assert reason in reply.error()


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"images": NaN}'])
def test_what_is_no_json(client, body):
    reply = client.post("/predict", body, content_type="application/json")
    assert reply.status == 400
    assert "not JSON" in reply.error()


def test_forms_are_refused(client):
    reply = client.post("/predict", b"--x", content_type="multipart/form-data; boundary=x")
    assert reply.status == 415
    assert "forms are not read" in reply.error()


@pytest.mark.parametrize("form", ["jpg", "png", "bmp", "gif", "webp", "tiff"])
def test_curls_wrong_option_is_told(client, tmp_path, form):
    """`curl -d` leaves out line ends and zeros, which an image of any format has; `--data-binary` does not."""
    whole = save(tmp_path / f"image.{form}", smooth(40, 44)).read_bytes()
    curl = {"content_type": "application/x-www-form-urlencoded"}
    assert client.post("/predict", whole, **curl).status == 200
    reply = client.post("/predict", whole.translate(None, b"\r\n\0"), **curl)
    assert reply.status == 400
    assert "send that by `curl --data-binary @FILE`, not by `-d`" in reply.error()
    reply = client.post("/predict", b'{"images": []}', **curl)
    assert "the header `Content-Type: application/json`" in reply.error()


def test_one_bad_image_does_not_spoil_other_requests(runs, files):
    """They are decoded apart, and only good ones are computed together."""
    right = expected(verydeep.load(runs["b"]), files[0])
    with serving(runs["b"]) as client, ThreadPoolExecutor(16) as pool:
        bodies = [files[0].read_bytes() if number % 2 else b"no image" for number in range(64)]
        replies = list(pool.map(lambda body: client.post("/predict", body), bodies))
    assert [reply.status for reply in replies] == [400, 200] * 32
    assert all(reply.json() == right for reply in replies[1::2])


def test_it_can_be_mounted(runs, files):
    starlette = pytest.importorskip("starlette.applications")
    from starlette.routing import Mount

    inner = verydeep.serving.app(runs["b"])
    with of_application(starlette.Starlette(routes=[Mount("/vgg", inner)])) as client:
        assert client.post("/vgg/predict", files[0].read_bytes()).json() == expected(
            verydeep.load(runs["b"]), files[0]
        )
        assert client.get("/vgg/").status == 200


def test_models_that_diverged_are_told(runs, files, tmp_path):
    """A failure of the model, not of the request; the server goes on."""
    broken = tmp_path / "broken"
    shutil.copytree(runs["b"], broken)
    tensors = load_file(broken / "model.safetensors")
    save_file(
        {name: one * np.float32(1e30) if name.startswith("fc") else one for name, one in tensors.items()},
        broken / "model.safetensors",
    )
    with serving([broken, runs["d"]]) as client:
        reply = client.post("/predict", files[0].read_bytes())
        assert reply.status == 500
        assert "NaN or infinite" in reply.error()
        assert client.post("/models/d/predict", files[0].read_bytes()).status == 200


def test_the_command_has_the_defaults_of_limits():
    parameters = inspect.signature(verydeep.serve).parameters
    assert {name: parameters[name].default for name in vars(Limits())} == vars(Limits())


def test_limits_are_checked():
    with pytest.raises(UsageError, match="queue"):
        Limits(queue=0)
    with pytest.raises(UsageError, match="max_bytes"):
        Limits(max_bytes="many")


def test_threads_of_clients_that_end_do_not_stop_it(runs, files):
    """A client that goes before its answer: nothing is left waiting."""
    import socket

    with serving(runs["b"]) as client:
        content = files[0].read_bytes()
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", client.port)) as connection:
                connection.sendall(head + content[:50])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", client.port)) as connection:
                connection.sendall(head + content)
        assert client.post("/predict", content).status == 200
        counts = numbers_of(client.get("/metrics").content.decode())
        assert counts["verydeep_queue_images"] == 0


def test_facts_of_models(client, runs):
    (first, *_) = client.get("/models").json()
    model = verydeep.load(runs["b"])
    assert first["classes"] == list(model.class_names)
    assert (first["window"], first["scales"], first["views"]) == (32, list(model.protocol.scales), list(PROTOCOLS))
    assert first["layers"][-1] == "fc8"


def test_one_model_for_several_threads(runs, files):
    """The application's own model, asked beside it."""
    model = verydeep.load(runs["b"])
    right = json.dumps(expected(model, files[0]))
    wrong: list[str] = []
    with serving(model) as client:

        def ask() -> None:
            for _ in range(10):
                if json.dumps(client.post("/predict", files[0].read_bytes()).json()) != right:
                    wrong.append("served")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            assert json.dumps(expected(model, files[0])) == right
        for thread in threads:
            thread.join()
    assert not wrong


def test_it_needs_no_torch(runs):
    code = f"""
import sys
from verydeep.serving import app
app({str(runs["b"])!r})
assert not {{"torch", "matplotlib", "jinja2"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
