import torch

from pipeline.generate.noise import SampleNoise, normal_like, normal_rows


def seeded():
    return torch.Generator().manual_seed(7)


def test_the_noise_of_a_sample_is_its_own():
    together = SampleNoise(5, seeded())
    first, second = together.normal((2, 3)), together.normal((4,))
    generator = seeded()
    for start, n in ((0, 1), (1, 3), (4, 1)):
        part = SampleNoise(n, generator)
        rows = slice(start, start + n)
        assert torch.equal(part.normal((2, 3)), first[rows])
        assert torch.equal(part.normal((4,)), second[rows])


def test_it_is_normal_and_no_two_samples_are_alike():
    noise = SampleNoise(300, seeded()).normal((100,))
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    correlation = torch.corrcoef(noise) - torch.eye(300)
    assert correlation.abs().max() < 0.6


def test_training_noise_follows_its_generator_and_its_sample():
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert torch.equal(normal_like(x, seeded()), normal_like(x, seeded()))
    assert normal_like(x, None).dtype == torch.float64


def test_a_row_is_the_same_whatever_is_drawn_with_it():
    whole, generator = normal_rows(7, 5, seeded()), seeded()
    assert whole.shape == (7, 5)
    assert torch.equal(whole, torch.cat([normal_rows(count, 5, generator) for count in (1, 4, 2)]))
