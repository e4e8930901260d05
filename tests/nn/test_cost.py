"""Costs: a published table, and torch's own counter as the judge."""

from dataclasses import asdict

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.nn.cost import describe, format_table, total
from pipeline.nn.network import build

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
