"""Names of published weights: which file each means, where its own library keeps it, and what is never fetched."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from http_servers import FileServer, Hub, serving
from torchvision.models import VGG11_Weights, VGG16_Weights, get_model_weights, list_models
from torchvision.models.vgg import VGG, make_layers

import verydeep
from verydeep import remote
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import ModelError, UsageError, VerydeepError
from verydeep.exports.hub_folder import upload
from verydeep.images import imagenet
from verydeep.model import load
from verydeep.run_folder import read_model, write_model
from verydeep.weights import by_name, published
from verydeep.weights.by_name import as_repository, find
from verydeep.weights.hub import Repository, from_hub
from verydeep.weights.published import PUBLISHED, Checksum, Published
from verydeep.weights.source import locate
from verydeep.weights.writing import timm_card


@pytest.fixture(autouse=True)
def caches_of_their_own(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(remote, "WAITS", ())
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "HF_HUB_OFFLINE",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small"
    new("A", path, width=0.05, num_classes=3, window=32)
    return path


@pytest.fixture
def hub(model, monkeypatch):
    from huggingface_hub import constants

    hub = Hub({"someone/small": {path.name: path.read_bytes() for path in model.iterdir()}})
    with serving(hub):
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield hub


def publish(name: str, server: FileServer, file: str, checksum: Checksum, monkeypatch) -> Published:
    """Let the table say that weights of this name are a file of the server's."""
    known = next(one for one in PUBLISHED if one.name == name)
    served = replace(known, url=f"{server.url}/models/{file}", checksum=checksum)
    for module in (by_name, published):  # by name, and by checksum
        monkeypatch.setattr(module, "PUBLISHED", (served,))
    return served


def serve_torchvision(server: FileServer, weights, monkeypatch) -> str:
    """Let torchvision's enumeration and our table name a file of the server's; gives its name."""
    network = str(weights).split("_Weights")[0].lower()
    digits = hashlib.sha256(server.content).hexdigest()[:8]
    name = f"{network}-{digits}.pth"
    served = publish(
        f"torchvision:{network}-{weights.name}", server, name, Checksum("sha256", digits), monkeypatch
    )
    monkeypatch.setattr(weights.value, "url", served.url)
    return name


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("keras:VGG16", "h5py", "weights"), ("hf:a/b/c.h5", "h5py", "weights"), ("hf:a/b/c.mat", "scipy", "weights")],
)
def test_what_would_read_it_is_there_before_it_is_fetched(name, module, extra, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda one, *more: None if one == module else found(one, *more)
    )
    monkeypatch.setattr(by_name, "fetch", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(
        VerydeepError, match=rf"{name} needs {module}, which is not installed.*verydeep\[{extra}\]"
    ):
        find(name)


def test_torchvision_finds_what_we_fetched_and_we_what_it_did(tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    torch.save({"features.0.bias": torch.arange(3.0)}, file)
    with serving(FileServer(file.read_bytes())) as server:
        name = serve_torchvision(server, VGG16_Weights.IMAGENET1K_V1, monkeypatch)
        source = locate("torchvision:vgg16")
    assert source.path == tmp_path / "torch" / "hub" / "checkpoints" / name
    assert source.name == "torchvision:vgg16"
    state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)  # the server is gone
    assert state["features.0.bias"].tolist() == [0, 1, 2]
    assert find("torchvision:vgg16-IMAGENET1K_V1")[0] == source.path


TORCHVISIONS = [
    (f"{network}-{weights.name}", weights)
    for network in list_models(module=torchvision.models)
    if network.startswith("vgg")
    for weights in get_model_weights(network)
]


def test_the_table_has_all_that_torchvision_publishes():
    ours = [one.name for one in PUBLISHED if one.name.startswith("torchvision:")]
    assert sorted(ours) == sorted(f"torchvision:{name}" for name, _ in TORCHVISIONS)


@pytest.mark.parametrize(("name", "weights"), TORCHVISIONS)
def test_the_table_of_torchvision_is_what_torchvision_has(name, weights, monkeypatch):
    fetched: list[tuple[object, ...]] = []
    monkeypatch.setattr(by_name, "fetch", lambda *words: fetched.append(words) or words[1])
    path, known = find(f"torchvision:{name}")
    url, checksum = fetched[0][0], fetched[0][2]
    assert url == weights.url
    assert url.endswith(f"-{checksum.prefix}.pth") and checksum.algorithm == "sha256"
    assert path == Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    view = weights.transforms()
    # Those of the features alone are divided by 1/255, rounded to three decimals.
    assert known.preprocessing.mean == pytest.approx([255 * level for level in view.mean], abs=1e-3)
    assert known.preprocessing.deviation == pytest.approx([255 * level for level in view.std], abs=1e-3)
    ours = next(one for one in PUBLISHED if one.name == f"torchvision:{name}")
    rates = weights.meta["_metrics"]["ImageNet-1K"]
    features_alone = name.endswith("FEATURES")  # whose accuracies are NaN
    assert features_alone or 100 - ours.top1_error == pytest.approx(rates["acc@1"])
    assert features_alone or 100 - ours.top5_error == pytest.approx(rates["acc@5"])
    assert features_alone or imagenet.class_names() == tuple(weights.meta["categories"])
    assert known.licence == ("CC-BY-4.0" if features_alone else "BSD-3-Clause")


def test_torchvisions_default_is_its_first():
    for network in ("vgg11", "vgg16", "vgg19_bn"):
        assert get_model_weights(network).DEFAULT is get_model_weights(network).IMAGENET1K_V1


def test_a_default_may_be_named(monkeypatch):
    monkeypatch.setattr(by_name, "fetch", lambda url, path, *more: path)
    assert (
        find("torchvision:vgg16-DEFAULT") == find("torchvision:vgg16") == find("torchvision:vgg16-IMAGENET1K_V1")
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:vgg17", "torchvision has no VGG called 'vgg17'; it has vgg11, vgg11_bn,"),
        ("torchvision:resnet50", "torchvision has no VGG called 'resnet50'"),
        ("torchvision:vgg19-V9", "no weights of vgg19 called 'V9'; it has IMAGENET1K_V1"),
        ("keras:vgg11", "Keras publishes no VGG called 'vgg11'; there are keras:VGG16, keras:VGG16-notop,"),
    ],
)
def test_a_name_that_a_library_lacks(name, message):
    with pytest.raises(UsageError, match=message):
        find(name)


def test_neither_torchvision_nor_torch_is_imported(tmp_path):
    code = (
        "import sys; from verydeep.weights import by_name\n"
        "by_name.fetch = lambda url, path, *more: path\n"
        "by_name.find('torchvision:vgg16'); print([name for name in sys.modules if name.startswith('torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_huggingface_hub(monkeypatch):
    found = importlib.util.find_spec
    without = lambda name, *rest: None if name == "huggingface_hub" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    for name in ("hf:someone/small", "timm/vgg16.tv_in1k"):
        with pytest.raises(VerydeepError, match=r"needs huggingface_hub, .* run: pip install 'verydeep\[hub\]'"):
            find(name)
    with pytest.raises(ModelError, match=r"^no/such does not exist; .* or hf:no/such for a model of the Hub"):
        find("no/such")


def test_keras_finds_what_we_fetched(tmp_path, monkeypatch):
    with serving(FileServer(b"of Keras" * 1000)) as server:
        md5 = hashlib.md5(server.content).hexdigest()
        name = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
        served = publish("keras:VGG19-notop", server, name, Checksum("md5", md5), monkeypatch)
        path, metadata = find("keras:vgg19-notop")
    assert path == tmp_path / "keras" / "models" / name
    assert metadata == served.metadata

    from keras.src.utils import file_utils

    theirs = file_utils.get_file(
        name, f"{server.url}/gone", cache_subdir="models", file_hash=md5, cache_dir=tmp_path / "keras"
    )
    assert Path(theirs) == path


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_the_table_of_keras_is_what_keras_has(network):
    source = Path(importlib.util.find_spec(f"keras.src.applications.{network}").origin).read_text()
    ours = [one for one in PUBLISHED if one.name.startswith(f"keras:{network.upper()}")]
    assert len(ours) == 2
    joined = source.replace('"\n    "', "")
    for one in ours:
        assert f'"{one.url}"' in joined
        assert f'file_hash="{one.checksum.prefix}"' in source


def test_nothing_is_fetched_offline(monkeypatch, hub):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("torchvision:vgg16", "keras:VGG16", "hf:someone/small"):
        with pytest.raises(VerydeepError, match="downloads are off"):
            find(name)
    assert hub.asked == []


def test_a_path_always_means_the_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("timm/vgg16.tv_in1k", "torchvision:vgg16"):
        Path(name).mkdir(parents=True)
        assert locate(name).path == Path(name)


def test_what_is_a_repository_and_what_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for name in (
        "runs/photos",
        "elsewhere/photos",
        "plain",
        "a/b/c",
        "/a/b",
        "./a",
        "../a",
        "a/b.safetensors",
        "a/b.pth",
        "a/b@c",
    ):
        assert as_repository(name) is None, name
        with pytest.raises(ModelError, match=f"^{name} does not exist"):
            find(name)
    assert as_repository("timm/vgg16.tv_in1k") == Repository("timm/vgg16.tv_in1k")
    for scheme in ("hf:", "hf:/", "hf://"):
        assert as_repository(f"{scheme}runs/photos") == Repository("runs/photos")
        assert as_repository(f"{scheme}a/b@v1/deep/c.bin") == Repository("a/b", "v1", "deep/c.bin")
        assert as_repository(f"{scheme}a/b@refs/pr/1") == Repository("a/b", "refs/pr/1", None)
        assert as_repository(f"{scheme}a/b@refs/pr/1/c.bin") == Repository("a/b", "refs/pr/1", "c.bin")
        assert as_repository(f"{scheme}a/b@feature%2Fx/c.bin") == Repository("a/b", "feature/x", "c.bin")


def test_a_repository_comes_once(model, hub, tmp_path, capsys):
    for _ in range(2):
        source = locate("hf:someone/small")
        assert source.path.read_bytes() == (model / "model.safetensors").read_bytes()
        assert (source.path.parent / "config.json").read_bytes() == (model / "config.json").read_bytes()
    assert [asked for asked in hub.asked if asked.startswith("GET") and "/api/" not in asked] == [
        "GET /someone/small/resolve/main/config.json",
        f"GET /someone/small/resolve/{hub.commit}/model.safetensors",
    ]
    asking = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asking")]
    files = ("config.json", "model.safetensors")
    assert asking == [f"asking the Hub for {name} of someone/small" for name in files]
    before = len(hub.asked)
    assert from_hub(Repository("someone/small"), offline=True) == source.path
    assert len(hub.asked) == before


def test_a_repository_of_older_weights_and_of_one_file(hub):
    hub.repositories["someone/old"] = {"pytorch_model.bin": b"weights", "deep/other.h5": b"others"}
    assert find("hf:someone/old")[0].read_bytes() == b"weights"
    assert find("hf:someone/old/deep/other.h5")[0].read_bytes() == b"others"
    with pytest.raises(VerydeepError, match=r"hf:someone/old/none.h5 has no none\.h5"):
        find("hf:someone/old/none.h5")
    hub.repositories["someone/empty"] = {"README.md": b""}
    with pytest.raises(VerydeepError, match=r"has no model\.safetensors and no pytorch_model\.bin; name one"):
        find("hf:someone/empty")


def test_a_repository_that_is_not_there(hub):
    with pytest.raises(VerydeepError, match="no/such is not a local path, and the Hub has no such repository"):
        find("hf:no/such")


def test_a_repository_whose_weights_were_changed_on_the_way(hub, tmp_path):
    hub.changed = True
    with pytest.raises(VerydeepError, match=r"model\.safetensors is not the file that was published: its sha256"):
        find("hf:someone/small")
    assert not list((tmp_path / "hub").rglob("model.safetensors"))
    hub.changed = False
    assert find("hf:someone/small")[0].is_file()


def test_a_repository_of_timms_is_a_model(model, hub, tmp_path, photographs):
    config, tensors = read_model(model)
    wide = replace(config, architecture=replace(config.architecture, window=224))
    fc6 = np.random.default_rng(0).normal(0, 0.01, wide.architecture.tensors["fc6.weight"]).astype(np.float32)
    write_model(tmp_path / "wide", wide, {**tensors, "fc6.weight": fc6})
    folder = tmp_path / "theirs"
    main(["export", str(tmp_path / "wide"), "--out", str(folder / "model.safetensors"), "--to", "timm"])
    as_wide_as_timms = replace(wide, architecture=replace(wide.architecture, width=1))
    card = timm_card(as_wide_as_timms)
    (folder / "config.json").write_text(json.dumps(card))
    hub.repositories["timm/vgg11.ours"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = load("timm/vgg11.ours")
    assert found.class_names == config.class_names
    np.testing.assert_allclose(
        found.engine.score_maps(photographs[0][None]),
        load(tmp_path / "wide").engine.score_maps(photographs[0][None]),
        atol=1e-5,
    )


def test_torchvisions_weights_are_a_model(tmp_path, monkeypatch, photographs):
    """A narrow network with random weights in the place of the published file, as torchvision saves it."""
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = VGG(torch.nn.Identity(), init_weights=False).eval()
    theirs.features = make_layers([3, "M", 6, "M", 13, 13, "M", 26, 26, "M", 26, 26, "M"])
    theirs.classifier = torch.nn.Sequential(
        *(torch.nn.Linear(26 * 49, 205), torch.nn.ReLU(), torch.nn.Dropout()),
        *(torch.nn.Linear(205, 205), torch.nn.ReLU(), torch.nn.Dropout()),
        torch.nn.Linear(205, 1000),
    ).eval()
    file = tmp_path / "saved.pth"
    torch.save(theirs.state_dict(), file)
    weights = VGG11_Weights.IMAGENET1K_V1
    with serving(FileServer(file.read_bytes(), breaks=[500_000])) as server:
        monkeypatch.setattr(remote, "WAITS", (0.01,))
        serve_torchvision(server, weights, monkeypatch)
        found = load("torchvision:vgg11")
    image = photographs[0][:256, :256]
    with torch.inference_mode():
        expected = theirs(weights.transforms()(torch.from_numpy(image).permute(2, 0, 1))[None])
    assert found.class_names == tuple(weights.meta["categories"])
    ours = found.engine.score_maps(np.ascontiguousarray(image[None, 16:240, 16:240]))[..., 0, 0]
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_push_and_fetch(model, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    main(["push", str(model), "someone/pushed", "--yes", "--licence", "CC-BY-4.0"])
    assert capsys.readouterr().out == f"{hub.url}/someone/pushed: verydeep predict hf:someone/pushed IMAGE\n"
    assert sorted(hub.repositories["someone/pushed"]) == ["README.md", "config.json", "model.safetensors"]
    assert 'license: "cc-by-4.0"' in hub.repositories["someone/pushed"]["README.md"].decode()
    main(
        [
            "export",
            "hf:someone/pushed",
            "--out",
            str(tmp_path / "again"),
            "--to",
            "hub",
            "--name",
            "someone/pushed",
        ]
    )
    for name in ("README.md", "config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == hub.repositories["someone/pushed"][name], name


def test_a_folder_with_a_card_is_pushed_as_it_is(model, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    folder = tmp_path / "folder"
    main(["export", str(model), "--out", str(folder), "--to", "hub"])
    (folder / "README.md").write_text("# my own words\n")
    (folder / "state.pt").write_bytes(b"not for others")
    main(["push", str(folder), "someone/own", "--yes"])
    assert hub.repositories["someone/own"]["README.md"] == b"# my own words\n"
    assert sorted(hub.repositories["someone/own"]) == ["README.md", "config.json", "model.safetensors"]


def test_nothing_is_pushed_unconfirmed(model, hub, monkeypatch, capsys):
    """Where nobody can be asked it is refused; on a terminal it is asked, and anything but yes means no."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    for answer, sent in ((None, False), ("", False), ("no", False), ("y", True)):
        monkeypatch.setattr("sys.stdin.isatty", lambda answer=answer: answer is not None, raising=False)
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        if sent:
            main(["push", str(model), "someone/asked"])
        else:
            with pytest.raises(SystemExit) as ended:
                main(["push", str(model), "someone/asked"])
            assert ended.value.code == 2
            assert f"confirm with --yes that {model} goes to hf:someone/asked" in capsys.readouterr().err
        assert ("someone/asked" in hub.repositories) == sent
    with pytest.raises(UsageError, match="confirm with `yes`"):
        verydeep.push(model, "someone/other")
    assert "someone/other" not in hub.repositories


@pytest.mark.parametrize("token", ["hf_wrong", ""])
def test_who_may_not_write_is_told(model, hub, token, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(VerydeepError, match=r"run `hf auth login`, or set HF_TOKEN"):
        upload(model, "someone/else")
    with pytest.raises(UsageError, match="is not a repository name"):
        upload(model, "nothing")


@pytest.mark.parametrize("first", [False, True])
def test_offline_stands_before_or_behind_the_command(first, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    words = ["inspect", "keras:VGG16"]
    with pytest.raises(SystemExit) as ended:
        main(["--offline", *words] if first else [*words, "--offline"])
    assert ended.value.code == 1
    assert "downloads are off" in capsys.readouterr().err


def test_the_environment_names_mirror_cache_and_offline(model, tmp_path):
    """As a command meets it: HF_ENDPOINT, HF_HOME, --offline."""
    hub = Hub({"someone/small": {path.name: path.read_bytes() for path in model.iterdir()}})
    command = [sys.executable, "-m", "verydeep", "export", "hf:someone/small", "--to", "hub"]
    with serving(hub):
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        results = [
            subprocess.run(
                [*command, "--out", str(tmp_path / name), *more], capture_output=True, text=True, env=env
            )
            for name, more, env in (
                ("early", ["--offline"], _with(environment)),
                ("one", [], _with(environment)),
                ("two", ["--offline"], _with(environment, HF_ENDPOINT="http://127.0.0.1:9")),
            )
        ]
    assert [result.returncode for result in results] == [1, 0, 0], results
    assert results[0].stderr == (
        "verydeep: hf:someone/small is not in the cache, and downloads are off (by option or HF_HUB_OFFLINE)\n"
    )
    assert (tmp_path / "two" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def _with(environment, **more):
    return {**os.environ, **environment, **more}


@pytest.mark.parametrize("fault", ["large configuration", "large weights", "stuck"])
def test_a_hub_that_gives_without_end_or_nothing(fault, hub, monkeypatch):
    """One sentence, within the bounds of bytes and of time without progress."""
    if fault == "large configuration":
        monkeypatch.setattr(remote, "MOST_CONFIG_BYTES", 100)
    elif fault == "large weights":
        monkeypatch.setattr(remote, "MOST_WEIGHTS_BYTES", 100)
    else:
        monkeypatch.setattr(remote, "HUB_SECONDS", 0.3)
        monkeypatch.setattr(Hub, "_file", lambda *_: time.sleep(2))
    with pytest.raises(VerydeepError, match=r"has more than 100 bytes|less than 1024 bytes came in 0\.3 seconds"):
        from_hub(Repository("someone/small"))
