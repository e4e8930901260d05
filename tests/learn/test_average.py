import pytest
import torch
from torch import nn

from pipeline.learn.average import WeightAverage

DECAY = 0.7


def walk(model, steps):
    """Random weights in each of `steps` steps, and all that were."""
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        model.train()
        model(torch.randn(5, 3, dtype=torch.float64))
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        yield seen


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def test_closed_form_forgets_the_start(model):
    average = WeightAverage(model, DECAY)
    for seen in walk(model, 6):
        average.update()
        t = len(seen)
        shares = [(1 - DECAY) * DECAY ** (t - i) / (1 - DECAY**t) for i in range(1, t + 1)]
        assert sum(shares) == pytest.approx(1)
        for name, tensor in average.tensors.items():
            expected = sum(share * weights[name] for share, weights in zip(shares, seen, strict=True))
            torch.testing.assert_close(tensor, expected)


def test_applied_within_the_block_only(model):
    average = WeightAverage(model, DECAY)
    for _ in walk(model, 3):
        average.update()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(KeyError), average.applied():
        inside = model.state_dict()
        assert all(torch.equal(inside[name], tensor) for name, tensor in average.tensors.items())
        assert not torch.equal(inside["0.weight"], before["0.weight"])
        raise KeyError
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_saved_average_goes_on(model):
    one = WeightAverage(model, DECAY)
    for _ in walk(model, 2):
        one.update()
    two = WeightAverage(model, DECAY)
    two.load_state_dict({"updates": one.updates, "tensors": {k: v.clone() for k, v in one.tensors.items()}})
    for _ in walk(model, 2):
        one.update()
        two.update()
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())
