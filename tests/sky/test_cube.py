"""A reader of cubes gives the same voxels and the same sky, however the file orders its axes."""

import gzip
import itertools
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SpectralCoord
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.cube import CubeReader, ManyBeamsWarning
from pipeline.sky.headers import Beam, NoWCSWarning
from pipeline.sky.spectral_axis import HI_HZ, RestFrequencyWarning
from pipeline.sky.window import MissingUnitWarning

SHAPE = (7, 11, 13)
LIGHT = 299792458.0
WHOLE = (slice(None),) * 3
SECTION = (slice(1, 5), slice(2, 9), slice(6, 13))
AXES = {
    "f": {"CTYPE": "FREQ", "CRVAL": 1.41e9, "CDELT": 2e4, "CRPIX": 3.0, "CUNIT": "Hz"},
    "y": {"CTYPE": "DEC--SIN", "CRVAL": -30.0, "CDELT": 1e-3, "CRPIX": 5.0, "CUNIT": "deg"},
    "x": {"CTYPE": "RA---SIN", "CRVAL": 180.0, "CDELT": -1e-3, "CRPIX": 6.0, "CUNIT": "deg"},
    "s": {"CTYPE": "STOKES", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0},
}
CARDS = {"BUNIT": "Jy/beam", "BMAJ": 3e-3, "BMIN": 2e-3, "BPA": 20.0, "RESTFRQ": 1.42e9, "SPECSYS": "BARYCENT"}
REAL = Path(__file__).parents[3] / "shared" / "data"


def voxels():
    data = np.random.default_rng(1).normal(size=SHAPE).astype("f4")
    data[2, 3, 4] = np.nan
    return data


def header(order="fyx", spectral=(), without=(), **changes):
    """Cards of axes in NumPy order."""
    cards = dict(CARDS)
    for number, name in enumerate(reversed(order), 1):
        axis = AXES[name] | (dict(spectral) if name == "f" else {})
        cards |= {f"{key}{number}": value for key, value in axis.items() if value is not None}
    return fits.Header({key: value for key, value in (cards | changes).items() if key not in without})


def store(path, data=None, cards=None, *more):
    fits.HDUList([fits.PrimaryHDU(voxels() if data is None else data, cards or header()), *more]).writeto(path)
    return path


def refusal(path, **options):
    with pytest.raises(UserError) as caught:
        CubeReader(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "order", ["".join(order) for order in itertools.permutations("fyx")] + ["sfyx", "fsyx", "yxfs"]
)
@pytest.mark.parametrize("falling", [False, True])
def test_the_order_of_the_file_does_not_matter(tmp_path, order, falling):
    data = voxels()
    stored = data[::-1] if falling else data
    spectral = {"CDELT": -2e4, "CRPIX": SHAPE[0] + 1 - 3.0} if falling else {}
    full = np.transpose(stored[None], ["sfyx".index(name) for name in "s" * ("s" not in order) + order])
    full = full if "s" in order else full[0]
    with CubeReader(store(tmp_path / "a.fits", full, header(order, spectral))) as cube:
        assert cube.shape == SHAPE and cube.beam == Beam(3e-3, 2e-3, 20.0) and cube.unit == u.Jy / u.beam
        for section in (WHOLE, SECTION, (slice(3, 3), *SECTION[1:])):
            part = cube.read(section)
            assert part.dtype == np.float32 and part.dtype.isnative and part.flags.c_contiguous
            np.testing.assert_array_equal(part, data[section])
        np.testing.assert_allclose(cube.frequency, 1.41e9 + 2e4 * (np.arange(7) - 2), rtol=1e-14)
        np.testing.assert_allclose(cube.channel_hz, 2e4, rtol=1e-9)
        assert cube.wcs.naxis == 2 and cube.wcs.wcs.lng == 0 and cube.pixel_scale == pytest.approx(1e-3)
        ra, dec, frequency = cube.to_sky(np.array([2.0, 4.5]), np.array([4.0, 7.0]), np.array([5.0, 1.5]))
        np.testing.assert_allclose([ra[0], dec[0], frequency[0]], [180.0, -30.0, 1.41e9], rtol=1e-12)
        assert ra[1] > 180.0 and dec[1] > -30.0 and frequency[1] == pytest.approx(1.41e9 + 5e4, abs=1e-3)
        np.testing.assert_allclose(cube.stored_channel([0, 6]), [6, 0] if falling else [0, 6])


def test_positions_return_from_the_sky(tmp_path):
    spectral = {"CTYPE": "VOPT", "CRVAL": 3e6, "CDELT": 8e5, "CUNIT": "m/s"}
    place = [np.random.default_rng(2).uniform(-3, size + 3, 40) for size in SHAPE]
    with CubeReader(store(tmp_path / "a.fits", None, header("fyx", spectral))) as cube:
        np.testing.assert_allclose(cube.from_sky(*cube.to_sky(*place)), place, atol=1e-6)
        np.testing.assert_allclose(cube.to_sky(np.arange(7), np.zeros(7), np.zeros(7))[2], cube.frequency, rtol=1e-15)


SPECTRAL = {
    "FREQ in MHz": {"CTYPE": "FREQ", "CRVAL": 1410.0, "CDELT": 0.02, "CUNIT": "MHz"},
    "FREQ without a unit": {"CTYPE": "FREQ", "CUNIT": None},
    "VRAD": {"CTYPE": "VRAD", "CRVAL": 2e6, "CDELT": -8e5, "CUNIT": "m/s"},
    "VOPT": {"CTYPE": "VOPT", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"},
    "VOPT in km/s": {"CTYPE": "VOPT", "CRVAL": 2e3, "CDELT": 8e2, "CUNIT": "km/s"},
    "VOPT-F2W": {"CTYPE": "VOPT-F2W", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"},
    "VELO": {"CTYPE": "VELO", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"},
    "VELO-F2V": {"CTYPE": "VELO-F2V", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"},
}


@pytest.mark.parametrize("name", SPECTRAL)
def test_frequencies_are_those_of_wcslib(tmp_path, name):
    cards = header("fyx", SPECTRAL[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = WCS(cards).spectral.all_pix2world(np.arange(-0.5, 7.0, 0.5), 0)[0]
    kind = SPECTRAL[name]["CTYPE"][:4]
    if kind != "FREQ":
        definition = {"VRAD": "radio", "VOPT": "optical", "VELO": "relativistic"}[kind]
        speed = SpectralCoord(world, "m/s", doppler_rest=1.42e9 * u.Hz, doppler_convention=definition)
        world = speed.to_value(u.Hz)
    expected, borders = world[1::2], world[::2]
    falling = expected[-1] < expected[0]
    with CubeReader(store(tmp_path / "a.fits", None, cards)) as cube:
        np.testing.assert_allclose(cube.frequency, np.sort(expected), rtol=1e-12)
        np.testing.assert_allclose(cube.channel_hz, np.abs(np.diff(np.sort(borders))), rtol=1e-6)
        np.testing.assert_array_equal(cube.read(WHOLE), voxels()[::-1] if falling else voxels())
        assert SPECTRAL[name]["CTYPE"] in cube.convention and "BARYCENT" in cube.convention


def test_felo_goes_in_equal_steps_of_frequency(tmp_path):
    spectral = {"CTYPE": "FELO-HEL", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"}
    with CubeReader(store(tmp_path / "a.fits", None, header("fyx", spectral, without=("SPECSYS",)))) as cube:
        reference = 1.42e9 / (1 + 2e6 / LIGHT)
        np.testing.assert_allclose(np.diff(cube.frequency), 8e5 / LIGHT * reference**2 / 1.42e9, rtol=1e-6)
        assert cube.frequency[::-1][2] == pytest.approx(reference, rel=1e-14)
        assert "HELIOCEN" in cube.convention


def test_velocities_by_their_definitions(tmp_path):
    with CubeReader(store(tmp_path / "a.fits")) as cube:
        frequency = np.array([1.42e9, 0.71e9])
        np.testing.assert_allclose(cube.velocity(frequency), [0, LIGHT / 1e3])
        np.testing.assert_allclose(cube.velocity(frequency, "radio"), [0, LIGHT / 2e3])
        with pytest.raises(ValueError, match="optical or radio"):
            cube.velocity(frequency, "fast")


@pytest.mark.parametrize(("text", "factor"), [("JY/BEAM", 1), ("mJy/beam", 1e-3), ("beam-1 Jy", 1)])
def test_scales_of_jansky(tmp_path, text, factor):
    with CubeReader(store(tmp_path / "a.fits", None, header(BUNIT=text))) as cube:
        np.testing.assert_allclose(cube.read(SECTION), voxels()[SECTION] * factor, rtol=1e-6)


@pytest.mark.parametrize("order", ["fyx", "xfy"])
def test_kelvin_by_the_rayleigh_jeans_law_of_each_channel(tmp_path, order):
    spectral = {"CDELT": -3e7}
    stored = np.transpose(voxels(), ["fyx".index(name) for name in order])
    with CubeReader(store(tmp_path / "a.fits", stored, header(order, spectral, BUNIT="K"))) as cube:
        area = np.pi * np.deg2rad(3e-3) * np.deg2rad(2e-3) / (4 * np.log(2))
        factor = 2 * 1.380649e-23 * (cube.frequency / LIGHT) ** 2 * area * 1e26
        assert factor[-1] > 1.1 * factor[0]
        np.testing.assert_allclose(cube.read(SECTION), (voxels()[::-1] * factor[:, None, None])[SECTION], rtol=1e-5)
    with CubeReader(tmp_path / "a.fits", unit=None) as cube:
        np.testing.assert_array_equal(cube.read(WHOLE), voxels()[::-1])


def beam_table(major, name="BEAMS"):
    major = np.asarray(major, "f4")
    columns = [("BMAJ", major, "arcsec"), ("BMIN", major / 2, "arcsec"), ("BPA", 0 * major + 10, "deg")]
    columns = [fits.Column(key, "E", unit, array=values) for key, values, unit in columns]
    numbers = [fits.Column(key, "J", array=values) for key, values in (("CHAN", range(7)), ("POL", [0] * 7))]
    return fits.BinTableHDU.from_columns([*columns, *numbers], name=name)


@pytest.mark.parametrize("falling", [False, True])
def test_beams_of_channels_become_the_median_one(tmp_path, falling):
    major = np.array([12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 0.0])  # a blank channel has none
    cards = header("fyx", {"CDELT": -2e4} if falling else {}, without=("BMAJ", "BMIN", "BPA"), CASAMBM=True)
    path = store(tmp_path / "a.fits", None, cards, beam_table(major))
    with pytest.warns(ManyBeamsWarning, match=r"areas differ by \d+ %; the one of median area"):
        cube = CubeReader(path)
    assert (3600 * cube.beam.major, 3600 * cube.beam.minor, cube.beam.pa) == pytest.approx((9.0, 4.5, 10.0))
    with np.errstate(divide="ignore"):
        ratio = np.where(major > 0, (9.0 / major) ** 2, 1.0)
    expected = voxels() * ratio[:, None, None]
    np.testing.assert_allclose(cube.read(WHOLE), expected[::-1] if falling else expected, rtol=1e-6)
    beams = cube.beams[::-1] if falling else cube.beams
    np.testing.assert_allclose(3600 * beams[:6, 0], major[:6], rtol=1e-6)
    assert np.isnan(beams[6]).all()
    given = CubeReader(path, beam=Beam(1e-3, 1e-3))
    assert given.beams is None and given.beam == Beam(1e-3, 1e-3)
    np.testing.assert_array_equal(given.read(WHOLE), voxels()[::-1] if falling else voxels())


def test_bad_tables_of_beams_are_refused(tmp_path):
    cards = header(without=("BMAJ", "BMIN"), CASAMBM=True)
    assert "has no beam" in refusal(store(tmp_path / "a.fits", None, cards))
    assert "has no beam" in refusal(store(tmp_path / "b.fits", None, cards, beam_table(np.zeros(7))))
    short = store(tmp_path / "c.fits", voxels()[:5], cards, beam_table(np.ones(7)))
    assert "table BEAMS of 7 rows for 5 channels" in refusal(short)


def test_no_beam_is_asked_for_on_the_command_line(tmp_path):
    path = store(tmp_path / "a.fits", None, header(without=("BMAJ", "BMIN")))
    assert "has no beam (no BMAJ in its header); give its beam with --beam" in refusal(path)
    assert CubeReader(path, beam=Beam(1e-3, 1e-3)).beam == Beam(1e-3, 1e-3)
    assert CubeReader(path, unit=None).beam is None


def test_rest_frequencies(tmp_path):
    speeds = {"CTYPE": "VRAD", "CRVAL": 2e6, "CDELT": 8e5, "CUNIT": "m/s"}
    with pytest.warns(RestFrequencyWarning, match="that of the 21 cm line is taken"):
        cube = CubeReader(store(tmp_path / "a.fits", None, header("fyx", speeds, without=("RESTFRQ",))))
    assert cube.rest_hz == HI_HZ and "which the header does not tell" in cube.convention
    np.testing.assert_allclose(cube.frequency[::-1], HI_HZ * (1 - (2e6 + 8e5 * (np.arange(7) - 2)) / LIGHT), rtol=1e-13)
    assert CubeReader(store(tmp_path / "b.fits", None, header(without=("RESTFRQ",)))).rest_hz == HI_HZ
    with pytest.warns(RestFrequencyWarning, match="110201 MHz is not that of the 21 cm line"):
        cube = CubeReader(store(tmp_path / "c.fits", None, header(RESTFRQ=110.201e9)))
    assert cube.rest_hz == 110.201e9
    cards = header("fyx", speeds, without=("RESTFRQ",), FREQ0=1.42e9)
    assert CubeReader(store(tmp_path / "d.fits", None, cards)).rest_hz == 1.42e9


@pytest.mark.parametrize(
    ("spectral", "words"),
    [
        ({"CTYPE": "FREQ-LOG"}, "not linear or not known (CTYPE3 is 'FREQ-LOG')"),
        ({"CTYPE": "VOPT-TAB"}, "not linear"),
        ({"CTYPE": "FREQ-W2F"}, "not linear"),
        ({"CTYPE": "WAVE"}, "no axis of frequency or velocity"),
        ({"CTYPE": None}, "no axis of frequency or velocity"),
        ({"CRVAL": None}, "has no CRVAL3 or no step CDELT3"),
        ({"CDELT": 0.0}, "has no CRVAL3 or no step CDELT3"),
        ({"CUNIT": "m/s"}, "CUNIT3 'm/s', which is no unit of frequency"),
        ({"CTYPE": "VRAD"}, "CUNIT3 'Hz', which is no unit of velocity"),
        ({"CTYPE": "VRAD", "CRVAL": 4e8, "CUNIT": "m/s"}, "channels without a positive frequency"),
    ],
)
def test_other_spectral_axes_are_refused(tmp_path, spectral, words):
    assert words in refusal(store(tmp_path / "a.fits", None, header("fyx", spectral)))


def test_files_that_are_no_cube_are_refused(tmp_path):
    path = store(tmp_path / "a.fits")
    (tmp_path / "cut.fits").write_bytes(path.read_bytes()[:-4000])
    assert "is truncated" in refusal(tmp_path / "cut.fits")
    (tmp_path / "cut.fits.gz").write_bytes(gzip.compress(path.read_bytes())[:3000])
    assert "damaged" in refusal(tmp_path / "cut.fits.gz")
    assert "is not a cube" in refusal(store(tmp_path / "plane.fits", voxels()[0], header("yx")))
    stokes = np.stack([voxels()] * 4)
    assert "holds 4 Stokes planes; cut out the one of Stokes I" in refusal(
        store(tmp_path / "s.fits", stokes, header("sfyx"))
    )
    twice = header("fyx", CTYPE2="VRAD")
    assert "several axes of frequency or velocity" in refusal(store(tmp_path / "t.fits", None, twice))


def test_what_is_missing_is_warned_of(tmp_path):
    with pytest.warns(MissingUnitWarning):
        CubeReader(store(tmp_path / "a.fits", None, header(without=("BUNIT",))))
    with pytest.warns(NoWCSWarning, match="positions are in pixels"):
        cube = CubeReader(store(tmp_path / "b.fits", None, header(CTYPE1="LINEAR", CTYPE2="LINEAR")))
    ra, dec, frequency = cube.to_sky(np.arange(3), np.arange(3), np.arange(3))
    assert np.isnan(ra).all() and np.isnan(dec).all() and np.isfinite(frequency).all()
    z, y, x = cube.from_sky(ra, dec, frequency)
    np.testing.assert_allclose(z, np.arange(3), atol=1e-6)
    assert np.isnan(y).all() and np.isnan(x).all()
    np.testing.assert_array_equal(cube.read(WHOLE), voxels())


def test_a_section_of_a_huge_cube_is_read_without_the_rest(tmp_path):
    shape = (2000, 1000, 1000)  # 8 GB, all holes but one row
    top = fits.PrimaryHDU(np.zeros((1, 1, 1), "f4"), header()).header
    top.update({f"NAXIS{axis + 1}": size for axis, size in enumerate(reversed(shape))})
    start = top.tostring().encode()
    path = tmp_path / "huge.fits"
    with open(path, "wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + 4 * int(np.prod(shape)))
        stream.seek(len(start) + 4 * (1500 * 1000 + 700) * 1000)
        stream.write(np.arange(1000, dtype=">f4").tobytes())
    with CubeReader(path) as cube:
        tracemalloc.start()
        part = cube.read((slice(1499, 1501), slice(700, 702), slice(100, 103)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1e6
    np.testing.assert_array_equal(part[1], [[100, 101, 102], [0, 0, 0]])
    assert not part[0].any()


@pytest.mark.parametrize("folder", ["line_cubes", "hi_galaxy_cubes"])
def test_real_cubes_open_and_are_near_the_line(folder):
    paths = sorted((REAL / folder).glob("*.fits.gz"))
    if not paths:
        pytest.skip(f"needs the data of {folder}")
    for path in paths:
        given = Beam(0.0128, 0.0128) if "13co" in path.name else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlemingWarning)
            cube = CubeReader(path, beam=given)
        assert (
            np.all(np.diff(cube.frequency) > 0) and cube.wcs is not None and cube.rest_hz == pytest.approx(HI_HZ, 1e-6)
        )
        np.testing.assert_allclose(cube.channel_hz[1:-1], (cube.frequency[2:] - cube.frequency[:-2]) / 2, rtol=1e-3)
        data = cube.read(WHOLE)
        assert data.shape == cube.shape and np.isfinite(data).mean() > 0.99
        section = tuple(slice(size // 3, size) for size in cube.shape)
        np.testing.assert_array_equal(cube.read(section), data[section])
        middle = np.array(cube.shape)[:, None] / 2
        np.testing.assert_allclose(cube.from_sky(*cube.to_sky(*middle)), middle, atol=1e-5)
