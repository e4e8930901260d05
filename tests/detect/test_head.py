"""The channels of the detector: their number, their units, and what turning a frame does to them."""

import json

import numpy as np
import pytest
import torch

from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.head import NARROWEST, WIDEST, Layout, channels, start
from pipeline.detect.objects import Objects
from pipeline.detect.symmetry import symmetries
from pipeline.nn.network import build

VALUES = {
    1: ("ln_flux",),
    2: ("ln_flux", COSINE, SINE),
    3: ("ln_flux", COSINE, SINE, "velocity", ALONG_X, ALONG_Y),
}
CELLS = {1: (7,), 2: (4, 6), 3: (3, 4, 5)}
REDUCTION = {1: (4,), 2: (2, 2), 3: (1, 2, 2)}
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def objects(ndim, count=50, seed=0):
    random = np.random.default_rng(seed)
    values = random.normal(1.0, 2.0, (count, len(VALUES[ndim])))
    return Objects(
        centre=random.uniform(0, 8, (count, ndim)),
        size=np.exp(random.normal(1.0, 0.5, (count, ndim))),
        values=values,
        label=random.integers(0, 2, count),
        snr=random.uniform(2, 9, count),
        row=np.arange(count),
    )


def layout(ndim, classes=("a", "b")):
    return Layout.of(objects(ndim), VALUES[ndim], classes, REDUCTION[ndim])


def grid(ndim):
    along = [torch.arange(side) for side in CELLS[ndim]]
    return torch.stack(torch.meshgrid(*along, indexing="ij"), -1)


@ndims
@pytest.mark.parametrize("classes", [(), ("a",), ("a", "b", "c")])
def test_the_parts_take_up_all_channels_once(ndim, classes):
    head = layout(ndim, classes)
    assert head.channels == channels(ndim, len(VALUES[ndim]), len(classes))
    raw = torch.arange(float(head.channels))
    parts = head.split(raw)
    assert torch.equal(torch.cat(list(parts.values())), raw)
    assert [len(parts[name]) for name in ("objectness", "position", "size")] == [1, ndim, ndim]
    assert len(parts["width"]) == ndim + len(VALUES[ndim])


@ndims
def test_what_is_learnt_decodes_to_the_objects(ndim):
    head, true = layout(ndim), objects(ndim, seed=1)
    centre, size, values = (torch.from_numpy(part) for part in (true.centre, true.size, true.values))
    step = torch.tensor(head.reduction)
    cells = torch.floor((centre + 0.5) / step)
    learnt = head.targets(size, values)
    width = torch.zeros(len(true), ndim + values.shape[1])
    raw = torch.cat([torch.zeros(len(true), 1), (centre + 0.5) / step - cells - 0.5, *learnt, width, width[:, :2]], 1)
    found = head.decode(raw, cells.long())
    torch.testing.assert_close(found.centre, centre.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.size, size.float())
    torch.testing.assert_close(found.values, values.float(), atol=1e-5, rtol=1e-5)


@ndims
def test_the_units_suit_the_objects(ndim):
    head, true = layout(ndim), objects(ndim)
    size, values = head.targets(torch.from_numpy(true.size), torch.from_numpy(true.values))
    plain = [at for at, name in enumerate(head.values) if name not in (COSINE, SINE, ALONG_X, ALONG_Y)]
    np.testing.assert_allclose(values[:, plain].mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(values[:, plain].std(0, correction=0), 1)
    assert abs(float(size.mean())) < 1e-9
    turned = [at for at, name in enumerate(head.values) if name in (COSINE, SINE, ALONG_X, ALONG_Y)]
    assert all(head.spread[ndim + one] == head.spread[ndim + two] for one, two in zip(*[iter(turned)] * 2, strict=True))
    assert all(head.mean[ndim + at] == 0 for at in turned)


@ndims
def test_objects_that_are_all_alike_have_a_unit_too(ndim):
    same = objects(ndim).take(np.zeros(9, int))
    head = Layout.of(same, VALUES[ndim], (), REDUCTION[ndim])
    assert min(head.spread) > 0
    assert all(torch.isfinite(part).all() for part in head.targets(torch.tensor(same.size), torch.tensor(same.values)))


@ndims
def test_turned_channels_say_the_turned_objects(ndim):
    head, cells = layout(ndim), grid(ndim)
    raw = torch.randn(head.channels, *CELLS[ndim], generator=torch.Generator().manual_seed(3))
    shape = [side * step for side, step in zip(CELLS[ndim], head.reduction, strict=True)]
    straight = head.decode(raw.movedim(0, -1), cells)
    for turn in symmetries(ndim):
        turned = head.turn(raw, turn).movedim(0, -1)
        sides = turned.shape[:-1]
        along = torch.stack(torch.meshgrid(*[torch.arange(side) for side in sides], indexing="ij"), -1)
        found = head.decode(turned, along)

        def moved(part, turn=turn):
            return turn.image(part.movedim(-1, 0)).movedim(0, -1)

        torch.testing.assert_close(found.logit, turn.image(straight.logit))
        torch.testing.assert_close(found.centre, moved(turn.positions(straight.centre, shape)), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(found.size, moved(turn.sizes(straight.size)))
        torch.testing.assert_close(found.values, moved(turn.values(straight.values, head.values)))
        spreads = turn.spreads(straight.width[..., ndim:], head.values)
        width = torch.cat([turn.sizes(straight.width[..., :ndim]), spreads], -1)
        torch.testing.assert_close(found.width, moved(width))
        torch.testing.assert_close(found.classes, moved(straight.classes))


@ndims
def test_widths_stay_in_bounds(ndim):
    head = layout(ndim)
    units = np.concatenate([head.reduction, head.spread[ndim:]])
    for value, bound in ((-1e4, NARROWEST), (1e4, WIDEST)):
        found = head.decode(torch.full((1, head.channels), value), torch.zeros(1, ndim))
        np.testing.assert_allclose(found.width[0], np.exp(bound) * units, rtol=1e-6)


@ndims
def test_a_layout_comes_back_from_json(ndim):
    assert Layout.from_dict(json.loads(json.dumps(layout(ndim).to_dict()))) == layout(ndim)


@ndims
def test_every_cell_starts_at_the_prior(ndim):
    network = build("C-4.3 C-9.1_linear_none", ndim, (3, *[8] * ndim))
    start(network, 0.02)
    with torch.no_grad():
        said = network(torch.zeros(1, 3, *[8] * ndim))
    assert torch.sigmoid(said[:, 0]).mean() == pytest.approx(0.02, rel=0.5)
    last = [module for module in network.modules() if isinstance(module, torch.nn.modules.conv._ConvNd)][-1]
    assert torch.sigmoid(last.bias[0]).item() == pytest.approx(0.02)
    assert not last.bias[1:].any()
