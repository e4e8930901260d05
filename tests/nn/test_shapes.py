"""Shapes, parameters, reduction and receptive field: published tables, and torch itself as the judge."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.nn.network import build
from pipeline.nn.notation import network_line
from pipeline.nn.shapes import trace

# 17 convolutions for continuum fields and 23 for HI cubes, as YOLO-CIANNA has them
CONTINUUM = (
    "act=leaky0.05 C-32.5 C-16.2_s2 C-24.3 C-32.3 C-64.2_s2 C-128.1 C-192.3 C-128.2_s2 C-192.1 C-384.3 C-256.1 C-384.3 "
    "C-512.2_s2 C-768.1 C-1024.3 N-group256 C-2048.1_d0.25 C-117.1_linear"
)
MODELS = Path(__file__).parents[2] / "config" / "models"
HI = network_line(str(MODELS / "yolo-cianna-sdc2.txt")) + " C-14.1_linear"


def _parameters(line, ndim, shape, outputs=None):
    return sum(step.parameters for step in trace(line, ndim, shape, outputs))


@pytest.mark.parametrize(
    ("line", "ndim", "shape", "outputs", "parameters"),
    [
        ("C-6.5 P-2 C-16.5 P-2 C-48.3 D-1024_d0.5 D-256_d0.2 D-10", 2, (1, 28, 28), 10, 2_683_974),
        # torchvision's ResNet-18 and ResNet-34
        ("resnet-18", 2, (3, 224, 224), 1000, 11_689_512),
        ("resnet-34", 2, (3, 224, 224), 1000, 21_797_672),
        # DeiT-Ti has 5,717,416, of which 2 x 192 are the class token and its position
        ("vit_p16_w192_h3_l12_learned", 2, (3, 224, 224), 1000, 5_717_416 - 2 * 192),
        (CONTINUUM, 2, (1, 256, 256), None, 12_622_909),
        (HI, 3, (1, 256, 64, 64), None, 3_345_470 + 256),
    ],
)
def test_published_parameter_counts(line, ndim, shape, outputs, parameters):
    assert _parameters(line, ndim, shape, outputs) == parameters


def test_published_detection_backbones():
    last = trace(CONTINUUM, 2, (1, 256, 256))[-1]
    assert (last.output_shape, last.reduction, last.field) == ((117, 16, 16), (16, 16), (100, 100))
    last = trace(HI, 3, (1, 256, 64, 64))[-1]
    assert (last.output_shape, last.reduction, last.field) == ((14, 16, 8, 8), (16, 8, 8), (326, 70, 70))
    steps = trace(HI, 3, (1, 256, 64, 64))
    assert sum(step.layer.kind == "C" for step in steps) == 23
    assert sum(step.macs for step in steps) == pytest.approx(6_930.5 * 256 * 64 * 64, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "reduction", "field", "parameters", "macs"),
    [
        ("hi", (4, 4, 4), (100, 44, 44), 182_048, 2_836),
        ("hi-small", (4, 4, 4), (100, 44, 44), 89_472, 1_392),
        ("hi-fine", (4, 2, 2), (116, 44, 44), 274_688, 5_984),
    ],
)
def test_networks_for_cubes_are_what_their_remarks_say(name, reduction, field, parameters, macs):
    steps = trace(network_line(str(MODELS / f"{name}.txt")), 3, (1, 256, 64, 64))
    assert (steps[-1].reduction, steps[-1].field) == (reduction, field)
    assert sum(step.parameters for step in steps) == parameters
    assert sum(step.macs for step in steps) == macs * 256 * 64 * 64
    text = (MODELS / f"{name}.txt").read_text()
    assert f"{parameters / 1000:.0f} thousand parameters" in " ".join(text.replace("#", "").split())
    assert f"{macs:,} multiply-adds a voxel" in text


LINES = [
    "C-4.3_s2 A-3_s1_p1 P-2 N-layer GMP_relu D-5_b0 D-2",
    "norm=batch C-4.3_b1 R-4.3 R-6.5_s2 U-2 GAP D-3_tanh",
    "C-4.1_gelu E-learned T-2_m3 T-4 F N-group2 D-3_sigmoid",
    "C-4.3_group2_silu N-instance_sigmoid C-4.3_g2_d0.2 R-4.3_linear_layer C-3.1_linear",
    "norm=batch act=relu C-2.3 R-2.3 R-4.3_s2 D-4 D-3",
    "C-2.7_s2 P-3_s2_p1 R-4.3_s2 GAP",
    "C-4.3 R-4.1+5 R-6.5+3_s2 GAP",
    "vit_p4_w8_h2_l2_d0.1",
    "vit_p2_w8_h2_l1_learned_m1",
]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("line", LINES)
def test_shapes_and_parameters_are_those_of_torch(line, ndim):
    network = build(line, ndim, (2, 8, 12, 16)[: ndim + 1])
    x = torch.randn(3, *network.input_shape)
    for step, layer in zip(network.steps, network.layers, strict=True):
        assert tuple(x.shape[1:]) == step.input_shape
        x = layer(x)
        assert tuple(x.shape[1:]) == step.output_shape
        assert sum(p.numel() for p in layer.parameters()) == step.parameters
    x.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(
    "line",
    [
        "C-2.5_linear P-3_s2_p1 C-3.3_s2_linear A-2",
        "C-2.3_linear R-3.3_s2_linear C-2.3_linear",
        "C-2.3_s2_linear R-3.5+3_s2_linear R-3.1+3_linear",
    ],
)
@pytest.mark.parametrize("ndim", [1, 2])
def test_receptive_field_is_where_the_gradient_reaches(line, ndim):
    torch.manual_seed(1)
    network = build(line, ndim, (1, *(61,) * ndim)).double()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.0)
    # the maximum chooses another pixel of its window in every draw
    seen = torch.zeros(1, 1, *(61,) * ndim, dtype=torch.bool)
    for _ in range(40):
        x = torch.rand(seen.shape, dtype=torch.float64, requires_grad=True)
        y = network(x)
        centre = tuple(n // 2 for n in y.shape[2:])
        y[(0, 0, *centre)].backward()
        seen |= x.grad != 0
    for axis in range(ndim):
        others = tuple(a for a in range(seen.ndim) if a != axis + 2)
        reached = seen.any(dim=others) if len(others) else seen
        where = reached.flatten().nonzero()
        assert int(where.max() - where.min()) + 1 == network.field[axis]


def test_a_shift_by_the_reduction_shifts_the_output_by_one_pixel():
    torch.manual_seed(0)
    network = build("C-2.3_s2 P-2 U-4 C-2.3 A-2 R-3.3_s2", 1, (1, 64)).double().eval()
    (reduction,) = network.reduction
    assert reduction == 4
    x = torch.zeros(1, 1, 64, dtype=torch.float64)
    x[..., 28:36] = torch.randn(8, dtype=torch.float64)
    torch.testing.assert_close(network(x.roll(int(reduction), -1)), network(x).roll(1, -1))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_branch_adds_its_channels(ndim):
    axes = (8, 12, 4)[:ndim]
    steps = trace("C-16.3 [ C-32.4_s2_p1 R-32.3 [ P-2 C-8.3 U-2 ] U-2 ] C-5.3", ndim, (2, *axes))
    start, inner, join, last = (steps[i] for i in (1, 8, 10, 11))
    assert start.output_shape == (16, *axes)
    assert inner.output_shape == (40, *(n // 2 for n in axes))
    assert (join.input_shape, join.output_shape) == ((40, *axes), (56, *axes))
    assert all((step.parameters, step.macs) == (0, 0) for step in (start, inner, join))
    assert last.parameters == 56 * 3**ndim * 5 + 5
    assert last.reduction == (1,) * ndim


def test_the_wider_path_of_a_branch_is_what_is_seen():
    def field(line):
        return trace(line, 2, (1, 24, 24))[-1].field

    deep = "C-2.3 C-2.4_s2_p1 C-2.5 U-2 C-2.3"
    assert field(deep.replace("C-2.4", "[ C-2.4").replace("U-2", "U-2 ]")) == field(deep)
    assert field("C-2.7 [ C-2.1 ]") == (7, 7)


@pytest.mark.parametrize(
    ("line", "shape", "outputs", "reason", "remedy"),
    [
        (
            "C-4.3 P-2 P-2 P-2 P-2 D-3",
            (1, 8, 8),
            3,
            'token 5 "P-2": its size 2 does not fit axis 1, which is 1',
            "remove",
        ),
        ("P-1x2 C-4.5_valid D-3", (1, 8, 8), 3, "its size 5 does not fit axis 2, which is 4", "smaller on that axis"),
        (
            "C-4.3_g2 D-3",
            (3, 8, 8),
            3,
            "3 channels cannot be divided into 2 groups",
            "divide into 1, or make the channels a multiple of 2",
        ),
        (
            "C-6.3_group4 D-3",
            (3, 8, 8),
            3,
            "6 channels cannot be divided into 4 groups to normalise",
            "divide into 3, or",
        ),
        (
            "C-6.3 T-4 GAP D-3",
            (3, 8, 8),
            3,
            "6 channels cannot be divided into 4 attention heads",
            "divide into 3, or",
        ),
        ("GAP N-instance D-3", (3, 8, 8), 3, "it needs axes to normalise over", 'write "N-layer"'),
        ("P-8 N-instance D-3", (3, 8, 8), 3, "becomes zero, with one value in each group", "fewer groups"),
        ("C-3.3 E-sincos D-3", (3, 8, 8), 3, "3 channels are too few for a sine and a cosine", "at least 4 channels"),
        ("F N-group3 D-3", (3, 1, 1), 3, "becomes zero", "fewer groups"),
        ("D-4 D-3", (3, 8, 8), 7, "it ends with 3 numbers, but 7 are needed", 'change the last token to "D-7"'),
        ("D-3_softmax", (3, 8, 8), 7, "it ends with 3 numbers", 'change the last token to "D-7_softmax"'),
        ("C-4.3", (3, 8, 8), 7, "it ends with feature maps of shape (4, 8, 8), but 7", 'append "GAP D-7"'),
        ("C-4.3 GAP", (3, 8, 8), 7, "it ends with 4 numbers", 'append "D-7"'),
        (
            "D-900000 D-900000 D-3",
            (1, 8, 8),
            3,
            'token 2 "D-900000": it would have 810,000,900,000 parameters',
            "smaller",
        ),
        (
            "vit_p4_w8_h2_l1",
            (1, 10, 8),
            3,
            "axis 1 is 10 long, which is not a multiple of the patch size 4",
            "crop the input to 8",
        ),
        ("vit_p16_w8_h2_l1", (1, 8, 8), 3, "does not fit axis 1", "remove"),
        ("U-9999999 D-3", (1, 8, 8), 3, "it would make 6,399,998,720,000,064 values", "smaller"),
        (
            "D-3",
            (8, 8),
            3,
            "the input shape (8, 8) is not one number of channels and 2 axis lengths",
            "give 3 positive",
        ),
        ("D-3", (1, 8, 0), 3, "the input shape (1, 8, 0)", "give 3 positive"),
        (
            "C-4.3 [ P-2 C-6.3 U-2 ]",
            (1, 9, 8),
            None,
            'token 6 "]": its branch ends with the shape (6, 8, 8), but began with the shape (4, 9, 8)',
            "crop the input so that",
        ),
        ("[ C-6.3_s2x4 ]", (1, 8, 8), None, "ends with the shape (6, 4, 2), but began", 'write "U-2x4" before it'),
        ("[ C-6.3 C-6.4 ]", (1, 8, 8), None, "ends with the shape (6, 7, 7)", "crop the input"),
        ("[ C-6.2_p1 ]", (1, 8, 8), None, "ends with the shape (6, 9, 9)", 'pad with "_same"'),
        ("[ U-2 ]", (1, 8, 8), None, "ends with the shape (1, 16, 16)", "upsample by as much as it pools"),
        (
            "[ C-6.3_s2 ]",
            (1, 1, 1),
            None,
            "and other pixels, which are 2x2 and 1x1 input",
            "upsample by as much as it pools",
        ),
        ("[ C-6.3_s2 ]", (1, 7, 8), None, "ends with the shape (6, 4, 4), but began", "crop the input to axes"),
    ],
)
def test_a_line_that_does_not_fit(line, shape, outputs, reason, remedy):
    with pytest.raises(UserError) as caught:
        trace(line, 2, shape, outputs)
    assert reason in caught.value.what
    assert remedy in caught.value.remedy
