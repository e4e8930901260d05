import torch

from pipeline.generate.told_mean import ToldMean


def conditions(n):
    """Two numeric conditions, correlated by 0.8, and one of two classes: (value, told) pairs and a number a class."""
    generator = torch.Generator().manual_seed(8)
    first, other = torch.randn(2, n, generator=generator)
    second = 0.8 * first + 0.6 * other
    chosen = torch.rand(n, generator=generator) < 0.3
    told = torch.ones(n)
    return torch.stack([first, told, second, told, chosen.float(), 1 - chosen.float()], 1)


def fitted():
    known = conditions(20000)
    first, second, chosen = known[:, 0], known[:, 2], known[:, 4]
    numbers = torch.stack([1 + 2 * first - second + first * second, 3 * chosen, second], 1)
    mean = ToldMean(6, 3)
    mean.fit(known, numbers)
    return mean, known, numbers


def test_a_quadratic_law_is_found():
    mean, known, numbers = fitted()
    error = (mean(known) - numbers).square().mean(0).sqrt()
    assert (error < 0.03 * numbers.std(0)).all()


def test_what_is_not_told_is_expected_from_the_rest():
    mean, _, _ = fitted()
    asked = torch.tensor([[1.5, 1, 0, 0, 0, 0], [-0.5, 1, 0, 0, 0, 0]])
    torch.testing.assert_close(mean(asked)[:, 2], 0.8 * asked[:, 0], rtol=0, atol=0.05)
    torch.testing.assert_close(mean(torch.zeros(1, 6))[:, 2], torch.zeros(1), rtol=0, atol=0.05)


def test_a_class_counts_whatever_else_is_told():
    mean, _, _ = fitted()
    asked = torch.zeros(2, 6)
    asked[0, 4] = asked[1, 5] = 1
    torch.testing.assert_close(mean(asked)[:, 1], torch.tensor([3.0, 0.0]), rtol=0, atol=0.1)


def test_a_linear_law_alone_has_no_products():
    _, known, numbers = fitted()
    linear = ToldMean(6, 3, quadratic=False)
    linear.fit(known, numbers)
    error = (linear(known) - numbers).std(0)
    product = (known[:, 0] * known[:, 2]).std()
    torch.testing.assert_close(error[0], product, rtol=0.05, atol=0)
    assert (error[1:] < 0.03 * numbers.std(0)[1:]).all()


def test_with_nothing_to_tell_it_is_the_mean():
    mean, numbers = ToldMean(0, 2), torch.randn(5, 2)
    mean.fit(torch.zeros(5, 0), numbers)
    torch.testing.assert_close(mean(torch.zeros(4, 0)), numbers.mean(0).expand(4, 2))
