"""Cubelets, maps and spectra say what the cube holds of a galaxy, at the right place of the sky and the line."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from pipeline.errors import UserError
from pipeline.hi.catalogue import make_catalogue
from pipeline.hi.cutout import cut_out
from pipeline.hi.products import FILES, write_products
from pipeline.hi.thumbnails import FILE, thumbnails
from pipeline.sky.geometry import FWHM

SHAPE = (120, 60, 64)
SIGMA = np.sqrt(8 * 7) / 2.8 / FWHM
AREA = 2 * np.pi * SIGMA**2


def noise_like(shape, rms, seed):
    """White noise seen with the beam."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, SIGMA, SIGMA), mode="wrap")
    return rms * noise / noise.std()


def galaxy(shape, centre, theta, channels, radius, flux):
    """A ring that turns, as Jy/beam in channels of which it has `flux` [Jy x channel] in all; theta recedes."""
    random = np.random.default_rng(1)
    turn, angle = random.uniform(0, 2 * np.pi, 6000), np.radians(theta)
    along, aside = radius * np.cos(turn), 0.5 * radius * np.sin(turn)
    place = [
        centre[0] - channels / 2 * np.cos(turn),
        centre[1] + along * np.sin(angle) + aside * np.cos(angle),
        centre[2] + along * np.cos(angle) - aside * np.sin(angle),
    ]
    model = np.zeros(shape)
    np.add.at(model, tuple(np.rint(part).astype(int) for part in place), 1.0)
    model = gaussian_filter(model, (0.7, SIGMA, SIGMA))
    return flux * AREA * model / model.sum()


def scene(standin, flux=800.0, *, theta=20.0, noise=True, **options):
    """A cube with one galaxy, its noise and its catalogue; the flux in units of the rms and a channel."""
    cube, found = standin.Cube(SHAPE, **options), standin.detected(1, shape=SHAPE)
    centre = np.array([58.0, 31.0, 30.0])
    model = galaxy(SHAPE, centre, theta, 30, 3.0, flux)
    grain = noise_like(SHAPE, 1.0, 0) if noise else 0.0
    cube.data = (standin.rms * (model + grain)).astype("f4")
    found.detections.centre[0] = centre
    angle = np.radians(theta)
    found.detections.values[0] = np.log(flux), np.log(3.0), np.log(33.0), np.cos(angle), np.sin(angle), 0.5
    return cube, standin.flat(cube), make_catalogue(found, cube, standin.flat(cube), standin.model())


@pytest.mark.parametrize("kind", ["FREQ", "VOPT"])
def test_the_world_coordinates_of_a_cubelet_are_those_of_the_cube(standin, tmp_path, kind):
    cube, noise, table = scene(standin, kind=kind, falls=True, turn=30.0)
    (folder,) = write_products(table, cube, noise, tmp_path)
    assert folder == tmp_path / "1" and {path.name for path in folder.iterdir()} == set(FILES)
    with fits.open(folder / "cubelet.fits", checksum=True) as hdus:
        data, wcs, header = hdus[0].data, WCS(hdus[0].header), hdus[0].header
    place = np.array([[3, 5, 7], [0, 0, 0], *(np.array(data.shape) // [2, 1, 3] - 1)[None]])
    world = wcs.wcs_pix2world(place[:, ::-1], 0)
    frequency = world[:, 2] if kind == "FREQ" else standin.rest / (1 + world[:, 2] / 299792458.0)
    assert header["CTYPE3"] == kind and header["SPECSYS"] == "LSRK"
    z, y, x = cube.from_sky(world[:, 0], world[:, 1], frequency)
    found = np.rint(np.stack([z, y, x], axis=1)).astype(int)
    np.testing.assert_allclose(np.stack([z, y, x], axis=1), found, atol=1e-4)
    np.testing.assert_array_equal(data[tuple(place.T)], cube.data[tuple(found.T)])
    for name in ("moment0.fits", "moment1.fits"):
        flat = fits.getheader(folder / name)
        assert WCS(flat).naxis == 2 and flat["NAXIS1"] == data.shape[2]
        np.testing.assert_allclose(WCS(flat).wcs_pix2world(place[:, :0:-1], 0), world[:, :2])


def test_maps_and_spectrum_of_a_bright_galaxy_hold_its_flux(standin, tmp_path):
    cube, noise, table = scene(standin, 3e3, falls=True)
    (folder,) = write_products(table, cube, noise, tmp_path)
    flux = 3e3 * standin.rms * 3e4
    with fits.open(folder / "moment0.fits") as hdus:
        assert u.Unit(hdus[0].header["BUNIT"]) == u.Jy / u.beam * u.Hz and hdus[0].header["MASKED"] == "snr"
        assert np.nansum(hdus[0].data) / AREA == pytest.approx(flux, rel=0.1)
        kms = hdus[0].header["KMSFACT"] * flux
    assert kms == pytest.approx(table["line_flux_kms"][0].value, rel=1e-3)
    line = fits.getdata(folder / "spectrum.fits")
    assert line["flux"].sum() * 3e4 == pytest.approx(flux, rel=0.1)
    # The edges of a rotating ring are its peaks.
    bright = line["velocity"][line["flux"] > 0.3 * line["flux"].max()]
    assert np.ptp(bright) == pytest.approx(table["w20"][0].value, rel=0.15)
    mask = fits.getdata(folder / "mask.fits")
    assert set(np.unique(mask)) == {0, 1} and mask.shape == fits.getdata(folder / "cubelet.fits").shape


@pytest.mark.parametrize("theta", [20.0, 130.0, 290.0])
def test_velocities_rise_towards_the_position_angle(standin, tmp_path, theta):
    cube, noise, table = scene(standin, 2e3, theta=theta, turn=40.0, falls=True)
    (folder,) = write_products(table, cube, noise, tmp_path)
    with fits.open(folder / "moment1.fits") as hdus:
        velocity, wcs = hdus[0].data, WCS(hdus[0].header)
    y, x = np.nonzero(np.isfinite(velocity))
    ra, dec = wcs.wcs_pix2world(np.stack([x, y], 1), 0).T
    east = (ra - table["ra"][0].value) * np.cos(np.radians(dec))
    slope = np.linalg.lstsq(np.stack([east, dec - dec.mean(), np.ones(len(x))], 1), velocity[y, x], rcond=None)[0]
    pa = np.rad2deg(np.arctan2(slope[0], slope[1]))
    assert abs((pa - table["pa"][0].value + 180) % 360 - 180) < 6
    assert abs(np.median(velocity[y, x]) - table["velocity"][0].value) < 20
    cut = cut_out(table[0], cube, noise)
    assert np.nanmin(velocity) >= cut.velocity[cut.line].min() and np.nanmax(velocity) <= cut.velocity[cut.line].max()


def test_errors_of_spectra_and_maps_are_the_scatter_of_noise(standin):
    cube, noise, table = scene(standin, noise=False)
    spread, deep, smooth = [], [], []
    for seed in range(6):
        cube.data = noise_like(SHAPE, standin.rms, seed).astype("f4")
        cut = cut_out(table[0], cube, noise)
        flux, error = cut.spectrum
        spread.append(flux / error)
        deep.append(cut.line_map / cut.line_map_error)
        smooth.append(cut.smooth_snr)
        # What is not there has no significant voxels: the maps then are of the whole region.
        assert not cut.significant and (cut.mask == cut.region).all()
    assert np.std(spread) == pytest.approx(1, rel=0.12)
    assert np.std(deep) == pytest.approx(1, rel=0.1) and np.std(smooth) == pytest.approx(1, rel=0.1)


def test_blank_channels_and_pixels_are_blank_in_the_products(standin, tmp_path):
    cube, noise, table = scene(standin)
    noise.rms[50:52] = np.nan
    cube.data[50:52], cube.data[:, 30, 30] = np.nan, np.nan
    (folder,) = write_products(table, cube, noise, tmp_path)
    line = fits.getdata(folder / "spectrum.fits")
    blank = np.isin(np.rint((line["frequency"] - cube.frequency[0]) / 3e4), [50, 51])
    assert blank.sum() == 2 and (np.isnan(line["flux"]) == blank).all() and (np.isnan(line["error"]) == blank).all()
    mask, data = (fits.getdata(folder / name) for name in ("mask.fits", "cubelet.fits"))
    assert not mask[np.isnan(data)].any() and mask.any()
    for name in ("moment0.fits", "moment1.fits"):
        assert (np.isfinite(fits.getdata(folder / name)) == mask.any(0)).all()


@pytest.mark.parametrize("centre", [[0, 0, 0], [119, 59, 63], [60, 0, 30]])
def test_a_galaxy_at_the_border_has_what_is_inside(standin, tmp_path, centre):
    cube, noise, _ = scene(standin)
    found = standin.detected(1)
    found.detections.centre[0] = np.array(centre) + 0.3 * np.sign(np.array(centre) - 30)
    found.detections.values[0, 1:3] = 9.0, 9.0
    table = make_catalogue(found, cube, noise, standin.model())
    (folder,) = write_products(table, cube, noise, tmp_path)
    assert fits.getdata(folder / "cubelet.fits").shape == SHAPE


def test_galaxies_by_id_and_equal_runs_give_equal_files(standin, tmp_path):
    cube, noise, _ = scene(standin)
    table = make_catalogue(standin.detected(4), cube, noise, standin.model(), first=11)
    for name in ("a", "b"):
        made = write_products(table, cube, noise, tmp_path / name, [13, 11])
        assert [path.name for path in made] == ["13", "11"]
        thumbnails(table, cube, noise, tmp_path / name, [12])
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    with pytest.raises(UserError, match=r"no galaxy 3, 9; name ids of it, which has 4 galaxies\."):
        write_products(table, cube, noise, tmp_path, [3, 12, 9])


def test_the_page_of_galaxies_names_what_it_shows(standin, tmp_path):
    cube, noise, table = scene(standin)
    told = thumbnails(table, cube, noise, tmp_path)
    assert told["file"] == FILE and (tmp_path / FILE).stat().st_size > 10_000 and told["title"] == "1 galaxy"
    assert thumbnails(table[:0], cube, noise, tmp_path / "none") is None and not (tmp_path / "none").exists()
    cube.data[:] = np.nan
    thumbnails(table, cube, standin.Noise(np.full(SHAPE[0], np.nan)), tmp_path)
