"""A catalogue says on the sky what the detections say in pixels, whatever the projection, unit or file format."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from pipeline.data.background import Background
from pipeline.detect.calibrate import Calibrated
from pipeline.detect.catalogue import (
    BLENDED,
    EDGE,
    INVALID,
    OUTSIDE,
    UNSEEN,
    detection_format,
    make_catalogue,
    to_sdc1,
    write_detections,
)
from pipeline.detect.columns import join_catalogues
from pipeline.detect.continuum import CLASSES, NAMES, VALUES, PixelBeam, gaussian_ellipse, to_objects
from pipeline.detect.head import Layout
from pipeline.detect.image import ContinuumImage, MemoryReader
from pipeline.detect.predict import Detections
from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.geometry import convolve, ellipse_to_sky, pixel_to_sky
from pipeline.sky.headers import Beam

SHAPE, RMS = (120, 140), 2e-6
BEAM = PixelBeam(4.0, 3.0, 30.0)
POSITIONS = {"plain": (150.0, -30.0), "meridian": (0.0, 10.0), "pole": (30.0, 90.0)}


def sky(crval=(150.0, -30.0), turn=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], crval, [70.0, 60.0]
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = rotation @ np.diag([-2e-4, 2e-4])
    wcs.wcs.set()
    return wcs


def image(wcs=None, data=None, attenuation=None):
    wcs = wcs or sky()
    axes = ([BEAM.major], [BEAM.minor], [BEAM.theta])
    middle = ([(SHAPE[1] - 1) / 2], [(SHAPE[0] - 1) / 2])
    major, minor, pa = (float(part[0]) for part in ellipse_to_sky(wcs, *middle, *axes))
    beam = Beam(major / 3600, minor / 3600, pa)
    edges = tuple(np.array([0, side]) for side in SHAPE)
    background = Background(SHAPE, edges, np.zeros((1, 1)), np.full((1, 1), RMS))
    if attenuation is not None:
        attenuation = MemoryReader(np.asarray(attenuation, "f4"), wcs, None, "beam.fits")
    data = np.zeros(SHAPE, "f4") if data is None else data
    return ContinuumImage(MemoryReader(data, wcs, beam, "image.fits"), background, attenuation)


def model(**trained):
    layout = Layout(VALUES, CLASSES, (2, 2), (1.6, 1.6, 2.0, 2.0, -0.5, -1.0, 0.0, 0.0, 0.3), (1.0,) * 9)
    detector = SimpleNamespace(network=SimpleNamespace(field=(21, 21)), layout=layout, names=NAMES)
    return SimpleNamespace(detector=detector, trained={"beam": [3.0, 4.0], **trained})


def detected(n=40, seed=0):
    """Detections at random places away from the border, with random parameters and errors."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, n)
    widths = -np.sort(-random.uniform(-1, 1, (2, n)), axis=0)
    values = [*random.uniform(1, 5, (2, n)), *widths, np.cos(angle), np.sin(angle), random.uniform(0, 1, n)]
    found = Detections(
        logit=random.normal(size=n),
        centre=random.uniform(20, np.array(SHAPE) - 21, (n, 2)),
        size=random.uniform(4, 8, (n, 2)),
        values=np.stack(values, axis=1),
        width=random.uniform(0.05, 0.2, (n, 9)),
        classes=random.normal(size=(n, 3)),
        rms=np.full(n, RMS),
    )
    return Calibrated(found, random.uniform(0.5, 1, n), random.uniform(0.01, 0.05, (n, 9)))


@pytest.mark.parametrize("position", POSITIONS)
def test_what_a_truth_table_shows_comes_back_from_the_catalogue(position):
    """`continuum.to_objects` takes official columns to pixels; `to_sdc1` brings them back."""
    wcs = sky(POSITIONS[position], turn=20.0)
    seen, found = image(wcs), detected()
    truth = to_sdc1(make_catalogue(found, seen, model()))
    truth["size"] = np.arange(len(truth)) % 3 + 1
    objects = to_objects(truth, wcs, seen.beam, RMS)
    logits = np.where(np.arange(3) == objects.label[:, None], 9.0, 0.0)
    fields = vars(found.detections) | {"centre": objects.centre, "values": objects.values, "classes": logits}
    again = to_sdc1(make_catalogue(Calibrated(Detections(**fields), found.probability, found.errors), seen, model()))
    for name in ("ra_cent", "dec_cent"):
        np.testing.assert_allclose(again[name], truth[name], rtol=0, atol=1e-9)
    major, minor, _ = gaussian_ellipse(truth)
    np.testing.assert_allclose(again["flux"], truth["flux"], rtol=1e-9)
    np.testing.assert_allclose(again["b_maj"], major, rtol=1e-9)
    np.testing.assert_allclose(again["b_min"], minor, rtol=1e-9)
    np.testing.assert_allclose((again["pa"] - truth["pa"] + 90) % 180, 90, atol=1e-6)
    np.testing.assert_allclose(again["core_frac"], truth["core_frac"])
    assert (again["class"] == truth["class"]).all() and (again["size"] == 2).all()
    if position == "meridian":
        assert truth["ra_cent"].min() < 1 and truth["ra_cent"].max() > 359


def test_fitted_sizes_are_the_deconvolved_ones_seen_with_the_beam():
    table, seen = make_catalogue(detected(), image(), model()), image()
    own = (table[name].value for name in ("deconvolved_major", "deconvolved_minor", "deconvolved_pa"))
    major, minor, pa = convolve(*own, seen.reader.beam)
    np.testing.assert_allclose(table["major"].value, major, rtol=1e-4)
    np.testing.assert_allclose(table["minor"].value, minor, rtol=1e-4)
    np.testing.assert_allclose((table["pa"].value - pa + 90) % 180, 90, atol=0.05)
    assert (table["major"] >= table["minor"]).all() and (table["minor"] > table["deconvolved_minor"]).all()


def test_errors_are_the_scatter_of_what_is_drawn_from_them():
    one, draws = detected(1, seed=3), 4000
    random = np.random.default_rng(5)
    table = make_catalogue(one, image(), model())
    parts = {name: np.repeat(part, draws, axis=0) for name, part in vars(one.detections).items()}
    noise = random.normal(size=(draws, 9)) * one.errors
    parts["centre"], parts["values"] = parts["centre"] + noise[:, :2], parts["values"] + noise[:, 2:]
    many = Calibrated(Detections(**parts), np.ones(draws), np.repeat(one.errors, draws, axis=0))
    drawn = make_catalogue(many, image(), model())
    arcsec = {"ra": np.cos(table["dec"][0].to_value(u.rad)) * 3600, "dec": 3600.0}
    sizes = ("major", "minor", "pa", "deconvolved_major", "deconvolved_minor", "deconvolved_pa")
    for name in ("ra", "dec", "flux", "peak_flux", *sizes, "core_fraction"):
        part = np.asarray(getattr(drawn[name], "value", drawn[name]))
        if name.endswith("pa"):
            part = (part - np.asarray(table[name].value) + 90) % 180
        error = table[f"{name}_error"][0]
        scatter = np.diff(np.quantile(part, [0.1587, 0.8413]))[0] / 2 * arcsec.get(name, 1.0)
        assert getattr(error, "value", error) == pytest.approx(scatter, rel=0.12), name


def test_an_angle_that_is_not_known_has_the_error_of_a_random_one():
    found = detected(6)
    found.errors[:] = [[1.0], [40.0], [1e3], [1e3], [1e3], [1e4]]
    found.errors[:, 6:8] = 40.0
    table = make_catalogue(found, image(), model())
    random = 0.6827 * 90 * u.deg
    assert np.allclose(table["deconvolved_pa_error"], random, rtol=0.01) and (table["pa_error"] <= random).all()
    assert all(np.isfinite(table[name]).all() for name in table.colnames if name.endswith("_error"))


@pytest.mark.parametrize("turn", [0.0, 35.0, 90.0])
def test_turning_the_sky_turns_position_angles(turn):
    plain, turned = (make_catalogue(detected(), image(sky(turn=angle)), model()) for angle in (0.0, turn))
    for name in ("pa", "deconvolved_pa"):
        np.testing.assert_allclose((turned[name] - plain[name] - turn * u.deg + 90 * u.deg).value % 180, 90, atol=0.01)
    np.testing.assert_allclose(turned["major"], plain["major"], rtol=1e-6)
    np.testing.assert_allclose(turned["flux"], plain["flux"])


def test_the_primary_beam_divides_fluxes_but_not_peaks():
    place = np.indices(SHAPE)[1]
    pattern = np.where(place < 60, 0.5, np.where(place < 80, 0.05, np.nan))
    plain, divided = (make_catalogue(detected(), image(attenuation=part), model()) for part in (None, pattern))
    x = plain["x"].value
    near, weak, beyond = x < 58, (x > 61) & (x < 78), x > 81
    assert near.any() and weak.any() and beyond.any()
    np.testing.assert_allclose(divided["flux"][near], 2 * plain["flux"][near])
    np.testing.assert_allclose(divided["flux_error"][weak], 20 * plain["flux_error"][weak], rtol=1e-6)
    assert np.isnan(divided["flux"][beyond]).all()
    np.testing.assert_allclose(divided["peak_flux"], plain["peak_flux"])
    unseen = (divided["flags"] & UNSEEN) > 0
    assert not unseen[near].any() and unseen[weak].all() and unseen[beyond].all()
    assert not (plain["flags"] & UNSEEN).any()
    assert np.isfinite(to_sdc1(divided)["flux"]).all() and len(to_sdc1(divided)) == np.isfinite(divided["flux"]).sum()


def test_the_primary_beam_is_read_where_there_are_sources(monkeypatch):
    pattern = np.random.default_rng(0).uniform(0.2, 1, SHAPE)
    seen, parts = image(attenuation=pattern), []
    read = seen.attenuation.read
    seen.attenuation.read = lambda section: parts.append(read(section).size) or read(section)
    y, x = np.random.default_rng(1).uniform(-0.5, np.array(SHAPE) - 0.5, (200, 2)).T
    monkeypatch.setattr("pipeline.detect.image.TILE", 16)
    slow = map_coordinates(pattern.astype("f4"), [y, x], order=1, mode="nearest")
    np.testing.assert_allclose(seen.attenuation_at(*pixel_to_sky(seen.reader.wcs, x, y)), slow, rtol=1e-4)
    assert max(parts) == 17**2
    outside = pixel_to_sky(seen.reader.wcs, np.array([-2.0, 5.0]), np.array([5.0, SHAPE[0] + 0.1]))
    assert np.isnan(seen.attenuation_at(*outside)).all()


def test_flags_say_where_a_source_is_and_what_it_is_near():
    data = np.zeros(SHAPE, "f4")
    data[60:64, 100:104] = np.nan
    found = detected(6)
    found.detections.centre[:] = [[9, 70], [11, 70], [60, 94], [60, 60], [62, 62], [90, 30]]
    found.detections.values[:, :2], found.detections.values[5, 0] = 2.0, 8.0
    bits = make_catalogue(found, image(data=data), model())["flags"]
    assert [int(flag) for flag in bits] == [EDGE | BLENDED, BLENDED, INVALID, BLENDED, BLENDED, OUTSIDE]
    found.detections.centre[2, 1] = 90
    wide = make_catalogue(found, image(data=data), model(beam=[4.6, 4.7]))["flags"]
    assert ((wide & OUTSIDE) > 0).all() and not (wide & INVALID).any()


def test_units_ucds_and_descriptions_are_told_and_an_empty_table_has_all_of_them():
    full = make_catalogue(detected(3), image(), model(), name="a.fits")
    empty = make_catalogue(detected(0), image(), model(), name="a.fits")
    assert empty.colnames == full.colnames and len(empty) == 0
    for name in full.colnames:
        assert full[name].info.meta["ucd"] and full[name].info.description
        assert (full[name].unit, full[name].dtype, full[name].info.meta) == (
            empty[name].unit, empty[name].dtype, empty[name].info.meta,
        )  # fmt: skip
    sums = sum(full[f"p_{name}"] for name in CLASSES)
    np.testing.assert_allclose(sums, 1)
    assert len(to_sdc1(empty)) == 0 and list(to_sdc1(empty)) == Sdc1.names()


@pytest.mark.parametrize("n", [0, 5])
def test_all_formats_hold_the_same_catalogue(tmp_path, n):
    table = make_catalogue(detected(n), image(), model())
    for suffix in ("fits", "ecsv", "vot"):
        write_detections(table, tmp_path / f"a.{suffix}")
        back = read_catalogue(tmp_path / f"a.{suffix}")
        assert back.colnames == table.colnames and back.meta == table.meta
        for name in table.colnames:
            assert (back[name].unit or u.one) == (table[name].unit or u.one)
            assert np.array_equal(np.asarray(back[name]), np.asarray(table[name])), (suffix, name)
            assert back[name].info.meta["ucd"] == table[name].info.meta["ucd"]
    write_detections(table, tmp_path / "a.reg")
    assert (tmp_path / "a.reg").read_text().count("ellipse(") == n
    write_detections(table, tmp_path / "a.dat", "sdc1")
    official = to_sdc1(table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.dat", Sdc1), official, check_dtype=False)
    if n:
        plain = np.loadtxt(tmp_path / "a.dat", skiprows=1)
        np.testing.assert_array_equal(plain, official.to_numpy(float))


def test_catalogues_of_images_are_joined_with_unique_ids():
    tables = [
        make_catalogue(detected(n), image(), model(), first=first, name=name)
        for n, first, name in ((3, 1, "a.fits"), (0, 4, "empty-sky.fits"), (2, 4, "longer-name.fits"))
    ]
    table = join_catalogues(tables)
    assert table["id"].tolist() == [1, 2, 3, 4, 5]
    assert table["image"].tolist() == ["a.fits"] * 3 + ["longer-name.fits"] * 2
    assert table["flux"].unit == u.Jy and table["flux"].info.meta["ucd"] == tables[0]["flux"].info.meta["ucd"]
    assert table.meta == tables[0].meta


def test_formats_by_name_or_suffix():
    names = {
        "a.fits": "fits",
        "a.ecsv": "ecsv",
        "a.vot": "votable",
        "a.csv": "csv",
        "a.txt": "sdc1",
        "a.reg": "regions",
    }
    assert {name: detection_format(name) for name in names} == names
    assert detection_format("a.dat", "votable") == "votable"
    for path, fmt, word in (("a.txt", "sdc2", "SDC2"), ("a.docx", None, "docx"), ("a.fits", "excel", "excel")):
        with pytest.raises(UserError, match=rf"^{path}: .*{word}.*; .*\.$"):
            detection_format(path, fmt)
