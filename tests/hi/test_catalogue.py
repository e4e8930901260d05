"""A catalogue says on the sky and in hertz what the detections say in voxels, whatever the axis or file format."""

import astropy.units as u
import numpy as np
import pandas as pd
import pytest

from pipeline.detect.calibrate import Calibrated
from pipeline.detect.columns import join_catalogues, vector_angle
from pipeline.detect.predict import Detections
from pipeline.errors import UserError
from pipeline.hi.catalogue import (
    BLANK,
    BLENDED,
    EDGE,
    INVALID,
    OUTSIDE,
    galaxy_format,
    inclination_error,
    make_catalogue,
    to_sdc2,
    write_galaxies,
)
from pipeline.hi.lines import velocity_km_s, width_hz, width_km_s
from pipeline.score.sdc2 import Sdc2, score_sdc2
from pipeline.score.tables import read_table
from pipeline.sky.catalogue import read_catalogue


def made(standin, found=None, cube=None, noise=None, **options):
    cube = cube or standin.Cube()
    found = standin.detected() if found is None else found
    return make_catalogue(found, cube, noise or standin.flat(cube), standin.model(), **options)


def values(column):
    return np.asarray(getattr(column, "value", column), float)


@pytest.mark.parametrize("kind", ["FREQ", "VOPT"])
def test_positions_and_frequencies_lead_back_to_the_voxels(standin, kind):
    for falls in (False, True):
        cube, found = standin.Cube(kind=kind, falls=falls, turn=20.0), standin.detected()
        table = made(standin, found, cube)
        place = cube.from_sky(*(table[name].value for name in ("ra", "dec", "frequency")))
        np.testing.assert_allclose(np.stack(place, axis=1), found.detections.centre, atol=1e-6)
        # In the file, where the voxels are to be looked up.
        stored = cube.frequency[::-1] if _falls(cube) else cube.frequency
        seen = np.interp(table["z"].value, np.arange(len(stored)), stored)
        np.testing.assert_allclose(seen, table["frequency"].value, rtol=1e-9)
        assert ("falls" in table["z"].info.description) == _falls(cube)


def _falls(cube):
    """Whether the frequency of the stored axis falls, by its own cards."""
    step = cube.header["CDELT3"]
    return step < 0 if cube.header["CTYPE3"] == "FREQ" else step > 0


def test_one_line_flux_width_and_redshift_in_all_units(standin):
    cube = standin.Cube()
    table = made(standin, cube=cube)
    nu, z = table["frequency"].to_value(u.Hz), values(table["redshift"])
    np.testing.assert_allclose(z, standin.rest / nu - 1)
    np.testing.assert_allclose(table["velocity"].to_value(u.km / u.s), 299792.458 * z)
    # dv = c (1 + z)^2 / nu0 dnu
    kms = table["line_flux"].value * 299792.458 * (1 + z) ** 2 / standin.rest
    np.testing.assert_allclose(table["line_flux_kms"].value, kms)
    edges = np.stack([nu - 0.5, nu + 0.5])
    np.testing.assert_allclose(
        -np.diff(velocity_km_s(edges, standin.rest), axis=0)[0] * table["line_flux"].value, kms, rtol=1e-6
    )
    channels = width_hz(table["w20"].value, nu, standin.rest) / 3e4
    np.testing.assert_allclose(np.log(channels), standin.detected().detections.values[:, 2])
    np.testing.assert_allclose(width_km_s(width_hz(200.0, nu, standin.rest), nu, standin.rest), 200.0)


def test_snr_of_a_point_in_one_channel_is_its_flux_over_the_rms(standin):
    found = standin.detected(1)
    found.detections.values[0, :3] = np.log(7.0), -20.0, -3.0
    assert made(standin, found)["snr"][0] == pytest.approx(7.0)
    found.detections.values[0, 2] = np.log(25.0)
    assert made(standin, found)["snr"][0] == pytest.approx(7.0 / 5)


def test_errors_are_the_scatter_of_what_is_drawn_from_them(standin):
    one, draws, cube = standin.detected(1, seed=3), 2500, standin.Cube()
    random = np.random.default_rng(5)
    table = made(standin, one, cube)
    parts = {name: np.repeat(part, draws, axis=0) for name, part in vars(one.detections).items()}
    noise = random.normal(size=(draws, 9)) * one.errors
    parts["centre"], parts["values"] = parts["centre"] + noise[:, :3], parts["values"] + noise[:, 3:]
    drawn = made(standin, Calibrated(Detections(**parts), np.ones(draws), np.repeat(one.errors, draws, axis=0)), cube)
    arcsec = {"ra": np.cos(table["dec"][0].to_value(u.rad)) * 3600, "dec": 3600.0}
    own = ("ra", "dec", "frequency", "velocity", "line_flux", "line_flux_kms", "hi_size", "w20", "pa", "inclination")
    for name in own:
        part, middle = values(drawn[name]), values(table[name])[0]
        part = (part - middle + 180) % 360 if name == "pa" else part
        scatter = np.diff(np.quantile(part, [0.1587, 0.8413]))[0] / 2 * arcsec.get(name, 1.0)
        assert values(table[f"{name}_error"])[0] == pytest.approx(scatter, rel=0.1), name


@pytest.mark.parametrize(("cosine", "error"), [(0.95, 0.1), (1.02, 0.05), (0.5, 0.05), (0.03, 0.2), (-0.1, 0.3)])
def test_the_error_of_an_inclination_holds_68_per_cent_also_where_no_derivative_is(cosine, error):
    middle = np.clip(cosine, 0, 1)
    draws = np.clip(np.random.default_rng(0).normal(middle, error, 400000), 0, 1)
    away = np.abs(np.rad2deg(np.arccos(draws) - np.arccos(middle)))
    half = inclination_error(np.array([cosine]), np.array([error]))[0]
    assert half > 1
    assert np.mean(away < half - 0.1) < 0.6827 < np.mean(away < half + 0.1)


@pytest.mark.parametrize("cosine", [0.2, 0.4, 0.6, 0.8])
def test_the_error_of_an_inclination_holds_as_many_truths_as_that_of_its_cosine(cosine):
    """Truths are between 0 and 1, whatever a normal distribution with their scatter says."""
    truth = np.random.default_rng(1).uniform(max(0, cosine - 0.3), min(1, cosine + 0.3), 100000)
    error = np.quantile(np.abs(truth - cosine), 0.6827)
    half = inclination_error(np.array([cosine]), np.array([error]))[0]
    away = np.abs(np.rad2deg(np.arccos(truth) - np.arccos(cosine)))
    assert 0.6 <= np.mean(away <= half) <= 0.76


def test_an_angle_that_is_not_known_has_the_error_of_a_random_one(standin):
    found = standin.detected(5)
    found.errors[:] = [[1.0], [40.0], [1e3], [1e6], [1e9]]
    table = made(standin, found)
    np.testing.assert_allclose(table["pa_error"][1:].value, 0.6827 * 180, rtol=0.01)
    assert all(np.isfinite(table[name]).all() for name in table.colnames if name.endswith("_error"))
    assert (table["inclination_error"] <= 90 * u.deg).all()
    angle, error = vector_angle(np.array([[-1.0], [0.0]]), np.array([[0.3], [0.01]]))
    assert angle[0] == 180 and error[0] == pytest.approx(np.rad2deg(0.01), rel=1e-3)


@pytest.mark.parametrize("turn", [0.0, 35.0, 200.0])
def test_turning_the_sky_turns_position_angles(standin, turn):
    plain, turned = (made(standin, cube=standin.Cube(turn=angle)) for angle in (0.0, turn))
    np.testing.assert_allclose((turned["pa"] - plain["pa"]).value % 360, turn % 360, atol=0.02)
    theta = np.rad2deg(np.arctan2(*standin.detected().detections.values[:, [4, 3]].T))
    np.testing.assert_allclose((plain["pa"].value - theta + 90 + 180) % 360, 180, atol=0.02)
    np.testing.assert_allclose(turned["hi_size"], plain["hi_size"])


def test_flags_say_where_a_galaxy_is_and_what_it_is_near(standin):
    cube = standin.Cube(shape=(100, 50, 54))
    cube.data[30:33, 30, 30] = np.nan
    rms = np.full(100, standin.rms)
    rms[60], rms[70] = np.nan, 0.0
    found = standin.detected(8)
    found.detections.values[:, :3] = 2.0, 0.0, np.log(9)
    found.detections.values[7, 0] = 8.0
    found.detections.centre[:] = [
        [9, 20, 20], [50, 20, 6], [34, 34, 26], [30, 15, 20], [38, 15.5, 21], [49, 15, 20], [54, 40, 40], [20, 40, 40]
    ]  # fmt: skip
    flags = made(standin, found, cube, standin.Noise(rms))["flags"]
    assert [int(flag) for flag in flags] == [EDGE, EDGE, INVALID, BLENDED, BLENDED, 0, BLANK, OUTSIDE]
    found.detections.centre[:, 0] = [20, 66, 40, 43, 53, 76, 78, 87]
    flags = made(standin, found, cube, standin.Noise(rms))["flags"]
    assert [bool(flag & BLANK) for flag in flags] == [False, True, False, False, True, True, False, False]
    wide = make_catalogue(found, cube, standin.flat(cube), standin.model(beam=[4.0, 5.0]))
    assert (wide["flags"] & OUTSIDE).all()


def test_units_ucds_and_descriptions_are_told_and_an_empty_table_has_all_of_them(standin):
    full, empty = (made(standin, standin.detected(n), name="a.fits", matched_snr=np.arange(float(n))) for n in (3, 0))
    assert empty.colnames == full.colnames and len(empty) == 0
    for name in full.colnames:
        assert full[name].info.meta["ucd"] and full[name].info.description
        assert (full[name].unit, full[name].dtype, full[name].info.meta) == (
            empty[name].unit, empty[name].dtype, empty[name].info.meta,
        )  # fmt: skip
    assert full["matched_snr"].tolist() == [0, 1, 2] and "matched_snr" not in made(standin).colnames
    assert full.meta["SPECTRAL"] == "FREQ, LSRK" and full.meta["RESTFRQ"] == standin.rest
    assert len(to_sdc2(empty)) == 0 and list(to_sdc2(empty)) == Sdc2.names()


def test_the_submission_earns_the_full_score_as_its_own_truth(standin):
    table = made(standin, cube=standin.Cube(crval=(180.0, -30.0)))
    official = to_sdc2(table)
    assert score_sdc2(official, official).score == pytest.approx(len(table))
    table["w20"][3] = np.nan
    assert len(to_sdc2(table)) == len(table) - 1


@pytest.mark.parametrize("n", [0, 5])
def test_all_formats_hold_the_same_catalogue(standin, tmp_path, n):
    table = made(standin, standin.detected(n))
    for suffix in ("fits", "ecsv", "vot"):
        write_galaxies(table, tmp_path / f"a.{suffix}")
        back = read_catalogue(tmp_path / f"a.{suffix}")
        assert back.colnames == table.colnames and back.meta == table.meta
        for name in table.colnames:
            assert (back[name].unit or u.one) == (table[name].unit or u.one)
            assert np.array_equal(np.asarray(back[name]), np.asarray(table[name])), (suffix, name)
            assert back[name].info.meta["ucd"] == table[name].info.meta["ucd"]
    write_galaxies(table, tmp_path / "a.csv")
    write_galaxies(table, tmp_path / "a.reg")
    assert (tmp_path / "a.reg").read_text().count("ellipse(") == n
    write_galaxies(table, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text().split("\n")[0] == " ".join(Sdc2.names())
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.txt", Sdc2), to_sdc2(table), check_dtype=False)


def test_catalogues_of_cubes_are_joined_with_unique_ids(standin):
    tables = [
        made(standin, standin.detected(n), first=first, name=name)
        for n, first, name in ((3, 1, "a.fits"), (2, 4, "longer-name.fits"))
    ]
    table = join_catalogues(tables)
    assert table["id"].tolist() == [1, 2, 3, 4, 5] and table["cube"][4] == "longer-name.fits"
    assert table["line_flux"].unit == u.Jy * u.Hz and table["z"].info.meta["ucd"] == "pos.cartesian.z"


def test_formats_by_name_or_suffix():
    names = {
        "a.fits": "fits",
        "a.ecsv": "ecsv",
        "a.vot": "votable",
        "a.csv": "csv",
        "a.txt": "sdc2",
        "a.reg": "regions",
    }
    assert {name: galaxy_format(name) for name in names} == names
    assert galaxy_format("a.dat", "sdc2") == "sdc2"
    for path, fmt, word in (("a.txt", "sdc1", "SDC1"), ("a.docx", None, "docx"), ("a.fits", "excel", "excel")):
        with pytest.raises(UserError, match=rf"^{path}: .*{word}.*; .*\.$"):
            galaxy_format(path, fmt)
