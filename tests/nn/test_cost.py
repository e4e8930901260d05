"""Costs: a published table, and torch's own counter as the judge."""

from dataclasses import asdict

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.nn.coders import Decoder, Encoder
from pipeline.nn.cost import describe, format_table, macs, total
from pipeline.nn.network import build
from pipeline.nn.unet import UNet

TABLE = "C-32.3_p0 P-2 C-64.3_p0 P-2 C-64.3_p0 D-64 D-10"


def test_published_table():
    rows = describe(TABLE, 2, (3, 32, 32))
    assert [row.parameters for row in rows if row.parameters] == [896, 18496, 36928, 65600, 650]
    assert [row.output_shape for row in rows] == [
        (32, 30, 30),
        (32, 15, 15),
        (64, 13, 13),
        (64, 6, 6),
        (64, 4, 4),
        (64,),
        (10,),
    ]


def test_published_multiply_adds_of_resnet_18():
    assert total(describe("resnet-18", 2, (3, 224, 224), 1000)).macs == 1_814_073_344


LINES = [
    "C-4.3_s2 P-2 C-6.2_g2_p0 GAP D-5 D-3",
    "norm=batch C-4.3 R-4.3 R-6.3_s2 A-2 U-2 D-3",
    "C-4.3 R-4.3+1 R-6.1+5_s2 D-3",
    "C-4.1 E-learned T-2_m3 T-4 N-layer GMP D-3",
    "resnet-10_w2_stem2",
    "vit_p4_w8_h2_l2",
]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("line", LINES)
def test_multiply_adds_are_those_that_torch_counts(line, ndim):
    network = build(line, ndim, (2, 8, 12, 16)[: ndim + 1]).eval()
    # torch counts attention only where it is made of matrix products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(3, *network.input_shape))
    # a multiply-add is two operations, and three samples went through
    assert counter.get_total_flops() == 2 * 3 * total(describe(network)).macs


def test_a_line_and_its_network_cost_the_same():
    network = build(TABLE, 2, (3, 32, 32), 10)
    rows = describe(network)
    assert rows == describe(TABLE, 2, (3, 32, 32), 10)
    assert total(rows).parameters == sum(p.numel() for p in network.parameters())
    assert set(asdict(rows[0])) == {"name", "token", "output_shape", "parameters", "macs"}


def test_a_line_needs_a_shape():
    with pytest.raises(ValueError, match="ndim and input_shape"):
        describe(TABLE)


def test_table_has_a_line_a_layer_and_a_total():
    rows = describe(TABLE, 2, (3, 32, 32))
    lines = format_table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == len(rows) + 4
    assert "122,570" in lines[-1]
    assert all(row.token in line for row, line in zip(rows, lines[2:], strict=False))


def test_a_branch_costs_its_layers_alone():
    rows = describe("C-4.3 [ P-2 C-6.3 U-2 ] C-2.1", 2, (1, 8, 8))
    assert [row.name for row in rows if row.token in "[]"] == ["branch", "concatenation"]
    assert total(rows).macs == 64 * 9 * 4 + 16 * 9 * 4 * 6 + 64 * 10 * 2
    assert "10x8x8" in format_table(rows)


@pytest.mark.parametrize("line", ["norm=batch C-4.3 R-6.3_s2 GAP D-3", "vit_p4_w8_h2_l2"])
def test_counted_multiply_adds_are_the_described_ones_times_the_batch(line):
    network = build(line, 2, (2, 8, 12)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert macs(network, torch.zeros(3, 2, 8, 12)) == 3 * total(describe(network)).macs
    assert network.training and all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_multiply_adds_of_a_unet_in_closed_form(ndim):
    axes, cells = (4, 6, 8)[:ndim], (2, 3, 4)[:ndim]
    channel, kernel = 2 * 2**ndim, 3**ndim
    convolutions = kernel * (channel * 4 + 2 * 2 * 4 * 4 + 4 * 2**ndim)
    dense = 64 * 16 + 16 * 16 + 5 * 16 + 16 * 16 + 2 * 16 * 8
    x, t, told = torch.zeros(3, 2, *axes), torch.zeros(3), torch.zeros(3, 5)
    positions = int(torch.tensor(cells).prod())
    net = UNet("unet-4_p2_r1_a0_c5", ndim, (2, *axes), 1)
    assert macs(net, x, t, told) == 3 * (positions * convolutions + dense)
    attention = positions * 4 * 4 * 4 + 2 * positions**2 * 4
    assert macs(UNet("unet-4_p2_a1_c5", ndim, (2, *axes), 1), x, t, told) == macs(net, x, t, told) + 3 * attention
    assert macs(net, x, t, None) == 3 * (positions * convolutions + dense - 5 * 16 - 16 * 16)


def test_multiply_adds_of_coders_in_closed_form():
    encoder, decoder = Encoder(2, (1, 8, 8), (4, 6), 3), Decoder(2, (1, 8, 8), (4, 6), 3)
    assert macs(encoder, torch.zeros(2, 1, 8, 8)) == 2 * (16 * 9 * 4 + 4 * 9 * 4 * 6 + 4 * 6 * 3)
    assert macs(decoder, torch.zeros(2, 3)) == 2 * (3 * 4 * 6 + 16 * 9 * 6 * 4 + 16 * 9 * 4 * 4)
    # axes of 7 x 5 pixels have 4 x 3 cells, and no more are computed
    odd = Decoder(2, (1, 7, 5), (4, 6), 3)
    assert macs(odd, torch.zeros(1, 3)) == 3 * 4 * 6 + 12 * 9 * 6 * 4 + 12 * 9 * 4 * 4
