"""Real against real, and against stamps that are wrong in known ways."""

import json

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import gammaincinv

from pipeline.generate.morphology import statistic_names
from pipeline.generate.realism import HEADLINE, Reference, realism

SIZE, FINE = 32, 2


def sersic(n, seed):
    """Sersic galaxies in a PSF of 2.5 pixels on unit noise `(n, 1, 32, 32)`, and their properties."""
    rng = np.random.default_rng(seed)
    index, size, flux = (np.exp(rng.uniform(*np.log(ends), n)) for ends in ((0.6, 4.7), (1.2, 7), (400, 6300)))
    ratio, angle = rng.uniform(0.3, 1, n), rng.uniform(0, np.pi, n)
    line = (np.arange(SIZE * FINE) + 0.5) / FINE - 0.5
    wide = (-1, 1, 1)
    y = line[:, None] - (SIZE / 2 - 0.5 + rng.uniform(-0.5, 0.5, n)).reshape(wide)
    x = line[None, :] - (SIZE / 2 - 0.5 + rng.uniform(-0.5, 0.5, n)).reshape(wide)
    cosine, sine = np.cos(angle).reshape(wide), np.sin(angle).reshape(wide)
    q = ratio.reshape(wide)
    radius = np.sqrt(q * (x * cosine + y * sine) ** 2 + (y * cosine - x * sine) ** 2 / q) / size.reshape(wide)
    light = np.exp(-gammaincinv(2 * index, 0.5).reshape(wide) * (radius ** (1 / index.reshape(wide)) - 1))
    light = ndimage.gaussian_filter(light, (0, FINE * 2.5 / 2.3548, FINE * 2.5 / 2.3548), mode="constant", truncate=3)
    light = light.reshape(n, SIZE, FINE, SIZE, FINE).sum(axis=(2, 4))
    light *= (flux / light.sum(axis=(1, 2))).reshape(wide)
    truth = {"flux": flux, "size": size, "axis_ratio": ratio}
    return (light + rng.standard_normal(light.shape))[:, None].astype(np.float32), truth


def asinh(stamps):
    return np.arcsinh(stamps / 3) / 2.2 - 0.35


@pytest.fixture(scope="module")
def galaxies():
    return sersic(1500, 0)


@pytest.fixture(scope="module")
def reference(galaxies):
    stamps, truth = galaxies
    held = {name: values[500:1000] for name, values in truth.items()}
    corner = slice(12, 20)
    return Reference(
        stamps[:500],
        stamps[500:1000],
        scale=asinh,
        features=lambda x: asinh(x)[:, 0, corner, corner].reshape(len(x), -1)[:, ::3],
        held_asked=held,
    )


@pytest.fixture(scope="module")
def judged(reference, galaxies):
    stamps, truth = galaxies
    return reference.judge(stamps[1000:], {name: values[1000:] for name, values in truth.items()})


def test_real_against_real_is_the_floor_of_the_trial(judged):
    """Mean W1 0.07 and AUC 0.51 for two halves of 500, which a trial with other code measured."""
    assert judged["n"] == 500
    assert judged["mean_w1_floor"] == pytest.approx(0.07, abs=0.02)
    assert judged["auc_floor"] == pytest.approx(0.51, abs=0.05)
    assert judged["mean_w1"] == pytest.approx(0.07, abs=0.02)
    assert judged["auc"] == pytest.approx(0.5, abs=0.06)
    assert judged["auc_all"] == pytest.approx(0.5, abs=0.06)
    assert judged["power_spectrum"]["dex"] < 0.02
    assert judged["features"]["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert judged["features"]["frechet_distance"] < 2 * judged["features"]["frechet_distance_floor"]
    assert judged["neighbours"]["ratio"] == pytest.approx(1, abs=0.05)
    assert judged["neighbours"]["copies"] < 0.04


def test_the_result_is_plain_json(judged):
    again = json.loads(json.dumps(judged, allow_nan=False))
    assert again == judged
    assert tuple(again["names"]) == HEADLINE
    assert set(again["statistics"]) == set(statistic_names(2))


def test_conditions_stand_beside_those_of_real_stamps(judged):
    flux = judged["conditions"]["flux"]
    assert flux["correlation"] > 0.97
    assert abs(flux["bias"]) < 0.02
    assert flux["bias"] == pytest.approx(flux["held"]["bias"], abs=0.01)
    assert [row["low"] for row in flux["by_decade"]] == [100, 1000]
    assert judged["conditions"]["size"]["correlation"] > 0.8
    assert "axis_ratio" not in judged["conditions"]


@pytest.mark.parametrize("fault", ["blurred", "fainter", "one galaxy", "without noise"])
def test_what_is_wrong_is_found(reference, galaxies, fault):
    stamps = galaxies[0][1000:1200]
    wrong = {
        "blurred": lambda: ndimage.gaussian_filter(stamps, (0, 0, 0.7, 0.7)),
        "fainter": lambda: 0.7 * stamps,
        "one galaxy": lambda: stamps[:1] + np.random.default_rng(0).normal(0, 1, stamps.shape),
        "without noise": lambda: np.where(np.abs(stamps) > 3, stamps, 0),
    }[fault]()
    found = reference.judge(wrong)
    assert found["mean_w1"] > 2 * found["mean_w1_floor"]
    assert found["auc"] > 0.75
    assert found["auc_all"] > 0.75
    assert found["features"]["frechet_distance"] > 2 * found["features"]["frechet_distance_floor"]
    assert found["conditions"] == {}
    if fault == "one galaxy":
        assert found["features"]["recall"] < 0.1


def test_galaxies_that_are_not_symmetric_are_found_by_the_published_asymmetry(reference, galaxies):
    stamps = galaxies[0][1000:1200].copy()
    stamps[:, :, :16] += 0.3 * np.maximum(stamps[:, :, :16] - 3, 0)  # brighter on one side
    found = reference.judge(stamps)
    rows = found["statistics"]
    assert rows["asymmetry"]["w1"] > 2 * rows["raw_asymmetry"]["w1"]
    assert rows["asymmetry"]["w1"] > 10 * rows["asymmetry"]["w1_floor"]
    assert found["auc_all"] > found["auc"]


def test_repeating_the_training_set_is_perfect_but_found_out(reference, galaxies):
    copies = np.rot90(galaxies[0][:200], 1, (2, 3))
    found = reference.judge(copies)
    assert found["auc"] < 0.6
    assert found["neighbours"]["ratio"] < 0.01
    assert found["neighbours"]["copies"] == 1


@pytest.mark.parametrize("axes", [(48,), (10, 10, 10)])
def test_spectra_and_cubes_are_compared_too(axes):
    rng = np.random.default_rng(1)
    square = sum(np.meshgrid(*((np.arange(axis) - axis / 2) ** 2 for axis in axes), indexing="ij"))
    stamps = rng.uniform(20, 80, (90, 1, *(1,) * len(axes))) * np.exp(-square / 6) + rng.standard_normal((90, 1, *axes))
    reference = Reference(stamps[:30], stamps[30:60])
    found = reference.judge(stamps[60:])
    assert found["mean_w1"] < 0.5
    assert reference.judge(3 * stamps[60:])["mean_w1"] > 1
    assert found["features"] is None
    assert "ellipticity" not in found["statistics"]


def test_few_and_broken_stamps_give_none_and_not_a_crash(galaxies):
    stamps = galaxies[0][:9].copy()
    stamps[0] = np.nan
    found = realism(stamps[:3], stamps[3:6], stamps[:1], features=lambda x: np.nan_to_num(x).reshape(len(x), -1))
    json.dumps(found, allow_nan=False)
    assert found["n"] == 1
    assert found["auc"] is None and found["mean_w1"] is None
    assert found["statistics"]["flux"]["undefined"] == 1
    with pytest.raises(ValueError, match="compared"):
        realism(stamps, stamps, stamps[:, :, :16])
    with pytest.raises(ValueError, match="compared"):
        realism(stamps, stamps[:0], stamps)
