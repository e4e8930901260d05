"""Galaxies put into cubes, by the laws, from a table and as stamps; however the axes are stored."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.score.sdc2 import Sdc2
from pipeline.score.tables import read_table
from pipeline.simulate.hi import simulate_hi
from pipeline.simulate.hi_files import save_cube
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.insert import insert, open_frame
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_settings import InsertSettings

EMPTY = HiSettings(shape=(60, 40, 44), density=0.0)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cube")
    save_cube(simulate_hi(EMPTY, 3), folder)
    return folder / "cube.fits"


def put(cube, folder, seed=1, block=1 << 22, **settings):
    """The truth, and what was added [Jy/beam], in the order of the file."""
    out, truth = folder / "out.fits", folder / "out.csv"
    insert(cube, out, truth, InsertSettings(**settings), seed, block=block)
    before, after = (fits.getdata(path).astype(float) for path in (cube, out))
    return pd.read_csv(truth), after - before


def galaxy(cube, folder, **columns):
    """A table of one galaxy in the middle of the cube, at a position angle of 30 degrees."""
    with open_frame(cube) as reader:
        ra, dec, frequency = (float(part[0]) for part in reader.to_sky(*np.array([[30.0], [20.0], [21.0]])))
    row = {"id": 0, "ra": ra, "dec": dec, "hi_size": 20.0, "line_flux_integral": 100.0, "central_freq": frequency}
    row |= {"pa": 30.0, "i": 60.0, "w20": 200.0} | columns
    pd.DataFrame([row]).to_csv(folder / "one.csv", index=False)
    return str(folder / "one.csv")


def moments(light):
    """Centroid (z, y, x), and the direction (y, x) towards lower channels, which recede."""
    share = light / light.sum()
    axes = np.indices(light.shape)
    centre = np.array([(share * part).sum() for part in axes])
    z, y, x = (part - middle for part, middle in zip(axes, centre, strict=True))
    return centre, -np.array([(share * z * y).sum(), (share * z * x).sum()])


def test_a_galaxy_has_its_flux_place_and_turn(cube, tmp_path):
    truth, light = put(cube, tmp_path, sources=galaxy(cube, tmp_path), in_place=True)
    with open_frame(cube) as reader:
        area = Plane.of(reader).beam_area
    assert light.sum() * 30e3 / area == pytest.approx(100, rel=2e-3)
    centre, away = moments(light)
    np.testing.assert_allclose(centre[1:], [20, 21], atol=0.6)  # it is lopsided
    np.testing.assert_allclose(centre[0], 30, atol=0.6)
    # Position angle 30: between north, +y, and east, -x.
    assert np.degrees(np.arctan2(-away[1], away[0])) == pytest.approx(30, abs=8)
    official = read_table(tmp_path / "out.csv", Sdc2(), truth=True)
    assert official["line_flux_integral"][0] == 100
    assert truth["z"][0] == pytest.approx(30)


def turned(cube, folder):
    """The same cube with falling frequencies and the sky turned by 90 degrees, in mJy/beam."""
    header, data = fits.getheader(cube), fits.getdata(cube)
    new = header.copy()
    new["CDELT3"], new["CRPIX3"] = -header["CDELT3"], data.shape[0] + 1 - header["CRPIX3"]
    new["BUNIT"] = "mJy/beam"
    for one, other in (("1", "2"), ("2", "1")):
        for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT"):
            new[key + one] = header[key + other]
    fits.writeto(folder / "turned.fits", 1e3 * data[::-1].transpose(0, 2, 1), new)
    return folder / "turned.fits"


def test_axes_and_unit_of_the_file_do_not_matter(cube, tmp_path):
    (tmp_path / "a").mkdir()
    told = {"sources": galaxy(cube, tmp_path), "in_place": True}
    truth, light = put(cube, tmp_path, **told)
    same, other = put(turned(cube, tmp_path), tmp_path / "a", block=5 * 40 * 44, **told)
    np.testing.assert_allclose(1e-3 * other[::-1].transpose(0, 2, 1), light, atol=2e-3 * light.max())
    pd.testing.assert_frame_equal(truth, same, rtol=1e-6, atol=1e-6)


def test_galaxies_of_the_laws_fill_a_cube_and_the_seed_decides(cube, tmp_path):
    first, light = put(cube, tmp_path, n=3, flux_range=(50, 200))
    again, same = put(cube, tmp_path, n=3, flux_range=(50, 200), block=7 * 40 * 44)
    pd.testing.assert_frame_equal(first, again)
    np.testing.assert_array_equal(light, same)
    assert first["line_flux_integral"].between(50, 200).all()
    assert (put(cube, tmp_path, seed=2, n=3)[0]["x"] != first["x"]).all()


def test_stamps_of_cubes_keep_their_lines(cube, tmp_path):
    z, y, x = np.indices((15, 21, 21)) - np.array([7, 10, 10])[:, None, None, None]
    # It turns: towards +x, which is west, the line is at lower channels, so it recedes there.
    stamp = np.exp(-(((z + 0.5 * x) / 2.0) ** 2) / 2 - (y**2 + x**2) / (2 * 2.5**2))
    stamps = (stamp / stamp.sum())[None] * 1e-3
    header = fits.Header({"BUNIT": "Jy/pixel", "PIXSCALE": 2.8, "CTYPE3": "FREQ", "CDELT3": 30e3})
    fits.writeto(tmp_path / "stamps.fits", stamps.astype("f4"), header)
    truth, light = put(cube, tmp_path, n=1, seed=5, stamps=str(tmp_path / "stamps.fits"))
    with open_frame(cube) as reader:
        area = Plane.of(reader).beam_area
    assert truth["line_flux_integral"][0] == pytest.approx(30, rel=1e-4)
    inside = 7 <= truth["z"][0] < 52
    assert not inside or light.sum() * 30e3 / area == pytest.approx(30, rel=2e-3)
    assert truth["pa"][0] == pytest.approx(270, abs=1)
    assert truth["hi_size"][0] == pytest.approx(2.355 * 2.5 * 2.8, rel=0.02)
    header["CDELT3"] = 60e3
    fits.writeto(tmp_path / "stamps.fits", stamps.astype("f4"), header, overwrite=True)
    with pytest.raises(UserError, match="stamps of the same channels"):
        put(cube, tmp_path, n=1, stamps=str(tmp_path / "stamps.fits"))


def test_beams_of_channels_are_kept(cube, tmp_path):
    with fits.open(cube) as hdus:
        columns = [fits.Column("BMAJ", "E", "arcsec", array=np.full(60, 7.0)) for _ in range(1)]
        columns += [fits.Column("BMIN", "E", "arcsec", array=np.full(60, 7.0))]
        columns += [fits.Column("BPA", "E", "deg", array=np.zeros(60))]
        beams = fits.BinTableHDU.from_columns(columns, name="BEAMS")
        fits.HDUList([fits.PrimaryHDU(hdus[0].data, hdus[0].header), beams]).writeto(tmp_path / "beams.fits")
    insert(tmp_path / "beams.fits", tmp_path / "o.fits", tmp_path / "o.csv", InsertSettings(n=1), 1)
    with fits.open(tmp_path / "o.fits") as hdus:
        assert hdus["BEAMS"].data["BMAJ"].tolist() == [7.0] * 60
        hdus.verify("exception")
