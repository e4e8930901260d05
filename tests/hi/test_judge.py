import numpy as np
import pytest
from astropy.table import vstack

from pipeline.errors import UserError
from pipeline.hi.bootstrap import score_scatter
from pipeline.hi.comparison import boxes, compare, listed, measures
from pipeline.hi.judge import judge_hi, measure_hi
from pipeline.hi.ranking import best_cut
from pipeline.score.sdc2 import score_sdc2


def judged(sky, catalogue, **more):
    return judge_hi(catalogue, sky.truth, sky.objects, sky.cube, **more)


def compared(sky, catalogue):
    return compare(catalogue, sky.truth, sky.objects, sky.cube)


def with_false(sky, chosen, count, probability, matched_snr=1.0):
    """The perfect catalogue, and detections where no galaxy is, all over the cube."""
    true, false = sky.catalogue(chosen), sky.catalogue(chosen)[:count]
    place = np.random.default_rng(7).uniform(0, 1, (20 * count, 3)) * (np.array(sky.cube.shape) - 1)
    far = np.linalg.norm((place[:, None] - sky.objects.centre)[..., 1:], axis=-1).min(1) > 8
    for name, values in zip(("ra", "dec", "frequency"), sky.cube.to_sky(*place[far][:count].T), strict=True):
        false[name] = values * false[name].unit
    false["probability"], false["matched_snr"] = probability, matched_snr
    return vstack([true, false], metadata_conflicts="silent")


@pytest.fixture
def bright(sky):
    return sky.objects.snr > 3


def test_a_perfect_catalogue(sky, bright):
    result, n, everything = judged(sky, sky.catalogue(bright)), int(bright.sum()), len(sky.truth)
    assert 50 < n < everything
    assert result["n_det"] == result["n_match"] == n and result["purity"] == 1 and result["n_shared"] == 0
    assert result["score"] == pytest.approx(n) and result["score_per_truth"] == pytest.approx(n / everything)
    assert result["sdc2_equivalent"] == pytest.approx(233_245 * n / everything)
    assert set(result["sub_scores"].values()) == {1.0} and len(result["sub_scores"]) == 7
    for limit in (3, 5, 7):
        ap, count = result["ap"][f"snr_above_{limit}"], int((sky.objects.snr > limit).sum())
        assert ap["n_truth"] == count and ap["match"]["ap"] == 1
        assert [one["ap"] for one in ap["box"].values()] == pytest.approx([1] * 3) and list(ap["box"]) == [
            "0.1",
            "0.3",
            "0.5",
        ]
        assert result["complete_above"][f"{limit}"] | {"low": 0} == {"count": count, "fraction": 1, "low": 0, "high": 1}
    low, share = (np.array(result["completeness"]["snr"][key], float) for key in ("low", "fraction"))
    assert (share[(low >= 3) & (low < 10)] == 1).all() and (share[low < 3] == 0).all()
    for name, row in result["parameters"].items():
        assert row["total"]["bias"] == pytest.approx(0, abs=1e-4), name
    assert set(result["coverage"]) == {
        "ra", "dec", "frequency", "line_flux", "hi_size", "w20", "pa", "inclination"
    }  # fmt: skip
    assert all(row["coverage"] == 1 for row in result["coverage"].values()) and result["pa_turned"] == 0
    assert 0 <= result["chance"]["fraction"] < 0.3


def test_the_score_is_that_of_the_challenge(sky, bright):
    table = with_false(sky, bright, 20, 0.2)
    submission, _ = listed(table, sky.cube)
    own, result = score_sdc2(submission, sky.truth), judged(sky, table)
    assert (result["score"], result["n_match"], result["n_det"]) == (own.score, own.n_match, own.n_det)
    assert own.n_false == 20


def test_boxes_are_those_of_a_disc_and_a_line(sky):
    """Of a galaxy seen edge on along x the sky box is as wide as disc and beam, as high as the beam."""
    row = sky.truth.iloc[:1].assign(hi_size=24.0, i=90.0, pa=90.0, w20=211.0, ra=180.0, dec=-30.0)
    (low, high), z = boxes(measures(row, sky.cube), sky.cube)[0], sky.cube.from_sky(180.0, -30.0, row["central_freq"])
    hertz = 211e3 * row["central_freq"].iloc[0] ** 2 / (299792458 * 1.420405752e9)
    assert high - low == pytest.approx([hertz / 30e3 + 10, 7 / 2.8 + 4, 25 / 2.8 + 4], rel=1e-4)
    assert (high + low) / 2 == pytest.approx([float(z[0][0]), 99.5, 119.5], abs=1e-4)
    turned = boxes(measures(row.assign(pa=0.0), sky.cube), sky.cube)[0]
    assert (turned[1] - turned[0])[1:] == pytest.approx((high - low)[:0:-1], rel=1e-4)


def test_error_bars_hold_what_they_were_built_to_hold(galaxies):
    sky = galaxies(600, 4)
    catalogue, draw, n = sky.catalogue(np.ones(600, bool)), np.random.default_rng(1), 600
    spread = {"frequency": 2e4, "w20": 5.0, "pa": 30.0, "inclination": 4.0, "ra": 0.4, "dec": 0.4}
    for name, error in spread.items():
        unit = catalogue[f"{name}_error"].unit
        catalogue[f"{name}_error"] = np.full(n, error) * unit
        squeeze = np.cos(np.radians(-30)) if name == "ra" else 1
        catalogue[name] += draw.normal(0, error, n) / squeeze * unit
    for name in ("line_flux", "hi_size"):
        catalogue[f"{name}_error"] = 0.05 * catalogue[name]
        catalogue[name] *= 1 + draw.normal(0, 0.05, n)
    catalogue["pa"] %= 360 * catalogue["pa"].unit
    result = judged(sky, catalogue)
    assert result["n_match"] > 0.97 * n
    for name, row in result["coverage"].items():
        assert abs(row["coverage"] - 0.683) < 4 * np.sqrt(0.683 * 0.317 / n), name
        assert row["width"] == pytest.approx(1, abs=0.15), name
    scatter = {name: row["total"]["scatter"] for name, row in result["parameters"].items()}
    assert [scatter[name] for name in ("pa", "frequency", "ra")] == pytest.approx([30, 2e4, 0.4], rel=0.15)
    assert [scatter[name] for name in ("line_flux", "ln_flux", "hi_size")] == pytest.approx([0.05] * 3, rel=0.15)
    assert scatter["w20_difference"] == pytest.approx(5, rel=0.15)


def test_the_receding_side_counts(sky, bright):
    catalogue = sky.catalogue(bright)
    catalogue["pa"] = (catalogue["pa"] + 180 * catalogue["pa"].unit) % (360 * catalogue["pa"].unit)
    result = judged(sky, catalogue)
    assert result["pa_turned"] == 1 and result["errors"]["pa_error_deg"]["median"] == pytest.approx(180)
    assert result["sub_scores"]["pa"] == pytest.approx(10 / 180)


def test_false_detections_cost_purity_and_rank(sky, bright):
    n, perfect = int(bright.sum()), judged(sky, sky.catalogue(bright))
    last, first = (judged(sky, with_false(sky, bright, 30, value)) for value in (0.01, 1.0))
    for result in (last, first):
        assert result["n_match"] == n and result["purity"] == pytest.approx(n / (n + 30))
        assert result["score"] == pytest.approx(perfect["score"] - 30)
    assert first["ap"]["snr_above_3"]["match"]["ap"] < 0.9 < last["ap"]["snr_above_3"]["match"]["ap"] == 1
    assert last["reliability"]["ece"] < 0.1 < first["reliability"]["ece"]
    assert first["asked_purity"]["0.99"]["purity"] < 0.9
    assert last["purity_by"]["probability"]["fraction"][0] == 0 and last["purity_by"]["probability"]["outside"] == 0


def test_of_detections_that_share_a_galaxy_one_is_right(sky, bright):
    """The challenge lets them share its points; average precision takes the others for false."""
    once, n = sky.catalogue(bright), int(bright.sum())
    again = once.copy()
    again["probability"] *= 0.1
    result = judged(sky, vstack([once, again], metadata_conflicts="silent"))
    assert result["n_match"] == 2 * n == result["n_shared"] and result["score"] == pytest.approx(n)
    match = result["ap"]["snr_above_3"]["match"]
    assert match["n_match"] == n and match["ap"] == 1 and result["curve"]["precision"][-1] < 0.6


def test_detections_of_fainter_galaxies_are_neither_right_nor_wrong(sky, bright):
    few, many = (judged(sky, sky.catalogue(sky.objects.snr > limit)) for limit in (3, 1.5))
    assert many["n_det"] > few["n_det"]
    assert few["ap"]["snr_above_3"] == many["ap"]["snr_above_3"]
    assert (compared(sky, sky.catalogue(sky.objects.snr > 1.5)).by_box[3.0] == -1).any()


def test_the_matched_filter_is_ranked_beside_the_network(sky, bright):
    """Each order puts other false detections on top; cut at its best, each is worth what it would be alone."""
    n = int(bright.sum())
    table = with_false(
        sky, bright, 40, np.r_[np.full(20, 1.0), np.full(20, 0.01)], np.r_[np.full(20, 0.1), [99.0] * 20]
    )
    result = judged(sky, table[table["probability"] > 0.5], candidates=table, matched_threshold=3.0)
    network, matched = result["rankings"]["network"], result["rankings"]["matched_filter"]
    assert network["n_candidates"] == matched["n_candidates"] == n + 40
    assert network["same_length"]["score"] == pytest.approx(result["score"]) == pytest.approx(n - 20)
    for row, order in ((network, "probability"), (matched, "matched_snr")):
        assert row["best"]["score"] == pytest.approx(n - 20) and row["best"]["n_det"] == n + 20
        values = np.sort(np.asarray(table[order]))[::-1]
        assert row["best"]["threshold"] == pytest.approx(values[n + 19])
        assert row["ap"]["snr_above_3"]["match"]["ap"] == pytest.approx(network["ap"]["snr_above_3"]["match"]["ap"])
    assert matched["chosen"]["n_det"] == n + 20 and matched["chosen"]["complete_above"]["5"]["fraction"] == 1
    assert network["chosen"] is None
    none = judged(sky, table["id", *[name for name in table.colnames if name not in ("id", "matched_snr")]])
    assert none["rankings"]["matched_filter"] is None and none["rankings"]["network"] is not None


def test_the_best_cut_is_the_best_of_all(sky):
    """Nearly: what detections that share a galaxy are worth depends on the cut."""
    draw = np.random.default_rng(3)
    table = with_false(sky, np.ones(len(sky.truth), bool), 60, 0.5)
    table["probability"] = draw.uniform(0, 1, len(table)) ** np.where(np.arange(len(table)) < 150, 0.5, 2)
    table["hi_size"] *= draw.lognormal(0, 0.5, len(table))
    ranked = compared(sky, table).ranked("probability")
    rank = ranked.detections["rank"].to_numpy()
    scores = {cut: ranked.scored_of(rank >= cut)[0].score for cut in rank}
    assert 1 < scores[best_cut([ranked])] == pytest.approx(max(scores.values()), rel=0.02)
    assert scores[min(rank)] < 0.9 * max(scores.values())


def test_a_bootstrap_scatters_as_skies_do(galaxies):
    """The scatter that one sky foretells is about that between many of them."""
    scores, foretold = [], []
    for seed in range(9):
        sky = galaxies(150, 100 + seed)
        draw = np.random.default_rng(seed)
        wrong = with_false(sky, sky.objects.snr > 3, 15, 0.5)
        kept = wrong[draw.random(len(wrong)) < 0.7]
        frame = compared(sky, kept)
        scores.append(frame.score.score / frame.score.n_truth)
        foretold.append(score_scatter([frame])["score_per_truth"])
        assert score_scatter([frame], draws=2)["blocks"] <= 64
    assert 0.5 < np.mean(foretold) / np.std(scores, ddof=1) < 2


def test_order_does_not_matter_and_cubes_add_up(sky, bright):
    table = with_false(sky, bright, 20, np.linspace(0.1, 0.9, 20))
    shuffled = table[np.random.default_rng(0).permutation(len(table))]
    one, other = judged(sky, table), judged(sky, shuffled)
    for key in ("n_match", "purity", "completeness", "purity_by", "chance"):
        assert one[key] == other[key], key
    assert one["ap"]["snr_above_5"] == other["ap"]["snr_above_5"]
    both = measure_hi([compared(sky, table), compared(sky, shuffled)])
    for name in ("score", "n_det", "n_match", "n_truth"):
        assert both[name] == pytest.approx(2 * one[name])
    assert both["sub_scores"] == pytest.approx(one["sub_scores"])
    assert both["rankings"]["network"]["best"]["score"] == pytest.approx(
        2 * one["rankings"]["network"]["best"]["score"]
    )
    assert both["score_sd"]["score_per_truth"] == pytest.approx(one["score_sd"]["score_per_truth"] / 2**0.5, rel=0.15)


def test_official_columns_are_judged_alike(sky, bright):
    table = with_false(sky, bright, 5, 0.3)
    submission, _ = listed(table, sky.cube)
    one, other = judged(sky, table), judged(sky, submission.assign(probability=table["probability"]))
    for key in ("score", "n_match", "ap", "chance", "reliability", "parameters"):
        assert one[key] == other[key], key
    assert other["coverage"] == {} and other["rankings"]["matched_filter"] is None
    plain = judged(sky, submission)
    assert plain["reliability"] is None and plain["asked_purity"] is None and plain["rankings"]["network"] is None


def test_units_are_converted(sky, bright):
    table = sky.catalogue(bright)
    for name, unit in (("frequency", "MHz"), ("line_flux", "mJy MHz"), ("w20", "m/s"), ("pa", "rad"), ("ra", "rad")):
        for column in (name, f"{name}_error")[: 1 if name == "ra" else 2]:
            table[column] = table[column].to(unit)
    assert judged(sky, table)["score"] == pytest.approx(bright.sum())


@pytest.mark.parametrize("name", ["probability", None])
def test_an_empty_catalogue_is_counted(sky, bright, name):
    table = sky.catalogue(bright)[:0]
    if name is None:
        table.remove_column("probability")
    result = judged(sky, table)
    assert result["n_det"] == 0 and result["score"] == 0 and result["purity"] is None
    assert result["rankings"] == {"network": None, "matched_filter": None}


def test_galaxies_that_the_cube_does_not_show_are_missed(sky, bright):
    """Rows of the truth without an object count in the challenge's score, and in no bin of SNR."""
    some = sky.objects.take(np.flatnonzero(bright))
    result = judge_hi(sky.catalogue(bright), sky.truth, some, sky.cube)
    assert result["n_truth"] == len(sky.truth) and result["complete_above"]["3"]["count"] == bright.sum()
    assert result["completeness"]["snr"]["outside"] == (~bright).sum()
    assert result["ap"]["snr_above_3"]["box"]["0.5"]["ap"] == pytest.approx(1)


def test_a_catalogue_without_a_column_is_refused(sky, bright):
    table = sky.catalogue(bright)
    submission, _ = listed(table, sky.cube)
    table.remove_column("w20")
    with pytest.raises(UserError, match="catalogue: has no column w20; write it with fleming detect"):
        judged(sky, table)
    with pytest.raises(UserError, match="has no column line_flux_integral"):
        judged(sky, submission.drop(columns="line_flux_integral"))
