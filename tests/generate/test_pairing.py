from itertools import permutations

import pytest
import torch

from pipeline.generate.pairing import pair


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nothing(n):
    return torch.zeros(n, 0)


@pytest.mark.parametrize("axes", [(4,), (2, 3), (2, 2, 2)])
def test_no_other_pairing_is_cheaper(axes):
    noise, x = draw(6, 1, *axes), draw(6, 1, *axes, seed=2) + 0.5
    cost = torch.cdist(noise.flatten(1), x.flatten(1)).square()
    found = pair(noise, x, nothing(6), 1.0)
    total = cost[found, torch.arange(6)].sum()
    best = min(cost[list(order), torch.arange(6)].sum() for order in permutations(range(6)))
    assert sorted(found.tolist()) == list(range(6))
    assert total.item() == pytest.approx(best.item(), rel=1e-5)


def test_on_a_line_order_is_kept():
    noise, x = draw(50, 1, 1), 3 * draw(50, 1, 1, seed=2) + 1
    matched = noise[pair(noise, x, nothing(50), 0.0)].flatten()
    assert torch.equal(matched.argsort(), x.flatten().argsort())


def test_noise_does_not_tell_the_class_unless_the_condition_is_left_out():
    # two classes beside each other: transport alone sends the noise of one side to each
    condition = torch.eye(2).repeat(100, 1)
    x = 4 * condition[:, :1, None] - 2 + 0.1 * draw(200, 1, 1, seed=2)
    noise = draw(200, 1, 1)
    means = {}
    for weight in (0.0, 10.0):
        matched = noise[pair(noise, x, condition, weight)].flatten()
        means[weight] = (matched[0::2].mean() - matched[1::2].mean()).item()
        within = x[0::2].flatten().argsort()
    assert means[0.0] > 1
    assert abs(means[10.0]) < 0.3
    # and within a class it still is transport
    assert torch.equal(noise[pair(noise, x, condition, 10.0)].flatten()[0::2].argsort(), within)


def test_equal_samples_and_a_single_one_can_be_paired():
    assert pair(draw(1, 1, 3), draw(1, 1, 3), torch.ones(1, 2), 1.0).tolist() == [0]
    same = torch.zeros(4, 1, 3)
    assert sorted(pair(same, same, torch.ones(4, 2), 1.0).tolist()) == [0, 1, 2, 3]
