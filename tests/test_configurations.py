"""Table 1 and Table 2 of the paper, and the arithmetic that follows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verydeep.accounting import account, num_parameters, stage_arguments
from verydeep.configurations import CONFIGURATIONS, Architecture, configuration
from verydeep.errors import UsageError
from verydeep.network.initialize import grow, initialize
from verydeep.network.vgg import VGG

PUBLISHED_PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
}
PUBLISHED_CONVOLUTION_PARAMETERS = {
    "A": 9_220_480,
    "B": 9_404_992,
    "C": 9_996_096,
    "D": 14_714_688,
    "E": 20_024_384,
}
WEIGHT_LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}

architectures = st.builds(
    Architecture,
    configuration=st.sampled_from(list(CONFIGURATIONS)),
    num_classes=st.integers(1, 20),
    width=st.floats(0.001, 0.05),
    window=st.sampled_from([32, 64, 96]),
    batch_norm=st.booleans(),
)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_parameters_are_the_published_ones(name):
    architecture = Architecture(name)
    assert num_parameters(architecture) == PUBLISHED_PARAMETERS[name]
    assert configuration(name).weight_layers == WEIGHT_LAYERS[name]
    convolutions = sum(row.parameters for row in account(architecture) if row.name.startswith("conv"))
    assert convolutions == PUBLISHED_CONVOLUTION_PARAMETERS[name.removesuffix("-LRN")]


def test_multiply_adds_of_d():
    assert round(sum(row.multiply_adds for row in account(Architecture("D"))) / 1e9, 2) == 15.47


def test_convolution_parameters_of_a_and_a_lrn_are_the_same():
    assert [row.parameters for row in account(Architecture("A"))] == [
        row.parameters for row in account(Architecture("A-LRN"))
    ]


@given(architectures)
def test_account_is_what_torch_holds_and_makes(architecture):
    network = VGG(architecture)
    rows = {row.name: row for row in account(architecture)}
    assert num_parameters(architecture) == sum(parameter.numel() for parameter in network.parameters())
    state = network.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == architecture.tensors
    shapes = {}
    for name, module in network.named_children():
        if name in rows:
            module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
    side = architecture.window
    with torch.no_grad():
        network.eval().score_map(torch.zeros(1, 3, side, side))
    assert all(rows[name].shape == shape for name, shape in shapes.items())


def test_receptive_fields():
    fields = {row.name: row.receptive_field for row in account(Architecture("D"))}
    # conv3_3 and pool5 of VGG-16, as the literature on receptive fields gives them.
    assert (fields["conv1_2"], fields["conv3_3"], fields["pool5"]) == (5, 40, 212)


def test_receptive_field_is_what_a_pixel_reaches():
    # Not by tiles, whose rounding errors reach further.
    network = VGG(Architecture("C", num_classes=1, width=0.05, window=32), engine="torch").eval()
    rows = {row.name: row for row in account(network.architecture)}
    x = torch.zeros(1, 3, 96, 96, requires_grad=True)
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1)
    seen = {}
    network.conv3_3.register_forward_hook(lambda _, __, out: seen.update(out=out))
    network.score_map(x)
    seen["out"][0, 0, 12, 12].backward()
    # Max-pooling passes the gradient of one pixel of four, so that at most the counted field can be reached.
    rows_reached = x.grad[0].abs().sum((0, 2)).nonzero().ravel()
    assert rows_reached.max() - rows_reached.min() + 1 <= rows["conv3_3"].receptive_field


def test_section_2_3():
    stages = stage_arguments(Architecture("D"))
    assert (stages[2].stack_factor, stages[2].single_factor, stages[2].receptive_field) == (27, 49, 7)
    assert (stages[0].stack_factor, stages[0].single_factor, stages[0].receptive_field) == (18, 25, 5)
    c = stage_arguments(Architecture("C"))[2]
    assert (c.stack_factor, c.single_factor, c.receptive_field) == (19, 25, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"configuration": "d"}, "did you mean D?"),
        ({"configuration": "VGG16"}, "Table 1 has A, A-LRN, B, C, D, E"),
        ({"window": 100}, "use 96"),
        ({"window": 0}, "use 32"),
        ({"width": 0}, "`width` is 0"),
        ({"width": float("nan")}, "`width` is nan"),
        ({"num_classes": -1}, "at least 1"),
    ],
)
def test_wrong_architecture(arguments, words):
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        Architecture(**arguments)


def test_b_5x5_is_b_with_one_5x5_layer_for_each_pair():
    b, shallow = Architecture("B"), Architecture("B-5x5")
    assert "B-5x5" not in CONFIGURATIONS
    assert configuration("B-5x5").weight_layers == 8
    assert [layer.kernel for layer in shallow.convolutions] == [5] * 5
    pairs = zip(b.convolutions[::2], b.convolutions[1::2], shallow.convolutions, strict=True)
    for first, second, one in pairs:
        assert (first.in_channels, second.out_channels) == (one.in_channels, one.out_channels)
    fields = [{row.name: row.receptive_field for row in account(one)} for one in (b, shallow)]
    assert [fields[0][f"pool{stage}"] for stage in range(1, 6)] == [
        fields[1][f"pool{stage}"] for stage in range(1, 6)
    ]
    channels = (3, 64, 128, 256, 512, 512)
    convolutions = sum(25 * a * b + b for a, b in pairwise(channels))
    fully_connected = 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert num_parameters(shallow) == convolutions + fully_connected


def test_b_5x5_is_a_plain_sequential():
    architecture = Architecture("B-5x5", 7, 0.1, 64)
    network = VGG(architecture).eval()
    initialize(network, "he", 0)
    layers: list[torch.nn.Module] = []
    for layer in architecture.convolutions:
        convolution = torch.nn.Conv2d(layer.in_channels, layer.out_channels, 5, padding=2)
        layers += [convolution, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    hidden = architecture.channels(4096)
    layers += [torch.nn.Conv2d(architecture.channels(512), hidden, 2), torch.nn.ReLU()]
    layers += [torch.nn.Conv2d(hidden, hidden, 1), torch.nn.ReLU(), torch.nn.Conv2d(hidden, 7, 1)]
    plain = torch.nn.Sequential(*layers)
    plain.load_state_dict(dict(zip(plain.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 100, 131, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.score_map(images), plain(images))


def test_b_5x5_is_not_grown():
    network = VGG(Architecture("B-5x5", 7, 0.1, 32))
    with pytest.raises(UsageError, match="B-5x5 has no layers of net A's shapes"):
        grow(network, Architecture("A", 7, 0.1, 32), {}, None)
