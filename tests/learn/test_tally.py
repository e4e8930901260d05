import math

import pytest
import torch

from pipeline.errors import UserError
from pipeline.learn.parallel import Team
from pipeline.learn.tally import WINDOW, Tally

ALONE = Team(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("n", [1, WINDOW - 1, WINDOW, 2 * WINDOW + 3])
def test_means_are_over_samples(n):
    torch.manual_seed(0)
    values, counts = torch.rand(n, 2, dtype=torch.float64), torch.randint(1, 9, (n,))
    tally = Tally(1)
    for (a, b), count in zip(values, counts.tolist(), strict=True):
        tally.add({"a": a, "b": b}, count)
    means, samples = tally.close(ALONE)
    assert samples == counts.sum()
    expected = (values * counts[:, None]).sum(0) / counts.sum()
    assert [means["a"], means["b"]] == pytest.approx(expected.tolist(), rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("batch", [1, 5, WINDOW, WINDOW + 1, 50])
def test_a_loss_that_is_not_finite_is_found_within_a_window_and_named(bad, batch):
    tally = Tally(3)
    with pytest.raises(UserError) as caught:
        for number in range(1, 51):
            tally.add({"class": torch.tensor(0.25), "box": torch.tensor(bad if number >= batch else 1.0)}, 4)
            assert number < batch + WINDOW
        tally.close(ALONE)
    assert caught.value.where == f"epoch 3, batch {batch}"
    assert f"(class 0.25, box {bad})" in caught.value.what


def test_no_sample_at_all():
    with pytest.raises(UserError, match="no sample for one of the processes"):
        Tally(1).close(ALONE)
