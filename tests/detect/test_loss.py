"""The terms of the loss by their closed forms, one cell at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.detect.directions import COSINE, SINE
from pipeline.detect.head import NARROWEST, WIDEST, Layout
from pipeline.detect.loss import Targets, detection_loss
from pipeline.detect.settings import LossSettings

CELLS = {1: (9,), 2: (4, 5), 3: (3, 2, 4)}
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def case(ndim, values=("ln_flux", COSINE, SINE), classes=("a", "b", "c"), seed=0):
    """A layout, random outputs for two frames, and targets of which some cells have none and one has no class."""
    random = torch.Generator().manual_seed(seed)
    p = len(values)
    layout = Layout(values, classes, (2,) * ndim, (0.3,) * (ndim + p), (0.5,) * (ndim + p))
    raw = torch.randn(2, layout.channels, *CELLS[ndim], generator=random, dtype=torch.float64) * 2
    targets = Targets(
        owner=torch.randint(-1, 4, (2, *CELLS[ndim]), generator=random),
        centre=torch.rand(4, ndim, generator=random) * 6,
        size=torch.rand(4, ndim, generator=random) + 1,
        values=torch.randn(4, p, generator=random),
        label=torch.tensor([0, 2, -1, 1]) if classes else torch.full((4,), -1),
    )
    return raw, targets, layout


def literal(raw, targets, layout, settings):
    """The same sums, cell by cell."""
    n, p = layout.ndim, len(layout.values)
    sums = dict.fromkeys(("objectness", "position", "size", "values", "classes"), 0.0)
    positive = int((targets.owner >= 0).sum())
    for place in np.ndindex(*targets.owner.shape):
        said = raw[(place[0], slice(None), *place[1:])].double().numpy()
        at = int(targets.owner[place])
        chance = 1 / (1 + np.exp(-said[0]))
        right = chance if at >= 0 else 1 - chance
        sums["objectness"] -= (1 - right) ** settings.focal * np.log(right)
        if at < 0:
            continue
        cell = np.array(place[1:])
        step = np.array(layout.reduction)
        position = said[1 : 1 + n] - ((targets.centre[at].numpy() + 0.5) / step - cell - 0.5)
        size = (np.log(targets.size[at].numpy()) - layout.mean[:n]) / layout.spread[:n]
        value = (targets.values[at].numpy() - layout.mean[n:]) / layout.spread[n:]
        sums["size"] += np.abs(said[1 + n : 1 + 2 * n] - size).sum()
        error = np.concatenate([position, said[1 + 2 * n : 1 + 2 * n + p] - value])
        log_width = np.clip(said[1 + 2 * n + p :][: n + p], NARROWEST, WIDEST)
        scaled = error / np.exp(log_width)
        cost = (np.abs(scaled) if settings.likelihood == "laplace" else scaled**2 / 2) + log_width
        mean = np.array([name in settings.means for name in layout.values])
        sums["position"] += cost[:n].sum()
        sums["values"] += cost[n:].sum()
        if mean.any():
            sums["squares"] = sums.get("squares", 0.0) + (error[n:][mean] ** 2).sum()
        if targets.label[at] >= 0:
            logits = said[1 + 3 * n + 2 * p :]
            sums["classes"] -= logits[targets.label[at]] - np.log(np.exp(logits).sum())
    return {name: getattr(settings, name) * value / positive for name, value in sums.items()}


@ndims
@pytest.mark.parametrize("likelihood", ["laplace", "normal"])
@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
def test_the_sums_are_the_literal_ones(ndim, likelihood, focal):
    raw, targets, layout = case(ndim)
    settings = LossSettings(likelihood=likelihood, focal=focal)
    found = detection_loss(raw, targets, layout, settings)
    expected = literal(raw, targets, layout, settings)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert float(value) == pytest.approx(expected[name], rel=1e-4), name


def test_a_faint_focus_is_nearly_the_cross_entropy():
    raw, targets, layout = case(2)
    plain, faint = (detection_loss(raw, targets, layout, LossSettings(focal=focal)) for focal in (0.0, 1e-4))
    assert float(faint["objectness"]) == pytest.approx(float(plain["objectness"]), rel=1e-3)


@ndims
def test_the_best_width_of_a_laplace_distribution_is_the_error(ndim):
    raw, targets, layout = case(ndim, values=())
    owned = (targets.owner >= 0).nonzero()[0]
    targets.owner[:] = -1
    targets.owner[tuple(owned)] = 1
    cell = (owned[0], slice(1, 1 + ndim), *owned[1:])
    target = (targets.centre[1] + 0.5) / 2 - owned[1:] - 0.5
    raw[cell] = (target + 0.3).double()

    def cost(log_width):
        changed = raw.clone()
        changed[(owned[0], slice(1 + 2 * ndim, 1 + 3 * ndim), *owned[1:])] = log_width
        return float(detection_loss(changed, targets, layout, LossSettings())["position"])

    best = cost(np.log(0.3))
    assert best < min(cost(np.log(0.27)), cost(np.log(0.33)))
    assert best == pytest.approx(0.25 * ndim * (1 + np.log(0.3)), rel=1e-4)


@ndims
def test_a_batch_repeated_costs_the_same(ndim):
    raw, targets, layout = case(ndim)
    once = detection_loss(raw, targets, layout, LossSettings())
    owner = torch.cat([targets.owner] * 3)
    thrice = detection_loss(torch.cat([raw] * 3), replace(targets, owner=owner), layout, LossSettings())
    for name in once:
        assert float(thrice[name]) == pytest.approx(float(once[name]), rel=1e-5)


@ndims
def test_the_order_of_the_objects_does_not_matter(ndim):
    raw, targets, layout = case(ndim)
    order = torch.tensor([2, 0, 3, 1])
    place = torch.argsort(order)
    other = Targets(
        owner=torch.where(targets.owner >= 0, place[targets.owner.clamp(min=0)], -1),
        **{name: getattr(targets, name)[order] for name in ("centre", "size", "values", "label")},
    )
    one, two = (detection_loss(raw, those, layout, LossSettings()) for those in (targets, other))
    for name in one:
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-6)


@ndims
@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_outputs_have_finite_gradients(ndim, focal, scale):
    raw, targets, layout = case(ndim)
    raw = (raw.sign() * scale).float().requires_grad_()
    sum(detection_loss(raw, targets, layout, LossSettings(focal=focal)).values()).backward()
    assert torch.isfinite(raw.grad).all()


@ndims
def test_a_frame_without_objects_only_costs_objectness(ndim):
    raw, targets, layout = case(ndim)
    none = replace(targets, owner=torch.full_like(targets.owner, -1))
    found = detection_loss(raw, none, layout, LossSettings())
    assert float(found.pop("objectness")) > 0
    assert all(float(value) == 0 for value in found.values())


@ndims
def test_a_detector_without_values_and_classes_has_no_such_terms(ndim):
    raw, targets, layout = case(ndim, values=(), classes=())
    assert detection_loss(raw, targets, layout, LossSettings()).keys() == {"objectness", "position", "size"}


@ndims
def test_cells_of_ignored_objects_teach_nothing(ndim):
    raw, targets, layout = case(ndim)
    settings = LossSettings()
    ignored = torch.tensor([False, True, False, True])
    there = (targets.owner == 1) | (targets.owner == 3)
    told = replace(targets, ignored=ignored)
    before = detection_loss(raw, told, layout, settings)
    changed = raw.clone().movedim(1, -1)
    changed[there] += 5.0
    after = detection_loss(changed.movedim(-1, 1), told, layout, settings)
    assert there.any()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)
    # Nothing ignored is as before, and background is not the same as ignored.
    torch.testing.assert_close(
        detection_loss(raw, replace(targets, ignored=torch.zeros(4, dtype=torch.bool)), layout, settings),
        detection_loss(raw, targets, layout, settings),
    )
    background = replace(targets, owner=targets.owner.masked_fill(there, -1))
    assert detection_loss(raw, background, layout, settings)["objectness"] > before["objectness"]
    for name in ("position", "size", "values"):
        torch.testing.assert_close(detection_loss(raw, background, layout, settings)[name], before[name])
