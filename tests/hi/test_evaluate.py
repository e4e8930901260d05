import numpy as np
import pandas as pd
import pytest
from astropy.table import vstack

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.hi.evaluate import LabelledCube, evaluate_cubes
from pipeline.hi.judge import judge_hi
from pipeline.hi.labelled import read_truth, whole
from pipeline.score.write import write_sdc2
from pipeline.sky.catalogue import write_catalogue


@pytest.fixture
def bright(sky):
    return sky.objects.snr > 3


def labelled(sky, path="cube.fits", section=None):
    section = section or whole(sky.cube)
    low, high = np.array(section).T - 0.5
    inside = np.flatnonzero(((sky.objects.centre >= low) & (sky.objects.centre < high)).all(1))
    truth, objects = sky.truth.iloc[inside].reset_index(drop=True), sky.objects.take(inside)
    objects.row = np.arange(len(truth))
    return LabelledCube(path, "truth.csv", sky.cube, truth, objects, section, len(sky.truth) - len(inside), 2.8e-5)


def run(tmp_path, table, cubes, **more):
    write_catalogue(table, tmp_path / "catalogue.fits")
    evaluate_cubes(tmp_path / "catalogue.fits", cubes, tmp_path / "metrics.json", seed=1, **more)
    return read_json(tmp_path / "metrics.json"), pd.read_csv(tmp_path / "matches.csv")


def test_a_cube_is_judged_as_its_table_is(sky, bright, tmp_path):
    table = sky.catalogue(bright)
    result, rows = run(tmp_path, table, [labelled(sky)], told={"network": "C-1.1", "threshold": 0.5})
    own = judge_hi(table, sky.truth, sky.objects, sky.cube)
    for key in ("score", "n_match", "ap", "completeness", "score_sd", "rankings"):
        assert result[key] == own[key], key
    assert result["kind"] == "hi" and result["network"] == "C-1.1" and result["task"] == tmp_path.name
    assert result["frames"][0]["section"] == [[0, side] for side in sky.cube.shape]
    n = int(bright.sum())
    assert rows["matched"].sum() == n and len(rows) == (sky.objects.snr > 1).sum()
    found, missed = rows[rows["matched"]], rows[~rows["matched"]]
    assert found["line_flux"].to_numpy() == pytest.approx(found["true_line_flux"].to_numpy())
    assert missed["x"].isna().all() and (missed["true_snr"] <= 3).all()


def test_a_part_of_a_cube_is_judged_alone(sky, bright, tmp_path):
    part = ((0, 160), (20, 200), (0, 240))
    result, rows = run(tmp_path, sky.catalogue(bright), [labelled(sky, section=part)])
    z, y = sky.objects.centre[:, 0], sky.objects.centre[:, 1]
    inside = (z < 159.5) & (y >= 19.5)
    assert result["n_truth"] == inside.sum() and result["n_match"] == (inside & bright).sum() == result["n_det"]
    assert result["n_listed"] == bright.sum() and result["frames"][0]["n_outside"] == (~inside).sum()
    assert rows["true_z"].max() < 159.5 and rows["true_y"].min() >= 19.5


def test_several_cubes_in_one_catalogue(sky, galaxies, bright, tmp_path):
    other = galaxies(120, 9)
    tables = [sky.catalogue(bright), other.catalogue(other.objects.snr > 5)]
    for table, name in zip(tables, ("one.fits", "two.fits"), strict=True):
        table["cube"] = np.full(len(table), name)
    both = vstack(tables, metadata_conflicts="silent")
    both["id"] = np.arange(len(both))
    cubes = [labelled(sky, "a/one.fits"), labelled(other, "b/two.fits")]
    result, rows = run(tmp_path, both, cubes)
    assert result["n_match"] == len(both) and result["n_truth"] == 270
    assert [frame["n_det"] for frame in result["frames"]] == [len(table) for table in tables]
    assert set(rows["frame"]) == {0, 1}
    both.remove_column("cube")
    with pytest.raises(UserError, match="has no column cube, but 2 cubes are judged"):
        run(tmp_path, both, cubes)
    with pytest.raises(UserError, match=r"lists no source of three\.fits"):
        run(tmp_path, tables[0], [labelled(sky, "three.fits")])


def test_candidates_are_judged_beside_the_catalogue(sky, bright, tmp_path):
    every = sky.catalogue(sky.objects.snr > 1.5)
    write_catalogue(every, tmp_path / "candidates.fits")
    more = {"candidates": tmp_path / "candidates.fits", "matched_threshold": 3.0}
    result, _ = run(tmp_path, sky.catalogue(bright), [labelled(sky)], **more)
    assert result["n_det"] == bright.sum()
    assert result["rankings"]["network"]["n_candidates"] == len(every)
    assert result["rankings"]["matched_filter"]["chosen"]["n_det"] == bright.sum()


def test_without_truth_there_are_counts_only(sky, bright, tmp_path):
    result, rows = run(tmp_path, sky.catalogue(bright), [])
    assert result["n_listed"] == bright.sum() and result["n_truth"] is None and len(rows) == 0
    assert "score" not in result and "matched" in rows


def test_a_file_without_a_column_is_refused(sky, bright, tmp_path):
    table = sky.catalogue(bright)
    table.remove_column("inclination")
    with pytest.raises(UserError, match=r"catalogue\.fits: has no column inclination; write it with fleming detect"):
        run(tmp_path, table, [labelled(sky)])


def test_a_truth_is_cut_to_the_cube(sky, tmp_path):
    away = sky.truth.assign(dec=sky.truth["dec"] + 10)
    write_sdc2(pd.concat([sky.truth, away.assign(id=away["id"] + 1000)]), tmp_path / "truth.txt")
    truth, outside = read_truth(tmp_path / "truth.txt", sky.cube, "cube.fits")
    assert len(truth) == outside == 150
    pd.testing.assert_frame_equal(truth, sky.truth, check_dtype=False)
    half, rest = read_truth(tmp_path / "truth.txt", sky.cube, "cube.fits", ((0, 160), *whole(sky.cube)[1:]))
    assert len(half) + rest == 300 and len(half) == (sky.objects.centre[:, 0] < 159.5).sum()
    write_sdc2(away, tmp_path / "away.txt")
    with pytest.raises(UserError, match=r"away\.txt: holds no galaxy in the part of cube\.fits that is judged"):
        read_truth(tmp_path / "away.txt", sky.cube, "cube.fits")


def test_the_ratio_that_a_simulation_states_is_kept(sky, tmp_path):
    stated = np.arange(len(sky.truth)) + 3.5
    sky.truth.assign(snr=stated).to_csv(tmp_path / "truth.csv", index=False)
    truth, _ = read_truth(tmp_path / "truth.csv", sky.cube, "cube.fits")
    back = truth.set_index("id")["snr"]
    for row, value in zip(sky.truth["id"], stated, strict=True):
        assert row not in back.index or back[row] == value
    assert len(back) > 3
    assert "snr" not in read_truth(_without(sky, tmp_path), sky.cube, "cube.fits")[0]


def _without(sky, folder):
    sky.truth.to_csv(folder / "plain.csv", index=False)
    return folder / "plain.csv"
