import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.generate.conditions import Conditions
from pipeline.generate.model import Generator
from pipeline.generate.scale import Scale


class Noise:
    """A method that makes nothing but noise about 0, with a standard deviation of 100."""

    def sample(self, module, condition, generator, steps=None, guidance=1.0):
        return 100 * torch.randn(len(condition), 1, 50, generator=generator)


def made(**description):
    description = {"sample_shape": [1, 50], "limits": [-1e3, 1e3], **description}
    scale = Scale(None, 0.0, 1.0, 1.0)
    generator = Generator("noise", Noise(), torch.nn.Linear(1, 1), scale, Conditions(), pd.DataFrame(), description)
    return generator.sample(pd.DataFrame(index=range(40)), seed=1)


def test_pictures_of_8_bits_are_made_of_8_bits():
    plain, picture = made(), made(bytes=True)
    assert plain.min() < 0 and plain.max() > 255
    np.testing.assert_array_equal(picture, np.rint(plain).clip(0, 255))
    assert picture.dtype == np.float32


@pytest.mark.parametrize("description", [{}, {"bytes": False}])
def test_other_stamps_are_not_rounded_nor_cut_at_zero(description):
    np.testing.assert_array_equal(made(**description), made())
    assert (made(**description) % 1 != 0).any()
