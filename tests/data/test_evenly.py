import numpy as np
import pytest

from pipeline.data.evenly import evenly


@pytest.mark.parametrize(("total", "most"), [(10, 3), (7, 7), (5, 20), (1000, 12), (1, 4), (9, 2)])
def test_the_chosen_are_different_rising_and_spread_from_end_to_end(total, most):
    chosen = evenly(total, most)
    assert len(chosen) == min(total, most)
    steps = np.diff(chosen)
    assert (steps > 0).all() and np.ptp(steps) <= 1 if len(steps) else True
    assert (chosen[0], chosen[-1]) == (0, total - 1)


def test_of_none_there_are_none():
    assert evenly(0, 5).shape == (0,)
