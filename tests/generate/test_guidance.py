import pytest
import torch

from pipeline.generate.guidance import guided


def network(x, t, condition):
    return x * t.view(-1, 1, 1) + (1 + condition.sum(1)).square().view(-1, 1, 1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(4, 2, 5, generator=generator), torch.rand(4, generator=generator), torch.eye(4)[:, :3])


def test_it_is_affine_between_nothing_told_and_all_told(batch):
    x, t, condition = batch
    told, untold = network(x, t, condition), network(x, t, torch.zeros_like(condition))
    for guidance in (0.0, 0.5, 1.0, 2.0):
        expected = untold + guidance * (told - untold)
        torch.testing.assert_close(guided(network, x, t, condition, guidance), expected)
    # equation 6 of the paper with w = guidance - 1
    torch.testing.assert_close(guided(network, x, t, condition, 3.0), 3 * told - 2 * untold)


def test_a_row_that_is_told_nothing_is_not_guided(batch):
    x, t, condition = batch
    torch.testing.assert_close(guided(network, x, t, condition, 5.0)[3], network(x, t, condition)[3])


def test_it_evaluates_both_only_where_both_are_needed(batch):
    x, t, condition = batch
    sizes = []

    def counting(x, t, condition):
        sizes.append(len(x))
        return network(x, t, condition)

    for guidance in (0, 1, 2):
        guided(counting, x, t, condition, guidance)
    guided(counting, x, t, condition[:, :0], 2)
    assert sizes == [4, 4, 8, 4]
