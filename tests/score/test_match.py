"""The laws of the scores: slow equals fast, order does not matter, truth against itself."""

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.score import match
from pipeline.score.sdc1 import FWHM, TRAINING, score_sdc1
from pipeline.score.sdc2 import CENTRE_DEG, Sdc2, _distance_mpc, _offsets, score_sdc2


@pytest.fixture(params=range(5))
def seed(request):
    return request.param


def great_circle(ra1, dec1, ra2, dec2):
    """Arcsec, by the haversine formula."""
    ra1, dec1, ra2, dec2 = np.radians([ra1, dec1, ra2, dec2])
    half = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(half))) * 3600


def fold(angle):
    if angle > 180:
        angle -= 180
    if angle > 90:
        angle -= 90
    if angle > 45:
        angle -= 45
    if angle < -45:
        angle += 45
    return angle


def part(error, threshold):
    return 1.0 if error <= threshold else threshold / error


def slow_sdc1(submission, truth, frequency, end):
    """Every pair in turn: (score, n_match, n_bad)."""
    beam, best = 0.25 * 1400 / frequency, {}
    for s in submission.to_dict("records"):
        radius = np.hypot(FWHM[s["size"]] * max(s["b_maj"], s["b_min"]), beam) / 3600
        found = []
        for t in truth.to_dict("records"):
            flat = np.hypot(s[f"ra_{end}"] - t[f"ra_{end}"], s[f"dec_{end}"] - t[f"dec_{end}"])
            if flat > radius:
                continue
            width = np.hypot(FWHM[t["size"]] * max(t["b_maj"], t["b_min"]), beam)
            place = great_circle(s[f"ra_{end}"], s[f"dec_{end}"], t[f"ra_{end}"], t[f"dec_{end}"]) / width
            sizes = [FWHM[row["size"]] * (row["b_maj"] + row["b_min"]) / 2 for row in (s, t)]
            flux = abs(s["flux"] - t["flux"]) / t["flux"]
            size = abs(sizes[0] - sizes[1]) / width
            found.append((np.sqrt((place / 0.93) ** 2 + (flux / 0.36) ** 2 + (size / 4.38) ** 2), t))
        if found:
            distance, t = min(found, key=lambda pair: pair[0])
            if t["id"] not in best or distance < best[t["id"]][0]:
                best[t["id"]] = (distance, s, t)
    total, n_match = 0.0, 0
    for distance, s, t in best.values():
        if distance >= 5:
            continue
        n_match += 1
        change = FWHM[s["size"]] / FWHM[t["size"]]
        apart = min(great_circle(s[f"ra_{e}"], s[f"dec_{e}"], t[f"ra_{e}"], t[f"dec_{e}"]) for e in ("core", "cent"))
        points = [
            part(apart / np.sqrt(4 * beam**2 + ((t["b_maj"] + t["b_min"]) / 2) ** 2), 0.3),
            part(abs(s["flux"] - t["flux"]) / t["flux"], 0.1),
            part(abs(change * s["b_maj"] - t["b_maj"]) / t["b_maj"], 0.3),
            1.0 if t["size"] == 1 else part(abs(change * s["b_min"] - t["b_min"]) / t["b_min"], 0.3),
            1.0 if t["size"] == 1 else part(abs(fold(s["pa"]) - fold(t["pa"])), 10),
            part(abs(s["core_frac"] - t["core_frac"]) / 0.75, 0.05),
            float(s["class"] == t["class"]),
        ]
        total += sum(points) / 7
    return total - (len(submission) - n_match) if n_match else 0.0, n_match, len(best) - n_match


def slow_sdc2(submission, truth):
    """Every pair in turn: (score, n_match, n_bad)."""

    def line(row):
        return row["w20"] * 1e3 * row["central_freq"] ** 2 / (299792458.0 * 1.420405752e9)

    def place(row):
        lon, lat = _offsets(row["ra"], row["dec"], CENTRE_DEG)
        away = _distance_mpc(row["central_freq"])
        return np.array([lon * away, lat * away, away])

    pairs = []
    places = [place(t) for t in truth.to_dict("records")]
    for s in submission.to_dict("records"):
        here = place(s)
        depth = here[2] - _distance_mpc(s["central_freq"] + line(s))
        radius = max(np.hypot(s["hi_size"], 7) / 206265 * here[2], depth)
        found = []
        for t, there in zip(truth.to_dict("records"), places, strict=True):
            width = np.hypot(t["hi_size"], 7)
            apart = great_circle(s["ra"], s["dec"], t["ra"], t["dec"]) / width
            shift = abs(s["central_freq"] - t["central_freq"]) / line(t)
            if np.linalg.norm(here - there) > radius or apart >= 1 or shift >= 1:
                continue
            flux = (s["line_flux_integral"] - t["line_flux_integral"]) / t["line_flux_integral"]
            size, broad = (s["hi_size"] - t["hi_size"]) / width, (s["w20"] - t["w20"]) / t["w20"]
            found.append((np.sqrt(apart**2 + shift**2 + flux**2 + size**2 + broad**2), t))
        if found:
            pairs.append((s, *min(found, key=lambda pair: pair[0])))
    total, n_match = 0.0, 0
    for s, distance, t in pairs:
        if distance >= 5:
            continue
        n_match += 1
        turn = abs(s["pa"] - t["pa"]) % 360
        apart = great_circle(s["ra"], s["dec"], t["ra"], t["dec"])
        points = [
            part(apart / np.sqrt(4 * 49 + t["hi_size"] ** 2), 0.3),
            part(abs(s["central_freq"] - t["central_freq"]) / line(t), 0.3),
            part(abs(s["line_flux_integral"] / t["line_flux_integral"] - 1), 0.1),
            part(abs(s["hi_size"] / t["hi_size"] - 1), 0.3),
            part(min(turn, 360 - turn), 10),
            part(abs(s["w20"] / t["w20"] - 1), 0.3),
            part(abs(s["i"] - t["i"]), 10),
        ]
        total += sum(points) / 7 / sum(other["id"] == t["id"] for _, _, other in pairs)
    return total - (len(submission) - n_match), n_match, len(pairs) - n_match


@pytest.mark.parametrize("mode", ["core", "centroid"])
@pytest.mark.parametrize("frequency", [560, 1400])
def test_sdc1_equals_the_slow_way(sdc1_pair, frequency, mode):
    fast = score_sdc1(*sdc1_pair, frequency, mode)
    value, n_match, n_bad = slow_sdc1(*sdc1_pair, frequency, "core" if mode == "core" else "cent")
    assert (fast.n_match, fast.n_bad) == (n_match, n_bad)
    assert n_match > 5
    assert fast.score == pytest.approx(value, abs=1e-6)


def test_sdc2_equals_the_slow_way(sdc2_pair):
    fast = score_sdc2(*sdc2_pair)
    value, n_match, n_bad = slow_sdc2(*sdc2_pair)
    assert (fast.n_match, fast.n_bad) == (n_match, n_bad)
    assert n_match > 5
    assert fast.matches.share.min() < 1
    assert fast.score == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("at_once", [1, 7])
def test_the_size_of_the_chunks_does_not_matter(sdc1_pair, monkeypatch, at_once):
    whole = score_sdc1(*sdc1_pair, 560)
    monkeypatch.setattr(match, "_PAIRS_AT_ONCE", at_once)
    parts = score_sdc1(*sdc1_pair, 560)
    assert parts.score == whole.score
    np.testing.assert_array_equal(parts.matches.truth, whole.matches.truth)


def test_the_order_of_the_rows_does_not_matter(sdc1_pair):
    submission, truth = sdc1_pair
    rng = np.random.default_rng(5)
    first, second = rng.permutation(len(submission)), rng.permutation(len(truth))
    one, other = score_sdc1(submission, truth, 560), score_sdc1(submission.iloc[first], truth.iloc[second], 560)
    assert other.score == pytest.approx(one.score, abs=1e-9)
    pairs = set(zip(one.matches.submission.tolist(), one.matches.truth.tolist(), strict=True))
    back = zip(first[other.matches.submission].tolist(), second[other.matches.truth].tolist(), strict=True)
    assert set(back) == pairs


def test_the_order_of_the_rows_does_not_matter_where_matches_are_shared(sdc2_pair):
    submission, truth = sdc2_pair
    one = score_sdc2(submission, truth)
    assert score_sdc2(submission.iloc[::-1], truth.iloc[::-1]).score == pytest.approx(one.score, abs=1e-9)


def test_the_truth_as_its_own_answer_scores_its_number(sdc1_pair, sdc2_pair):
    for result, n in (
        (score_sdc1(sdc1_pair[1], sdc1_pair[1], 560), len(sdc1_pair[1])),
        (score_sdc2(sdc2_pair[1], sdc2_pair[1]), len(sdc2_pair[1])),
    ):
        assert result.score == pytest.approx(n)
        assert (result.n_match, result.n_truth, result.n_false, result.n_bad) == (n, n, 0, 0)
        np.testing.assert_array_equal(result.matches.submission, result.matches.truth)
        assert result.errors["pa_error_deg"]["p68"] == 0


def test_zero_size_truth_loses_its_size_scores_only(sdc1_pair):
    truth = sdc1_pair[1].assign(size=2)
    truth.loc[3, ["b_maj", "b_min"]] = 0.0
    result = score_sdc1(truth, truth, 560)
    assert result.score == pytest.approx(len(truth) - 2 / 7)
    assert result.per_parameter_nan["b_maj"] == result.per_parameter_nan["b_min"] == 1
    assert result.errors["pa_error_deg"]["n"] == len(truth) - 1


@pytest.mark.parametrize("frequency", sorted(TRAINING))
def test_the_two_areas_divide_the_sources(sdc1_pair, frequency):
    truth = sdc1_pair[1]
    west, east, south, north = TRAINING[frequency]
    truth["ra_core"] = truth["ra_cent"] = np.linspace(2 * west, east - west, len(truth))
    truth["dec_core"] = truth["dec_cent"] = (south + north) / 2
    truth.loc[0, "ra_core"] = east
    inside, outside, everything = (score_sdc1(truth, truth, frequency, area=a) for a in ("train", "outside", "all"))
    assert inside.n_truth == ((truth["ra_core"] > west) & (truth["ra_core"] < east)).sum() > 0
    assert inside.n_truth + outside.n_truth == everything.n_truth == len(truth)
    assert 0 in outside.matches.truth


def test_right_ascension_wraps(sdc1_pair):
    submission, truth = sdc1_pair
    for name in ("ra_core", "ra_cent"):
        submission[name] -= 0.102
        truth[name] -= 0.102
    turned = submission.assign(ra_core=submission["ra_core"] % 360, ra_cent=submission["ra_cent"] % 360)
    assert turned["ra_core"].max() > 359 > turned["ra_core"].min()
    assert score_sdc1(turned, truth, 560).score == pytest.approx(score_sdc1(submission, truth, 560).score, abs=1e-6)


def test_infinite_values_match_nothing_and_break_nothing(sdc1_pair):
    truth = sdc1_pair[1]
    submission = truth.copy()
    submission.loc[0, "ra_core"] = submission.loc[1, "b_maj"] = submission.loc[2, "flux"] = np.inf
    result = score_sdc1(submission, truth, 560)
    assert (result.n_det, result.n_match) == (len(truth), len(truth) - 3)


def test_without_rows_nothing_is_scored(sdc1_pair, sdc2_pair):
    for scored, (submission, truth), floor in (
        (lambda *a: score_sdc1(*a, 560), sdc1_pair, 0),
        (score_sdc2, sdc2_pair, -1),
    ):
        empty = scored(submission.iloc[:0], truth)
        assert (empty.score, empty.n_det, empty.n_truth, empty.per_parameter_sum) == (0, 0, len(truth), None)
        blank = scored(submission, truth.iloc[:0])
        assert (blank.score, blank.n_match, blank.n_truth) == (floor * len(submission), 0, 0)


def test_angle_errors_are_axial_where_the_axis_counts_and_full_where_the_sense_does(sdc1_pair, sdc2_pair):
    turned = [pair[1].assign(pa=pair[1]["pa"] + 175.0) for pair in (sdc1_pair, sdc2_pair)]
    axial = score_sdc1(turned[0], sdc1_pair[1], 560).errors["pa_error_deg"]
    full = score_sdc2(turned[1], sdc2_pair[1]).errors["pa_error_deg"]
    assert axial == pytest.approx({"median": 5, "p68": 5, "bias": -5, "n": len(turned[0])})
    assert full == pytest.approx({"median": 175, "p68": 175, "bias": 175, "n": len(turned[1])})


def test_size_errors_are_in_gaussian_widths(sdc1_pair):
    truth = sdc1_pair[1].assign(size=2)
    scale = truth.assign(size=3, b_maj=(truth["b_maj"] + 0.05) / np.sqrt(2), b_min=truth["b_min"] / np.sqrt(2))
    errors = score_sdc1(scale, truth, 560).errors
    assert errors["b_maj_error_arcsec"]["bias"] == pytest.approx(0.05)
    assert errors["b_min_error_arcsec"]["p68"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("key, value", [("frequency", 950), ("frequency", "560"), ("mode", "peak"), ("area", "inside")])
def test_settings_that_do_not_exist_are_refused(sdc1_pair, key, value):
    settings = {"frequency": 560, key: value}
    with pytest.raises(UserError, match=f"^{key}: sdc1 has no {key} {value!r}; give one of "):
        score_sdc1(*sdc1_pair, **settings)


def test_another_cube_is_scored_by_its_own_band_and_beam():
    rows = {"id": 1, "ra": 20.0, "dec": 40.0, "hi_size": 90.0, "line_flux_integral": 5e4, "central_freq": 1.412e9,
            "pa": 30.0, "i": 50.0, "w20": 200.0}  # fmt: skip
    table = pd.DataFrame([rows])
    assert score_sdc2(table, table).n_match == 0
    found = match.score(Sdc2.for_cube(40.0, (1.415e9, 1.41e9), (20.0, 40.0)), table, table)
    assert (found.n_match, found.n_truth) == (1, 1)
    assert found.score == pytest.approx(1.0)
    # Half a beam away is near for a wide beam and far for a narrow one.
    moved = table.assign(dec=40.0 + 60 / 3600)
    scores = [
        match.score(Sdc2.for_cube(beam, (1.41e9, 1.415e9), (20.0, 40.0)), moved, table).score for beam in (5.0, 80.0)
    ]
    assert scores[0] < scores[1]
