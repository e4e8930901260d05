"""The reference loss and its head: closed forms, symmetries, and what each mask lets through."""

import math

import pytest
import torch
from pydantic import ValidationError

from pipeline.detect.association import Targets
from pipeline.detect.association_settings import AssociationSettings, PartSettings, ReferenceSettings
from pipeline.detect.boxes import METRICS
from pipeline.detect.reference_head import ReferenceHead
from pipeline.detect.reference_loss import ReferenceLoss
from pipeline.errors import UserError

PRIORS = {1: ((9.0,), (5.0,)), 2: ((9.0, 6.0), (5.0, 5.0)), 3: ((9.0, 6.0, 5.0), (5.0, 5.0, 7.0))}
REDUCTION = {1: (8,), 2: (8, 6), 3: (8, 6, 5)}
CELLS = {1: (4,), 2: (3, 4), 3: (2, 3, 2)}
AT_ONCE = AssociationSettings(startup=0)
CHOSEN = {
    "position": PartSettings(scale=3.0, slope=0.5, clamp=(-4, 4)),
    "size": PartSettings(scale=0.7, slope=0.6, clamp=(-0.2, 0.25)),
    "probability": PartSettings(scale=0.5, slope=0.2),
    "objectness": PartSettings(scale=2.5, slope=0.4),
    "classes": PartSettings(scale=1.5, slope=0.8),
    "parameters": PartSettings(scale=5.0, slope=0.9, clamp=(-0.2, 1.5)),
}


def head_of(ndim, count=2, **settings):
    settings = ReferenceSettings(**{"association": AT_ONCE, **settings})
    return ReferenceHead(PRIORS[ndim][:count], REDUCTION[ndim], 2, 3, settings)


def one(ndim, cell=0, **changes):
    """A target of class 1 in the middle of a cell on the diagonal, a little off."""
    centre = torch.tensor([(cell + 0.6) * r - 0.5 for r in REDUCTION[ndim]], dtype=torch.float64)
    size = torch.tensor([7.0, 8.0, 4.0][:ndim], dtype=torch.float64)
    whole = {
        "image": torch.zeros(1, dtype=torch.int64),
        "box": torch.stack((centre - size / 2, centre + size / 2))[None],
        "difficult": torch.zeros(1, dtype=torch.int64),
        "label": torch.ones(1, dtype=torch.int64),
        "values": torch.tensor([[0.2, 0.9, 0.4]], dtype=torch.float64),
    }
    return Targets(**(whole | changes))


def none(ndim):
    return Targets(*(getattr(one(ndim), name)[:0] for name in ("image", "box", "difficult", "label", "values")))


def crowd(ndim, images=3, each=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    count = images * each
    extent = torch.tensor([n * r for n, r in zip(CELLS[ndim], REDUCTION[ndim], strict=True)])
    centre = torch.rand(count, ndim, generator=draw, dtype=torch.float64) * extent - 0.5
    half = 1.5 + 4 * torch.rand(count, ndim, generator=draw, dtype=torch.float64)
    return Targets(
        torch.arange(count) // each,
        torch.stack((centre - half, centre + half), 1),
        torch.randint(0, 4, (count,), generator=draw),
        torch.randint(0, 2, (count,), generator=draw),
        torch.rand(count, 3, generator=draw, dtype=torch.float64),
    )


def output_of(head, cells, images=1, seed=0, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(images, head.channels, *cells, generator=draw, dtype=torch.float64)


def gradients(loss, output, targets, **more):
    """The gradient of every term by the raw numbers of its own part, the only ones that it may reach."""
    answer = {}
    for name, part in loss.head.slices.items():
        leaf = output.clone().requires_grad_()
        loss(leaf, targets, **more)[name].backward()
        split = leaf.grad.unflatten(1, (loss.head.boxes, loss.head.width)).movedim((1, 2), (-2, -1))
        answer[name] = split[..., part]
        assert answer[name].count_nonzero() == leaf.grad.count_nonzero(), "a term reaches only its own channels"
    return answer


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.7, 40.0])
def test_gradients_of_a_match_are_the_closed_forms_even_where_clamped(ndim, scale):
    settings = CHOSEN | {
        "parameter_weights": (2.0, 1.0, 0.5),
        "association": AT_ONCE.model_copy(update=dict.fromkeys(("classes", "parameters"), -1.0)),
    }
    head = head_of(ndim, 1, **settings)
    output, targets = output_of(head, (1,) * ndim, seed=ndim, scale=scale), one(ndim)
    found = gradients(ReferenceLoss(head), output, targets)
    raw = {name: values.flatten().tolist() for name, values in head.raw(output).items()}
    quality = min(float(METRICS["diou"](head.decode(output)["boxes"], targets.box[0])), 0.98)
    low, high = targets.box[0].tolist()
    goals = {
        "position": [0.6] * ndim,
        "size": [
            min(max(math.log((b - a) / p), -0.2), 0.25) for a, b, p in zip(low, high, PRIORS[ndim][0], strict=True)
        ],
        "probability": [0.98],
        "objectness": [(1 + quality) / 2],
        "classes": [0.02, 0.98],
        "parameters": [0.2, 0.9, 0.4],
    }
    for name, part in CHOSEN.items():
        weights = settings["parameter_weights"] if name == "parameters" else [1.0] * 3
        for x, goal, weight, gradient in zip(raw[name], goals[name], weights, found[name].flatten(), strict=False):
            o = min(max(part.slope * x, part.clamp[0]), part.clamp[1])
            steep = 1.0
            if name not in ("size", "parameters"):
                o = 1 / (1 + math.exp(-o))
                steep = o * (1 - o)
            expected = part.scale * weight * part.slope * steep * (o - goal)
            assert float(gradient) == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_gradients_of_classes_that_exclude_each_other():
    head = head_of(2, 1, class_softmax=True, classes=PartSettings(scale=1.5, slope=0.3))
    output = torch.zeros(1, head.channels, 1, 1, dtype=torch.float64)
    output[0, head.slices["classes"], 0, 0] = torch.tensor([2.0, -1.0], dtype=torch.float64)
    found = gradients(ReferenceLoss(head), output, one(2))["classes"].flatten()
    chance = 1 / (1 + math.exp(-3))
    torch.testing.assert_close(found, 1.5 * torch.tensor([chance, -chance], dtype=torch.float64))
    said = head.decode(output)["classes"].flatten()
    torch.testing.assert_close(said, torch.tensor([chance, 1 - chance], dtype=torch.float64))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_of_the_background_are_the_closed_forms(ndim):
    head = head_of(ndim, background=(0.15, 0.01), **CHOSEN)
    output = output_of(head, CELLS[ndim], images=2)
    found = gradients(ReferenceLoss(head), output, none(ndim))
    raw = head.raw(output)
    for name in ("probability", "objectness"):
        part = CHOSEN[name]
        o = (part.slope * raw[name]).clamp(*part.clamp).sigmoid()
        weight = torch.tensor([[0.15], [0.01]], dtype=torch.float64)
        torch.testing.assert_close(found[name], weight * part.scale * part.slope * o * (1 - o) * (o - 0.02) / 2)
    assert not any(found[name].any() for name in ("position", "size", "classes", "parameters"))


def test_a_box_that_fits_but_is_not_the_best_is_left_alone():
    head = head_of(1)
    output = torch.zeros(1, head.channels, 1, dtype=torch.float64)
    targets = one(1)
    states = ReferenceLoss(head).associate(output, targets).state.flatten().tolist()
    assert states == [2, 1]
    found = gradients(ReferenceLoss(head), output, targets)
    assert all(gradient[..., 0, :].any() and not gradient[..., 1, :].any() for gradient in found.values())


def test_the_ends_of_the_sizes_are_those_of_the_prior_distance():
    association = AT_ONCE.model_copy(update={"random_prior": 1.0, "prior_distance": "offset"})
    box = torch.tensor([[[-46.0], [54.0]]])
    targets = one(1, box=box)
    matched = {}
    for end in (0.5, 1.5):
        settings = ReferenceSettings(association=association, size=PartSettings(clamp=(-end, end)))
        head = ReferenceHead(((5.0,), (50.0,)), (8,), 2, 3, settings)
        state = ReferenceLoss(head).associate(torch.zeros(1, head.channels, 1), targets).state
        matched[end] = state.flatten().tolist().index(2)
    # beyond the end both priors are equally far, and the first is taken
    assert matched == {0.5: 0, 1.5: 1}


def learned(settings, targets, **more):
    """The parts that a single match teaches."""
    head = head_of(2, 1, **settings)
    output = output_of(head, (1, 1), seed=2, scale=0.2)
    found = gradients(ReferenceLoss(head), output, targets, **more)
    return {name for name, gradient in found.items() if gradient.any()}


EVERY = set(CHOSEN)


@pytest.mark.parametrize(
    ("level", "missing"),
    [
        (0, set()),
        (1, set()),
        (2, {"classes", "parameters"}),
        (3, {"classes", "parameters", "position", "size"}),
    ],
)
def test_difficult_targets_teach_less(level, missing):
    targets = one(2, difficult=torch.tensor([level]))
    always = AT_ONCE.model_copy(update={"difficult": -1.0, "difficult_objectness": 0.0})
    assert learned({"association": always}, targets) == EVERY - missing
    # a refused one leaves the box to the background
    never = AT_ONCE.model_copy(update={"difficult": 1.0, "good": 1.0})
    assert learned({"association": never}, targets) == (EVERY if level == 0 else {"probability", "objectness"})


@pytest.mark.parametrize("name", ["probability", "objectness", "classes", "parameters"])
def test_a_part_below_its_limit_is_not_learned(name):
    assert learned({"association": AT_ONCE.model_copy(update={name: 0.999})}, one(2)) == EVERY - {name}


def test_unknown_values_of_what_is_not_learned_do_no_harm():
    targets = one(2, difficult=torch.tensor([2]), label=torch.tensor([-1]), values=torch.full((1, 3), torch.nan))
    always = AT_ONCE.model_copy(update={"difficult": -1.0, "difficult_objectness": 0.0})
    for softmax in (False, True):
        assert learned({"association": always, "class_softmax": softmax}, targets) == EVERY - {"classes", "parameters"}


@pytest.mark.parametrize("name", CHOSEN)
def test_parts_that_learn_nothing_or_a_neutral_value(name):
    assert learned({name: CHOSEN[name].model_copy(update={"fit": -1})}, one(2)) == EVERY - {name}
    always = AT_ONCE.model_copy(update={"difficult": -1.0, "difficult_objectness": 0.0})
    hard = one(2, difficult=torch.tensor([3]))
    pulled = {name: CHOSEN[name].model_copy(update={"fit": 0})}
    assert learned({"association": always, **pulled}, hard) == {"probability", "objectness", name}
    neutral = head_of(2, **{name: CHOSEN[name].model_copy(update={"fit": 0})})
    output = torch.zeros(1, neutral.channels, 2, 2, dtype=torch.float64)
    if name == "parameters":
        output.unflatten(1, (2, -1))[:, :, neutral.slices[name]] = 0.5 / 0.9
    for targets in (hard, one(2), none(2)):
        assert float(ReferenceLoss(neutral)(output, targets)[name]) == pytest.approx(0, abs=1e-12)
    assert float(ReferenceLoss(neutral)(output + 1, one(2))[name]) > 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_batch_is_the_mean_of_its_images(ndim):
    head = head_of(ndim)
    loss, targets = ReferenceLoss(head), crowd(ndim)
    output = output_of(head, CELLS[ndim], images=3)
    together = loss(output, targets)
    alone = []
    for i in range(3):
        own = targets.image == i
        some = Targets(
            targets.image[own] * 0, *(getattr(targets, x)[own] for x in ("box", "difficult", "label", "values"))
        )
        alone.append(loss(output[i : i + 1], some))
    for name, term in together.items():
        torch.testing.assert_close(term, sum(part[name] for part in alone) / 3)
        assert float(term) > 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_flipped_image_has_the_same_loss(ndim):
    head = head_of(ndim)
    loss, targets = ReferenceLoss(head), crowd(ndim)
    output = output_of(head, CELLS[ndim], images=3)
    straight = loss(output, targets)
    for axis in range(ndim):
        mirrored = output.flip(2 + axis)
        mirrored.unflatten(1, (head.boxes, head.width))[:, :, axis] *= -1
        pixels = CELLS[ndim][axis] * REDUCTION[ndim][axis]
        box = targets.box.clone()
        box[:, :, axis] = pixels - 1 - targets.box.flip(1)[:, :, axis]
        turned = loss(mirrored, Targets(targets.image, box, targets.difficult, targets.label, targets.values))
        for name, term in straight.items():
            torch.testing.assert_close(turned[name], term)
        unmirrored = loss(output, Targets(targets.image, box, targets.difficult, targets.label, targets.values))
        assert not torch.isclose(unmirrored["position"], straight["position"])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_network_of_zeros_says_the_priors_in_the_middle_of_the_cells(ndim):
    head = head_of(ndim)
    output = torch.zeros(2, head.channels, *CELLS[ndim])
    said = head.decode(output)
    assert head.channels == 2 * (2 * ndim + 2 + 2 + 3)
    assert said["boxes"].shape == (2, *CELLS[ndim], 2, 2, ndim)
    assert said["probability"].shape == said["objectness"].shape == (2, *CELLS[ndim], 2)
    last = said["boxes"][(0, *(n - 1 for n in CELLS[ndim]))]
    # the middle of the last cell, in pixels whose first has its centre at 0
    middle = torch.tensor([(n - 0.5) * r - 0.5 for n, r in zip(CELLS[ndim], REDUCTION[ndim], strict=True)])
    torch.testing.assert_close(last.mean(1), middle.expand(2, -1))
    torch.testing.assert_close(last[:, 1] - last[:, 0], torch.tensor(PRIORS[ndim]))


def test_priors_are_at_least_one_pixel():
    head = ReferenceHead(((0.2, 3.0),), (8, 8))
    low, high = head.decode(torch.zeros(1, head.channels, 1, 1))["boxes"].reshape(2, 2)
    torch.testing.assert_close(high - low, torch.tensor([1.0, 3.0]))


def test_the_order_of_numbers_in_memory_and_their_precision_change_nothing():
    head = head_of(2)
    output = output_of(head, CELLS[2], images=3).to(torch.bfloat16)
    plain = ReferenceLoss(head)(output.float(), crowd(2))
    for other in (output, output.contiguous(memory_format=torch.channels_last)):
        for name, term in ReferenceLoss(head)(other, crowd(2)).items():
            assert term.dtype == torch.float32
            torch.testing.assert_close(term, plain[name])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_descent_finds_the_targets(ndim):
    head = head_of(ndim)
    loss, targets = ReferenceLoss(head), crowd(ndim, images=1, each=3)
    targets = Targets(targets.image, targets.box, targets.difficult * 0, targets.label, targets.values)
    output = output_of(head, CELLS[ndim]).requires_grad_()
    steps = torch.optim.Adam([output], lr=0.05)
    for _ in range(300):
        steps.zero_grad()
        sum(loss(output, targets).values()).backward()
        steps.step()
    found, said = loss.associate(output, targets), head.decode(output)
    matched = found.state == 2
    index = found.target[matched]
    assert sorted(index.tolist()) == [0, 1, 2]
    torch.testing.assert_close(said["boxes"][matched], targets.box[index], atol=0.3, rtol=0)
    assert said["objectness"][matched].min() > 0.9 > 0.1 > said["objectness"][found.state == 0].max()
    torch.testing.assert_close(said["parameters"][matched], targets.values[index], atol=0.02, rtol=0)
    assert torch.equal(said["classes"][matched].argmax(1), targets.label[index])


def test_the_random_start_follows_the_images_seen():
    head = head_of(2, association=AssociationSettings(startup=100))
    output, targets, loss = output_of(head, CELLS[2], images=3), crowd(2), ReferenceLoss(head)

    def place(seed, seen):
        return loss.associate(output, targets, seen, torch.Generator().manual_seed(seed)).target

    assert torch.equal(place(1, 99), place(1, 0))
    assert not torch.equal(place(1, 99), place(2, 99))
    assert torch.equal(place(1, 100), place(2, 100))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"background": (0.1, 0.1, 0.1)}, "3 weights are given for 2 priors"),
        ({"parameter_weights": (1.0,)}, "1 weights are given for 3 parameters"),
    ],
)
def test_weights_that_do_not_fit(settings, what):
    with pytest.raises(UserError, match=what):
        head_of(2, **settings)


def test_settings_and_outputs_that_make_no_sense():
    with pytest.raises(ValidationError, match="at least 0"):
        ReferenceSettings(background=(-0.1,))
    with pytest.raises(ValidationError, match="smaller"):
        PartSettings(clamp=(1.0, 1.0))
    with pytest.raises(ValueError, match="channels of 2 axes"):
        head_of(2).decode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="reduction has 1"):
        ReferenceHead(PRIORS[2], (8,))
