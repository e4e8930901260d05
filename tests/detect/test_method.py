"""Both methods learn the same toy sky, and the settings of the method "association" are checked and kept."""

import copy
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from pipeline.config import RunSettings
from pipeline.data.background import Background
from pipeline.detect.box_layout import BoxLayout
from pipeline.detect.box_settings import BoxSettings
from pipeline.detect.calibrate import Truth, fit_calibrator
from pipeline.detect.crops import Crops, LabelledField
from pipeline.detect.method import read_layout
from pipeline.detect.model import Model, load
from pipeline.detect.objects import Objects
from pipeline.detect.predict import Search, detect
from pipeline.detect.reference_loss import ReferenceLoss
from pipeline.detect.settings import DetectorSettings, ObjectSettings
from pipeline.detect.targets import assign
from pipeline.detect.task_settings import DetectSettings
from pipeline.detect.train import Detector, Names, batch_loss, new_detector, train_detector
from pipeline.errors import UserError
from pipeline.learn.settings import TrainSettings
from pipeline.nn.cost import describe, total
from pipeline.nn.shapes import trace

WIDTH = 2.0
SIDES = {1: 512, 2: 80, 3: 24}
NAMES = Names(values=("ln_peak",), classes=("faint", "bright"))
METHODS = ("cells", "association")


@cache
def toy(ndim, seed=1):
    """Gaussian sources on noise, not nearer to each other than they are wide."""
    draw = np.random.default_rng(seed)
    side = SIDES[ndim]
    ticks = 10.0 * np.arange(1, side // 10)
    grid = np.stack(np.meshgrid(*[ticks] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    centre = draw.permutation(grid)[: max(len(grid) // 2, 4)]
    centre = centre + draw.uniform(-2, 2, centre.shape)
    peak = np.exp(draw.uniform(np.log(10), np.log(100), len(centre)))
    pixels = draw.normal(size=(side,) * ndim).astype(np.float32)
    axes = np.meshgrid(*[np.arange(side)] * ndim, indexing="ij")
    for place, height in zip(centre, peak, strict=True):
        square = sum((axis - at) ** 2 for axis, at in zip(axes, place, strict=True))
        pixels += (height * np.exp(-square / 2 / WIDTH**2)).astype(np.float32)
    objects = Objects(
        centre=centre,
        size=np.full_like(centre, 8.0),
        values=np.log(peak)[:, None],
        label=(peak > 30).astype(int),
        snr=peak,
        row=np.arange(len(peak)),
    )
    return LabelledField(pixels, objects, [])


def settings(method, ndim, **association):
    boxes = BoxSettings(
        priors=((8.0,) * ndim,) * 2,
        background=(0.15,),
        match={"startup": 16, "random": 0.0},
        **association,
    )
    return DetectorSettings(
        method=method,
        network="C-16.4_s2_p1_relu C-24.4_s2_p1_relu C-24.3_relu",
        association=boxes,
        crop={1: 128, 2: 48, 3: 16}[ndim],
        steps=70,
        held_out_steps=2,
        train=TrainSettings(
            epochs=2, batch=4, learning_rate=1e-2, warmup=0.3, schedule="cosine", clip=2.0, precision="fp32"
        ),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector of a method for a number of axes, trained once."""

    @cache
    def train(method, ndim):
        field = toy(ndim)
        folder = tmp_path_factory.mktemp(f"{method}{ndim}")
        return train_detector([field], [field], NAMES, settings(method, ndim), folder, seed=3, device="cpu")

    return train


def searched(detector, field, **search):
    """The detections in a field, whose noise is known to be 1."""
    mesh = (1,) * field.snr.ndim
    edges = tuple(np.array([0, side]) for side in field.snr.shape)
    noise = Background(field.snr.shape, edges, np.zeros(mesh), np.ones(mesh))
    return detect(
        detector.network,
        detector.layout,
        lambda section: field.snr[tuple(section)].copy(),
        noise,
        field.conditions,
        NAMES.conditions,
        Search(radius=3.0, **search),
    )


def nearest(found, objects):
    """The distance of each object to the detection that is nearest, and which that is."""
    away = np.linalg.norm(found.centre[:, None] - objects.centre, axis=-1)
    return away.min(0), away.argmin(0)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_detector_finds_what_it_has_learnt(trained, method, ndim):
    objects = toy(ndim).objects
    found = searched(trained(method, ndim), toy(ndim), least=0.0)
    away, which = nearest(found, objects)
    assert len(found) == pytest.approx(len(objects), rel=0.1)
    assert (away < 1.5).mean() > 0.9
    assert np.median(away) < 0.6
    assert np.corrcoef(found.values[which, 0], objects.values[:, 0])[0, 1] > 0.7
    assert (np.abs(found.size[which] - 8) < 1).all()
    assert (found.classes[which].argmax(1) == objects.label).mean() > 0.65


def test_boxes_are_learnt_and_found_in_cubes(tmp_path):
    field = toy(3)
    short = settings("association", 3)
    short = short.model_copy(update={"steps": 2, "train": short.train.model_copy(update={"epochs": 1, "warmup": 0.0})})
    found = searched(train_detector([field], [field], NAMES, short, tmp_path, seed=3, device="cpu"), field, side=16)
    assert found.centre.shape[1] == 3
    assert found.width.shape[1] == 4


@pytest.mark.parametrize("method", METHODS)
def test_a_model_file_detects_the_same(trained, method, tmp_path):
    detector, field = trained(method, 2), toy(2)
    before = searched(detector, field)
    away, which = nearest(before, field.objects)
    truth = Truth(np.zeros(len(before), bool), np.full_like(before.centre, np.nan), np.full_like(before.values, np.nan))
    truth.matched[which] = True
    truth.centre[which], truth.values[which] = field.objects.centre, field.objects.values
    calibrator = fit_calibrator([before], [truth], seed=1)
    Model(detector, calibrator, 0.5, 3.0, False, {}).save(tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.detector.layout == detector.layout
    after = searched(again.detector, field)
    for name, values in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), values, err_msg=name)
    first, second = calibrator.apply(before), again.calibrator.apply(after)
    np.testing.assert_allclose(second.probability, first.probability, atol=1e-5)
    assert np.isfinite(second.errors).all()


def layout(ndim=2, **association):
    objects = toy(ndim).objects
    chosen = settings("association", ndim, **association).association
    return BoxLayout.of(objects, NAMES.values, NAMES.classes, (4, 8, 2)[:ndim], chosen)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_candidates_are_the_boxes_that_the_head_decodes(ndim):
    told = layout(ndim)
    raw = torch.randn(told.channels, *(5, 3, 4)[:ndim], generator=torch.Generator().manual_seed(1))
    found = told.candidates(raw, 0.2)
    every = {name: part[0].movedim(ndim, 0).float() for name, part in told.head.decode(raw[None]).items()}
    chosen = every["objectness"].logit() >= 0.2
    low, high = every["boxes"][chosen].unbind(1)
    assert 0 < chosen.sum() < chosen.numel()
    torch.testing.assert_close(found.logit, every["objectness"][chosen].logit())
    torch.testing.assert_close(found.centre, (low + high) / 2)
    torch.testing.assert_close(found.size, high - low)
    torch.testing.assert_close((found.values - told.low[0]) / (told.high[0] - told.low[0]), every["parameters"][chosen])
    said = every["classes"][chosen]
    torch.testing.assert_close(found.classes.softmax(-1), said / said.sum(-1, keepdim=True))


def batch_of(field, settings, index=0):
    crops = Crops([field], settings.crop, 4, settings.steps, 5, NAMES.values, NAMES.conditions)
    return next(iter(crops.epoch(index)))


def test_targets_lie_from_0_to_1_and_faint_ones_are_difficult():
    told, field = layout(difficult_snr=20.0, difficult_level=2), toy(2)
    *_, image, centre, size, values, label, snr, _ = batch_of(field, settings("association", 2))
    targets = told.targets(image, centre, size, values, label, snr)
    assert ((targets.values >= 0) & (targets.values <= 1)).all()
    assert targets.difficult.tolist() == [2 if at < 20 else 0 for at in snr.tolist()]
    assert set(targets.difficult.tolist()) == {0, 2}
    torch.testing.assert_close(targets.box.mean(1), centre)
    sides = layout(sides=(9.0, 10.0)).targets(image, centre, size, values, label, snr).box
    assert torch.allclose(sides[:, 1] - sides[:, 0], torch.tensor(9.0), atol=1e-4)


def test_difficult_objects_do_not_teach_an_ignorant_network():
    told, field = layout(difficult_snr=1e6), toy(2)
    *_, image, centre, size, values, label, snr, _ = batch_of(field, settings("association", 2))
    raw = torch.full((4, told.channels, 12, 6), -20.0)
    state = ReferenceLoss(told.certain.head).associate(raw, told.targets(image, centre, size, values, label, snr)).state
    assert (state != 2).all()
    plain = layout().targets(image, centre, size, values, label, snr)
    assert (ReferenceLoss(told.certain.head).associate(raw, plain).state == 2).any()


def test_cells_answer_within_the_margin_or_the_share_of_the_box(monkeypatch):
    told = settings("cells", 3)
    told = told.model_copy(
        update={"objects": ObjectSettings(margin=(4, 1, 1), share=(0.2, 0, 0)), "crop": (24, 16, 16)}
    )
    batch = batch_of(toy(3), told)
    seen = {}
    monkeypatch.setattr("pipeline.detect.method.assign", lambda *given: seen.update(margin=given[-1]) or assign(*given))
    detector = new_detector([toy(3).objects], 3, NAMES, told, 1)
    batch_loss(detector.network, batch, detector.layout, told)
    size = batch[4]
    long = 10 * size
    torch.testing.assert_close(seen["margin"][:, 0], (0.2 * size[:, 0]).clamp(min=4))
    assert (seen["margin"][:, 1:] == 1).all()
    batch_loss(detector.network, (*batch[:4], long, *batch[5:]), detector.layout, told)
    torch.testing.assert_close(seen["margin"][:, 0], (0.2 * long[:, 0]).clamp(min=4))
    assert (seen["margin"][:, 0] > 4).any()
    wrong = told.model_copy(update={"objects": ObjectSettings(margin=(4, 1))})
    with pytest.raises(UserError, match="objects.margin: has 2 numbers where frames have 3 axes"):
        batch_loss(detector.network, batch, detector.layout, wrong)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("crop", 8, "from 16 to 4096"),
        ("crop", (96, 32, 16), "the last two sides must be the same"),
        ("crop", (32, 32, 32, 32), "up to three axes"),
        ("crop", (), "up to three axes"),
        ("objects", {"margin": -1}, "from 0 to 64"),
        ("objects", {"margin": (1, 65)}, "from 0 to 64"),
        ("objects", {"share": (0.2, float("nan"), 0)}, "from 0 to 1"),
    ],
)
def test_numbers_of_an_axis_are_checked(part, value, message):
    with pytest.raises(ValidationError, match=message):
        DetectorSettings(**{part: value})


def test_numbers_of_an_axis_come_back_from_json():
    told = DetectorSettings(crop=(96, 32, 32), objects={"margin": (4, 1, 1), "share": (0.2, 0, 0)})
    assert DetectorSettings.model_validate(json.loads(told.model_dump_json())) == told


def test_an_unknown_class_is_not_learnt():
    told, field = layout(), toy(2)
    *_, image, centre, size, values, label, snr, _ = batch_of(field, settings("association", 2))
    raw = torch.zeros(4, told.channels, 12, 6)
    loss = ReferenceLoss(told.certain.head)
    assert loss(raw, told.targets(image, centre, size, values, label, snr))["classes"] > 0
    assert loss(raw, told.targets(image, centre, size, values, label * 0 - 1, snr))["classes"] == 0


def test_batches_count_the_crops_before_them():
    told = settings("association", 2)
    crops = Crops([toy(2)], told.crop, 4, 3, 5, NAMES.values)
    assert [int(batch[-1]) for index in range(2) for batch in crops.epoch(index)] == [0, 4, 8, 12, 16, 20]


def test_validation_draws_nothing_at_random(trained):
    detector, told = trained("association", 2), settings("association", 2)
    batch = batch_of(toy(2), told)

    def total_loss(layout, seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return float(sum(batch_loss(detector.network, batch, layout, told).values()))

    detector.network.eval()
    assert total_loss(detector.layout, 1) == total_loss(detector.layout, 2)
    detector.network.train()
    assert total_loss(detector.layout, 1) != total_loss(detector.layout, 2)
    detector.network.eval()


def test_a_trained_detector_goes_on_by_its_own_method(trained, tmp_path):
    begun, field = trained("association", 2), toy(2)
    again = Detector(copy.deepcopy(begun.network), begun.layout, NAMES)
    with pytest.raises(UserError, match='was trained by the method "association", not "cells"'):
        train_detector([field], [field], NAMES, settings("cells", 2), tmp_path / "a", seed=1, device="cpu", begin=again)
    short = settings("association", 2)
    short = short.model_copy(update={"steps": 1, "train": short.train.model_copy(update={"epochs": 1, "warmup": 0.0})})
    more = train_detector([field], [field], NAMES, short, tmp_path / "b", seed=1, device="cpu", begin=again)
    # the boxes that know their objects are not dealt out at random again
    assert more.layout.settings.match.startup == 0
    assert more.layout.settings.priors == begun.layout.settings.priors


def test_layouts_are_read_back(trained):
    for method in METHODS:
        told = trained(method, 2).layout
        assert read_layout(json.loads(json.dumps(told.to_dict()))) == told


def test_symmetries_are_for_cells(trained):
    with pytest.raises(UserError, match='symmetries: are averaged for the method "cells" alone'):
        searched(trained("association", 2), toy(2), symmetric=True)
    with pytest.raises(ValidationError, match="symmetries averages cells that answer alone"):
        task(method="association", symmetries=True)


def task(symmetries=False, **detector):
    return DetectSettings(kind="detect", simulate={}, symmetries=symmetries, detector=detector)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"priors": []}, "at least 1 item"),
        ({"priors": [[6, 6], [6]]}, "every prior needs the same number of sides, one to three"),
        ({"priors": [[6, 0]]}, "sides are finite and at least 1 pixel"),
        ({"priors": [[6, 6]]}, "background has 9 weights for 1 priors: give one, or one each"),
        ({"priors": [[6]], "background": [0.1]}, "priors of images have two sides each"),
        ({"background": [-1]}, "background and weights must be finite numbers of at least 0"),
        ({"weights": {"ln_flux": -1}}, "background and weights must be finite numbers of at least 0"),
        ({"sides": [5, 5]}, "two positive numbers, the smaller one first"),
        ({"clamps": {"size": [1, -1]}}, "the first number must be the smaller one"),
        ({"match": {"good": 2}}, "from -1 to 1"),
        ({"difficult_snr": 2}, "difficult_snr is not above objects.least_snr of 2"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(told, sentence):
    with pytest.raises(ValidationError, match=sentence):
        task(method="association", association=told)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"priors": ((8.0,),) * 2}, "association.priors: have 1 sides where frames have 2 axes; give 2 a prior"),
        ({"weights": {"ln_paek": 2.0}}, "association.weights: names ln_paek, which the detector does not learn"),
    ],
)
def test_what_does_not_fit_the_frames_is_refused(told, sentence, tmp_path):
    plain = settings("association", 2)
    boxes = BoxSettings(**{"priors": ((8.0, 8.0),) * 2, "background": (0.15,), **told})
    with pytest.raises(UserError, match=sentence):
        wrong = plain.model_copy(update={"association": boxes})
        train_detector([toy(2)], [toy(2)], NAMES, wrong, tmp_path, seed=1, device="cpu")


def test_a_part_that_is_left_out_keeps_the_default_of_the_example():
    told = BoxSettings(match={"startup": 5}, scales={"size": 1.0})
    assert told.match.random_prior == 0.9
    assert told.match.limit("good") == 0.5
    assert told.scales.position == 36.0
    reference = told.reference(("ln_flux", "core_fraction"))
    assert reference.parameter_weights == (2.0, 1.0)
    assert (reference.size.scale, reference.size.slope, reference.size.clamp) == (1.0, 0.5, (-1.2, 1.2))


def test_the_shipped_network_of_yolo_cianna_is_the_published_one():
    path = Path(__file__).parents[2] / "config" / "yolo_cianna.yaml"
    detector = RunSettings.model_validate(yaml.safe_load(path.read_text())).tasks["continuum"].detector
    assert detector.association == BoxSettings()
    # one channel in, and of each of nine boxes two numbers of place and of size that are used and of z that are not,
    # a probability, an objectness and five parameters out
    line = f"{detector.network} C-{9 * (8 + 5)}.1_linear_none"
    rows = describe(line, 2, (1, 512, 512))
    assert sum(row.name.startswith("convolution") for row in rows) == 17
    # its group normalisation has a scale and a shift a group, ours has them a channel
    assert total(rows).parameters - 2 * 1024 + 2 * 256 == 12_621_373
    assert total(rows).macs == pytest.approx(23.012e9, abs=5e5)
    last = trace(line, 2, (1, 512, 512))[-1]
    assert last.reduction == (16, 16)
    assert last.field == (100, 100)
    assert last.output_shape == (117, 32, 32)
