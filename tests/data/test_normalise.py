"""Laws of the normalisation: closed forms, blindness to NaN, constants of the training set alone."""

import json

import numpy as np
import pytest
from scipy.ndimage import median_filter

from pipeline.data.normalise import Normaliser, parse
from pipeline.data.statistics import SetStatistics
from pipeline.errors import UserError

AXES = {1: (40,), 2: (7, 9), 3: (3, 4, 5)}
SCALING = ["centre", "standardise", "minmax", "minmax_symmetric", {"tanh": 1.5}, {"asinh": 0.1}]
EVERY = [
    "none",
    "mask",
    *({name: {"per": per}} for name in ("centre", "standardise", "minmax", "tanh") for per in ("set", "feature")),
    {"minmax_symmetric": {"per": "set", "clip": [1, 99]}},
    {"asinh": {"softening": 0.2, "clip": [5, 95]}},
    *SCALING,
]


def samples(ndim, n=12, channel=2, seed=0, holes=True):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (n, channel, *AXES[ndim])).astype(np.float32)
    if holes:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def per_sample(x, function):
    return np.stack([function(one.astype(float)) for one in x])


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(
    ("spec", "formula"),
    [
        ("none", lambda v: v),
        ("centre", lambda v: v - np.nanmean(v)),
        ("standardise", lambda v: (v - np.nanmean(v)) / np.nanstd(v)),
        ("minmax", lambda v: (v - np.nanmin(v)) / (np.nanmax(v) - np.nanmin(v))),
        ("minmax_symmetric", lambda v: 2 * (v - np.nanmin(v)) / (np.nanmax(v) - np.nanmin(v)) - 1),
        ({"tanh": 1.5}, lambda v: np.tanh((v - np.nanmean(v)) / np.nanstd(v) / 1.5)),
        ({"asinh": 0.1}, lambda v: np.arcsinh((v - np.nanmean(v)) / np.nanstd(v) / 0.1)),
        ("mask", lambda v: np.isfinite(v).astype(float)),
    ],
)
def test_closed_forms(ndim, spec, formula):
    x = samples(ndim)
    expected = np.nan_to_num(per_sample(x, formula), nan=0.0)
    result = Normaliser.fit(spec).apply(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_clip_limits_to_percentiles(ndim):
    def formula(v):
        low, high = np.nanpercentile(v, [5, 90])
        return (np.clip(v, low, high) - low) / (high - low)

    x = samples(ndim)
    result = Normaliser.fit({"minmax": {"clip": [5, 90]}}).apply(x)
    np.testing.assert_allclose(result, np.nan_to_num(per_sample(x, formula)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("per", "axis"), [("set", (0, 2, 3, 4)), ("feature", (0,))])
def test_constants_of_the_set_are_streamed(ndim, per, axis):
    x = samples(ndim, n=60)
    axis = tuple(a for a in axis if a < x.ndim)
    mean, spread = (f(x.astype(float), axis=axis, keepdims=True) for f in (np.nanmean, np.nanstd))
    for batches in ([x], np.array_split(x, 7), x[:, None]):
        normaliser = Normaliser.fit({"standardise": {"per": per}}, batches)
        np.testing.assert_allclose(normaliser.apply(x), np.nan_to_num((x - mean) / spread), rtol=1e-4, atol=1e-5)


def test_constants_come_from_the_training_set_alone():
    train, other = samples(2, seed=1), 100 + samples(2, seed=2)
    fitted = Normaliser.fit({"standardise": {"per": "set"}}, [train])
    before = fitted.to_dict()
    mean, spread = (f(train.astype(float), axis=(0, 2, 3), keepdims=True) for f in (np.nanmean, np.nanstd))
    np.testing.assert_allclose(fitted.apply(other), np.nan_to_num((other - mean) / spread), rtol=1e-4, atol=1e-4)
    assert fitted.to_dict() == before


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_batched_is_single_and_json_keeps_everything(ndim):
    x = samples(ndim)
    fitted = Normaliser.fit(EVERY, [x])
    again = Normaliser.from_dict(json.loads(json.dumps(fitted.to_dict())))
    whole = again.apply(x)
    assert whole.shape == (len(x), again.channels(2), *AXES[ndim])
    np.testing.assert_array_equal(whole, np.concatenate([fitted.apply(x[i : i + 1]) for i in range(len(x))]))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_steps_are_stacked_first_step_first(ndim):
    x = samples(ndim)
    stacked = Normaliser.fit(["standardise", "mask", {"tanh": 1.5}]).apply(x)
    for place, spec in enumerate(["standardise", "mask", {"tanh": 1.5}]):
        np.testing.assert_array_equal(stacked[:, 2 * place : 2 * place + 2], Normaliser.fit(spec).apply(x))
    assert Normaliser.fit(["standardise", "mask"]).mask_channels(2) == [2, 3]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 0.1, -1e-17, 1e30])
def test_constant_and_empty_samples_become_zero(ndim, value):
    # 0.1 as float64: its mean is rounded, so the spread that is left is not exactly 0
    x = np.full((3, 1, *AXES[ndim]), value)
    specs = [*SCALING, {"standardise": {"clip": [1, 99]}}, *(["continuum"] if ndim == 1 else [])]
    result = Normaliser.fit(specs).apply(x)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result, 0, atol=1e-6)


@pytest.mark.parametrize("per", ["set", "feature"])
def test_a_constant_training_set_gives_zeros(per):
    fitted = Normaliser.fit(
        [{name: {"per": per}} for name in ("standardise", "minmax", "centre")], [np.ones((4, 1, 5))]
    )
    assert (fitted.apply(np.ones((2, 1, 5))) == 0).all()


def test_a_feature_that_is_never_there_is_zero():
    x = np.random.default_rng(0).normal(size=(20, 1, 3))
    x[:, 0, 1] = np.nan
    result = Normaliser.fit({"standardise": {"per": "feature"}}, [x]).apply(x)
    assert (result[:, 0, 1] == 0).all()
    np.testing.assert_allclose(result[:, 0, [0, 2]].std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-19, 1.0, 1e12])
def test_units_do_not_matter(scale):
    x = samples(2).astype(np.float64)
    specs = ["standardise", "minmax", "tanh", "asinh", {"minmax": {"clip": [2, 98]}}]
    expected = Normaliser.fit(specs).apply(x)
    np.testing.assert_allclose(Normaliser.fit(specs).apply(x * scale), expected, rtol=1e-4, atol=1e-5)


def test_pictures_of_bytes():
    x = np.random.default_rng(0).integers(0, 256, (5, 1, 6, 6), dtype=np.uint8)
    np.testing.assert_array_equal(Normaliser.fit("none").apply(x), x)
    expected = (x - x.mean()) / x.std()
    np.testing.assert_allclose(
        Normaliser.fit({"standardise": {"per": "set"}}, [x]).apply(x), expected, rtol=1e-4, atol=1e-5
    )


def test_continuum_is_the_running_median():
    x = 5 + np.random.default_rng(0).normal(0, 0.1, (3, 1, 80))
    result = Normaliser.fit({"continuum": 15}).apply(x)
    expected = np.stack([[one / median_filter(one, 15, mode="nearest") - 1] for one in x[:, 0]])
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_continuum_takes_slope_and_scale_away_and_keeps_lines():
    grid = np.linspace(-1, 1, 400)
    line = np.exp(-0.5 * (grid / 0.01) ** 2)
    x = np.stack([[(3 + 2 * grid) * (1 - 0.5 * line)], [1e-17 * (3 - grid) * (1 - 0.5 * line)]])
    x[:, :, 50:60] = np.nan
    result = Normaliser.fit("continuum").apply(x)
    assert (result[:, :, 50:60] == 0).all()
    np.testing.assert_allclose(result[0, 0, 150:250], -0.5 * line[150:250], atol=0.05)
    np.testing.assert_allclose(result[1, 0, 150:250], -0.5 * line[150:250], atol=0.05)


def test_noise_below_zero_has_no_continuum():
    x = np.random.default_rng(0).normal(-1, 0.1, (2, 1, 300))
    assert (Normaliser.fit("continuum").apply(x) == 0).all()


def test_percentiles_of_a_long_set_are_close_and_ignore_batches(monkeypatch):
    monkeypatch.setattr("pipeline.data.statistics._MOST_VALUES", 4000)
    x = np.random.default_rng(0).normal(size=(64, 1, 16, 64)) + np.linspace(-3, 3, 64)
    results = []
    for parts in (1, 5):
        statistics = SetStatistics("set", (10, 90))
        for batch in np.array_split(x, parts):
            statistics.add(batch)
        results.append(statistics.constants())
    assert results[0].to_dict() == results[1].to_dict()
    np.testing.assert_allclose([results[0].low[0], results[0].high[0]], np.percentile(x, [10, 90]), atol=0.15)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("standardize", "normalise"),
        ({"tanh": -1}, "greater than 0"),
        ({"standardise": 3}, "takes no value"),
        ({"standardise": {"scale": 3}}, "has no option scale"),
        ({"tanh": {"width": 3}}, "width"),
        ({"minmax": {"clip": [90, 10]}}, "increasing percentiles"),
        ({"minmax": {"per": "galaxy"}}, "per"),
        ([3], "expected a name"),
        ([], "at least 1"),
    ],
)
def test_wrong_specs(specs, message):
    with pytest.raises(UserError, match=message):
        parse(specs)


def test_what_does_not_fit():
    with pytest.raises(UserError, match="for spectra"):
        Normaliser.fit("continuum").apply(samples(2))
    with pytest.raises(UserError, match="training set is empty"):
        Normaliser.fit({"minmax": {"per": "set"}}, [])
    with pytest.raises(UserError, match="no finite value"):
        Normaliser.fit({"minmax": {"per": "set"}}, [np.full((3, 1, 4), np.nan)])
    with pytest.raises(UserError, match="another shape"):
        Normaliser.fit({"minmax": {"per": "feature"}}, [samples(1)]).apply(samples(1)[..., 1:])
    with pytest.raises(UserError, match="incomplete"):
        Normaliser.from_dict({"steps": ["none"]})
