"""Region files: what is written is what another program reads."""

import re

import numpy as np
import pytest
from astropy.wcs import WCS

from pipeline.errors import UserError
from pipeline.sky.geometry import ellipse_to_pixel
from pipeline.sky.regions import write_regions

RA, DEC = np.array([0.00001, 359.99999, 180.0]), np.array([-30.0, 0.0, 89.9])
MAJOR, MINOR, PA = np.array([3.0, 12.5, 2.0]), np.array([2.0, 7.25, 2.0]), np.array([0.0, 45.0, 170.0])
ELLIPSE = re.compile(r'ellipse\(([\d.-]+),([\d.-]+),([\d.e-]+)",([\d.e-]+)",([\d.]+)\) # text=\{(.*)\}')


def test_ellipses_are_written_in_icrs(tmp_path):
    path = tmp_path / "out.reg"
    write_regions(path, RA, DEC, MAJOR, MINOR, PA, ["a", "b {1}\nx", 3])
    head, *lines = path.read_text().splitlines()
    assert head == "# Region file format: DS9 version 4.1" and "icrs" in lines
    rows = [found.groups() for found in map(ELLIPSE.fullmatch, lines) if found]
    numbers = np.array([row[:5] for row in rows], float).T
    np.testing.assert_allclose(numbers, [RA, DEC, MAJOR / 2, MINOR / 2, (PA + 90) % 180], atol=1e-8)
    assert [row[5] for row in rows] == ["a", "b (1) x", "3"]


def test_regions_package_reads_them(tmp_path):
    regions = pytest.importorskip("regions", reason="needs the package regions")
    write_regions(tmp_path / "out.reg", RA, DEC, MAJOR, MINOR, PA, "abc")
    found = regions.Regions.read(tmp_path / "out.reg", format="ds9")
    assert [region.meta["text"] for region in found] == list("abc")
    np.testing.assert_allclose([region.center.icrs.ra.deg for region in found], RA, atol=1e-8)
    np.testing.assert_allclose([region.center.icrs.dec.deg for region in found], DEC, atol=1e-8)
    np.testing.assert_allclose([region.width.to_value("arcsec") for region in found], MAJOR)
    np.testing.assert_allclose([region.height.to_value("arcsec") for region in found], MINOR)
    np.testing.assert_allclose([region.angle.to_value("deg") for region in found], (PA + 90) % 180)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (180.0, 89.9)
    wcs.wcs.cdelt = (-1e-4, 1e-4)
    drawn = found[2].to_pixel(wcs)
    _, _, theta = ellipse_to_pixel(wcs, [drawn.center.x], [drawn.center.y], [2.0], [1.0], PA[2:])
    assert abs((drawn.angle.to_value("deg") - theta[0] + 90) % 180 - 90) < 0.01


def test_no_sources_no_size_and_no_position(tmp_path):
    path = tmp_path / "out.reg"
    write_regions(path, *np.zeros((5, 0)))
    assert path.read_text().endswith("icrs\n")
    write_regions(path, [1.0, np.nan], [2.0, 3.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0], ["", "lost"])
    assert path.read_text().splitlines()[3:] == ["point(1.00000000,2.00000000)"]
    before = path.read_text()
    with pytest.raises(UserError, match="no source has a position"):
        write_regions(path, np.full(3, np.nan), DEC, MAJOR, MINOR, PA)
    assert path.read_text() == before
