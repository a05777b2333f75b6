"""Layers beside VGG's, which a state dict does not place: without them the scores would be another network's."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from conftest import close, scores
from peers import NARROWER, timm_network, torchvision_network
from safetensors.torch import save_file
from torch import nn

from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")
CHANNELS, HIDDEN = 512 // NARROWER, 4096 // NARROWER


class Scale(nn.Module):
    """A number, or one for each channel, that is learned."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, 2.0))

    def forward(self, maps):
        return maps * self.gamma


class Squeezed(nn.Module):
    """Channel attention by convolutions of 1x1, or of one dimension over channels (ECA)."""

    def __init__(self, *gates: nn.Module) -> None:
        super().__init__()
        self.gates = nn.Sequential(*gates)

    def forward(self, maps):
        return maps * self.gates(maps.mean((2, 3), keepdim=True)).sigmoid()


class OverChannels(nn.Conv1d):
    def forward(self, maps):
        return super().forward(maps.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)


LAYERS = {
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS),
    "batch norm without parameters": lambda: nn.BatchNorm2d(CHANNELS, affine=False),
    "group norm": lambda: nn.GroupNorm(4, CHANNELS),
    "convolution": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "attention": lambda: Squeezed(nn.Conv2d(CHANNELS, 4, 1), nn.ReLU(), nn.Conv2d(4, CHANNELS, 1)),
    "attention over channels": lambda: Squeezed(OverChannels(1, 1, 3, padding=1, bias=False)),
    "PReLU": nn.PReLU,
    "PReLU of channels": lambda: nn.PReLU(CHANNELS),
    "scale": Scale,
    "scale of channels": lambda: Scale(CHANNELS, 1, 1),
}


class Within(nn.Module):
    """Torchvision's network A with a layer behind its convolutions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        network = torchvision_network("A", num_classes=5)
        self.features, self.att, self.classifier = network.features, layer, network.classifier

    def forward(self, images):
        return self.classifier(self.att(self.features(images)).flatten(1))


class BetweenOwn(nn.Module):
    """The same with a layer between FC layers that are attributes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.features, self.att = torchvision_network("A").features, layer
        sizes = (CHANNELS * 49, HIDDEN, HIDDEN, 5)
        self.fc1, self.fc2, self.fc3 = (nn.Linear(before, after) for before, after in pairwise(sizes))


BETWEEN = {
    "layer norm": lambda: nn.LayerNorm(HIDDEN),
    "layer norm without bias": lambda: nn.LayerNorm(HIDDEN, bias=False),
    "RMS norm": lambda: nn.RMSNorm(HIDDEN),
    "batch norm": lambda: nn.BatchNorm1d(HIDDEN),
    "batch norm without parameters": lambda: nn.BatchNorm1d(HIDDEN, affine=False),
    "FC layer without bias": lambda: nn.Linear(HIDDEN, HIDDEN, bias=False),
    "PReLU": nn.PReLU,
    "scale": Scale,
    "bilinear": lambda: nn.Bilinear(HIDDEN, HIDDEN, 2),
}
NETWORKS = [(Within, name) for name in LAYERS] + [(BetweenOwn, name) for name in BETWEEN]


@pytest.mark.parametrize("prefix", ["", "state_dict.model."])
@pytest.mark.parametrize(("home", "name"), NETWORKS)
def test_layers_that_change_the_scores_are_not_left_out(home, name, prefix, tmp_path):
    network = home((LAYERS if home is Within else BETWEEN)[name]())
    save_file({prefix + key: tensor for key, tensor in network.state_dict().items()}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"has att\S* beside its FC layers.*--features-only"):
        import_weights(locate(tmp_path / "a.safetensors"))
    found = import_weights(locate(tmp_path / "a.safetensors"), Metadata(features_only=True))
    assert found.architecture == Architecture("A", 0, 1 / NARROWER)


@torch.inference_mode()
def test_without_such_a_layer_the_scores_would_be_wrong(crops):
    """The tests above refuse what matters: the layer changes the scores."""
    images = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    for name, make in LAYERS.items():
        network = Within(make()).eval()
        if name.startswith("batch norm"):
            network.att.running_mean.fill_(0.3)
        with_layer = network(images)
        network.att = nn.Identity()
        assert name.startswith("PReLU") or not close(network(images).numpy(), with_layer.numpy()), name


@pytest.mark.parametrize("form", ["timm", "weight norm", "low rank"])
def test_in_other_layouts_and_other_forms_of_fc_layers(form, tmp_path):
    if form == "timm":
        state = timm_network("A").state_dict() | {"se.conv.weight": torch.ones(4, CHANNELS, 1, 1)}
    else:
        network = BetweenOwn(nn.Identity())
        if form == "weight norm":
            nn.utils.parametrizations.weight_norm(network.fc1)
        state = dict(network.state_dict())
        if form == "low rank":
            state |= {
                "fc1.lora_A.weight": torch.ones(2, CHANNELS * 49),
                "fc1.lora_B.weight": torch.ones(HIDDEN, 2),
            }
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="--features-only"):
        import_weights(locate(tmp_path / "a.safetensors"))


def test_in_our_own_layout(tmp_path):
    architecture = Architecture("A", 3, 1 / 64, 32)
    state = {name: torch.zeros(shape) for name, shape in architecture.tensors.items()}
    save_file(state | {"scale": torch.ones(())}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="has scale beside its FC layers"):
        import_weights(locate(tmp_path / "a.safetensors"))


class Gated(Within):
    """Squeeze-and-excitation by FC layers, which a second head looks like."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(CHANNELS, 4), nn.ReLU(), nn.Linear(4, CHANNELS)))


def test_further_fc_layers_are_told(tmp_path, capsys):
    torch.save(Gated().state_dict(), tmp_path / "a.pth")
    run = tmp_path / "run"
    main(
        [
            "convert",
            str(tmp_path / "a.pth"),
            str(run),
            "--preprocessing",
            "torchvision",
            "--class-names",
            "numbers",
        ]
    )
    said = "it has more FC layers (att), which are not used: if its images pass through them, the scores are wrong"
    assert said in capsys.readouterr().err
    assert said in import_weights(locate(tmp_path / "a.pth")).notes


class Square(nn.Module):
    """FC layers of as many outputs as inputs, used in another order than that in which they were made."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.features = torchvision_network("A").features
        for name, outputs in zip(names, (CHANNELS, CHANNELS, 5), strict=True):
            self.add_module(name, nn.Linear(CHANNELS, outputs))


@pytest.mark.parametrize(
    ("names", "is_told"),
    [(("a", "b", "c"), True), (("embed", "proj", "out"), True), (("fc1", "fc2", "fc3"), False)],
)
def test_an_order_that_only_the_file_tells_is_told(names, is_told, tmp_path):
    torch.save(Square(*names).state_dict(), tmp_path / "a.pth")
    said = f"its FC layers are taken in the order of the file ({', '.join(names)}): if the network has another"
    notes = import_weights(locate(tmp_path / "a.pth"), Metadata(window=224)).notes
    assert any(said in note for note in notes) == is_told
    if is_told:
        save_file(Square(*names).state_dict(), tmp_path / "a.safetensors")
        with pytest.raises(ModelError, match="does not tell the order of its FC layers"):
            import_weights(locate(tmp_path / "a.safetensors"), Metadata(window=224))


HARMLESS = {
    "mean": torch.ones(1, 3, 1, 1),
    "normalize.std": torch.ones(3),
    "loss.weight": torch.ones(5),
    "criterion.centers": torch.ones(5, HIDDEN),
    "class_weights": torch.ones(5),
    "n_averaged": torch.tensor(3),
    "num_batches": torch.tensor(3),
    "accuracy.correct": torch.ones(5, dtype=torch.long),
    "best_acc1": torch.tensor(70.0),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_images_do_not_pass_through_is_a_note(name, tmp_path, crops):
    network = torchvision_network("A", num_classes=5)
    save_file(network.state_dict() | {name: HARMLESS[name]}, tmp_path / "a.safetensors")
    found = import_weights(locate(tmp_path / "a.safetensors"))
    assert found.notes == [f"not used, as it is not the network's: {name}"]
    run = tmp_path / "run"
    told = ["--preprocessing", "torchvision", "--class-names", "numbers"]
    main(["convert", str(tmp_path / "a.safetensors"), str(run), *told])
    mean, deviation = (torch.tensor(x).view(3, 1, 1) * 255 for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        theirs = network((torch.from_numpy(crops).permute(0, 3, 1, 2) - mean) / deviation).numpy()
    assert close(scores(run, crops, "native"), theirs)
