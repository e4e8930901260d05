"""Sources put into frames: they are where and what the truth says, nothing else changes, and all their flux comes."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field
from pipeline.simulate.insert import insert
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.sky.geometry import sky_to_pixel
from pipeline.sky.window import FrameReader

SIZE = {"shape": (96, 120), "beam_arcsec": (1.8, 1.4, 30.0)}
# As many sources as a deep field has, all of them smaller than the beam: none has two lobes at random.
FULL = ContinuumSettings(**SIZE, density=4.0, size_factor=0.3)
EMPTY = ContinuumSettings(**SIZE, density=0.0)
BRIGHT = {"flux_range": (1e-4, 1e-4)}


@pytest.fixture
def frame(tmp_path):
    """An image of noise, its path and its pixels."""
    path = tmp_path / "noise.fits"
    save_field(simulate(EMPTY, 3), path)
    return path


def put(frame, seed=1, block=1 << 22, name="out", **settings):
    """The truth, and what was added, in Jy/beam."""
    out, truth = frame.with_name(f"{name}.fits"), frame.with_name(f"{name}.csv")
    insert(frame, out, truth, InsertSettings(**settings), seed, block=block)
    before, after = (fits.getdata(path).astype(float) for path in (frame, out))
    return pd.read_csv(truth, float_precision="round_trip"), after - before


def area(path):
    with FrameReader(path) as reader:
        return Plane.of(reader).beam_area


def test_the_rows_of_a_simulated_field_make_that_field(frame, tmp_path):
    full = simulate(FULL, 3)
    save_field(full, tmp_path / "full.fits", tmp_path / "full.csv")
    truth, light = put(frame, sources=str(tmp_path / "full.csv"), in_place=True)
    inner = (slice(24, -24), slice(24, -24))  # sources beyond the border reach in, and are in no truth
    sky = full.frame.data - fits.getdata(frame).astype(float)
    assert sky[inner].max() > 20 * FULL.rms
    np.testing.assert_allclose(light[inner], sky[inner], atol=0.02 * FULL.rms)
    np.testing.assert_allclose(truth["flux_jy"], full.truth["flux_jy"], rtol=1e-12)
    np.testing.assert_allclose(truth[["x", "y"]], full.truth[["x", "y"]], atol=1e-6)


def test_the_truth_has_the_detectors_columns_and_the_light_its_flux_and_places(frame):
    truth, light = put(frame, n=3, apart=12, **BRIGHT)
    official = read_table(frame.with_name("out.csv"), Sdc1(560), truth=True)
    assert light.sum() / area(frame) == pytest.approx(official["flux"].sum(), rel=1e-4)
    with FrameReader(frame) as reader:
        x, y = sky_to_pixel(reader.wcs, official["ra_cent"], official["dec_cent"])
    for row in range(3):
        yy, xx = np.indices(light.shape)
        own = np.hypot(yy - y[row], xx - x[row]) < 12
        share = light * own / (light * own).sum()
        np.testing.assert_allclose([(share * yy).sum(), (share * xx).sum()], [y[row], x[row]], atol=0.01)


def test_blocks_do_not_matter_and_the_seed_does(frame):
    first, light = put(frame, n=20, flux_range=(1e-6, 1e-4))
    again, small = put(frame, n=20, flux_range=(1e-6, 1e-4), block=7 * 120, name="small")
    pd.testing.assert_frame_equal(first, again)
    np.testing.assert_array_equal(light, small)
    other, moved = put(frame, seed=2, n=20, flux_range=(1e-6, 1e-4), name="other")
    assert not np.isclose(first["x"], other["x"]).any()
    assert np.abs(light - moved).max() > 1e-6


def test_what_no_source_reaches_stays_to_the_bit(frame):
    _, light = put(frame, n=1, **BRIGHT)
    assert (light == 0).mean() > 0.8
    before, after = fits.getheader(frame), fits.getheader(frame.with_name("out.fits"))
    assert all(after[key] == before[key] for key in before if key not in ("CHECKSUM", "DATASUM", "EXTEND", ""))
    assert after["INJSEED"] == 1


def test_the_unit_of_the_frame_stays(frame):
    truth, light = put(frame, n=2, **BRIGHT)
    milli = frame.with_name("milli.fits")
    header = fits.getheader(frame)
    header["BUNIT"] = "mJy/beam"
    fits.writeto(milli, fits.getdata(frame) * 1e3, header)
    same, more = put(milli, n=2, **BRIGHT, name="milli_out")
    pd.testing.assert_frame_equal(truth, same)
    np.testing.assert_allclose(more, 1e3 * light, atol=1e-6)


def test_a_flipped_frame_shows_the_flipped_sky(frame, tmp_path):
    flipped, header = frame.with_name("flipped.fits"), fits.getheader(frame)
    header["CDELT1"] = -header["CDELT1"]
    header["CRPIX1"] = header["NAXIS1"] + 1 - header["CRPIX1"]
    fits.writeto(flipped, fits.getdata(frame)[:, ::-1], header)
    save_field(simulate(FULL, 3), tmp_path / "full.fits", tmp_path / "full.csv")
    rows = pd.read_csv(tmp_path / "full.csv").nlargest(30, "flux_jy").assign(b_maj_arcsec=3.0, pa_deg=20.0)
    rows.to_csv(tmp_path / "few.csv", index=False)
    told = {"sources": str(tmp_path / "few.csv"), "in_place": True}
    (truth, light), (same, mirrored) = put(frame, **told), put(flipped, **told, name="mirror")
    np.testing.assert_allclose(mirrored[:, ::-1], light, atol=1e-3 * light.max())
    np.testing.assert_allclose(same["ra_cent"], truth["ra_cent"], atol=1e-9)


def test_invalid_pixels_and_near_neighbours_are_avoided(frame):
    pixels, header = fits.getdata(frame), fits.getheader(frame)
    pixels[:, :90] = np.nan
    holed = frame.with_name("holed.fits")
    fits.writeto(holed, pixels, header)
    truth, _ = put(holed, n=12, apart=2.5, **BRIGHT)
    assert (truth["x"] > 91).all()
    place = truth[["y", "x"]].to_numpy()
    apart = np.hypot(*(place[:, None] - place[None]).T) + 1e9 * np.eye(12)
    assert apart.min() >= 2.5 * np.sqrt(3.0 * 1.4 / 0.6)
    with pytest.raises(UserError, match="has room for"):
        put(holed, n=40, apart=5, **BRIGHT)


def test_a_table_is_used_evenly_and_its_fluxes_are_kept(frame, tmp_path):
    save_field(simulate(FULL, 3), tmp_path / "full.fits", tmp_path / "full.csv")
    rows = pd.read_csv(tmp_path / "full.csv").nlargest(5, "flux_jy")
    rows.to_csv(tmp_path / "few.csv", index=False)
    truth, _ = put(frame, n=10, sources=str(tmp_path / "few.csv"))
    assert (truth["source"].value_counts() == 2).all()
    np.testing.assert_allclose(truth["flux_jy"], rows["flux_jy"].to_numpy()[truth["source"]], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({}, "neither stamps"), ({"sources": "no.csv"}, "does not exist"), ({"stamps": "no.fits"}, "does not exist")],
)
def test_a_mistake_leaves_nothing_behind(frame, settings, words):
    with pytest.raises(UserError, match=words):
        put(frame, **settings)
    assert [path.name for path in frame.parent.iterdir()] == ["noise.fits"]


def test_the_frame_is_not_written_over(frame):
    with pytest.raises(UserError, match="would be lost"):
        insert(frame, frame, frame.with_name("t.csv"), InsertSettings(**BRIGHT), 1)
