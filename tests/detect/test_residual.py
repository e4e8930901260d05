import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from pipeline.detect.comparison import listed
from pipeline.detect.image import ContinuumImage
from pipeline.detect.residual import gaussians, subtract
from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.sky.fitsout import frame_hdus
from pipeline.sky.frame import read_frame, write_frame
from pipeline.sky.window import MissingUnitWarning


@pytest.fixture(scope="module")
def gaussian_sky(tmp_path_factory):
    """A field whose discs are Gaussians as in the truth table, under a primary beam, and the truth without doubles."""
    folder = tmp_path_factory.mktemp("gaussians")
    settings = ContinuumSettings(
        shape=(224, 192), beam_arcsec=(2.0, 1.6, 40.0), size_form="gaussian", primary_beam=0.05, flux_max=1e-4
    )
    field = simulate(settings, 2)
    frame_hdus(field.frame).writeto(folder / "field.fits")
    beam = frame_hdus(field.frame)
    beam[0].data = field.primary_beam
    beam[0].header.remove("BUNIT")
    beam.writeto(folder / "beam.fits")
    field.truth.to_csv(folder / "truth.csv", index=False)
    truth = read_table(folder / "truth.csv", Sdc1(560), truth=True)
    return ContinuumImage.open(folder / "field.fits", folder / "beam.fits"), truth, settings


def test_the_truth_taken_out_leaves_the_noise(gaussian_sky):
    image, truth, settings = gaussian_sky
    before = image.reader.read([slice(None)] * 2)
    residual = subtract(image, truth)
    assert residual.unit == u.Jy / u.beam and residual.data.shape == image.shape
    discs = truth["class"].to_numpy() == 3
    assert discs.mean() > 0.8
    # Robust, since the doubles are no Gaussians and leave something.
    spread = 1.4826 * np.median(np.abs(residual.data - np.median(residual.data)))
    assert spread == pytest.approx(settings.rms, rel=0.05)
    assert abs(np.median(residual.data)) < 0.1 * settings.rms
    flux, centre = truth["flux"].to_numpy(), np.rint(image.objects(truth).centre).astype(int)
    inside = discs & ((centre > 2) & (centre < np.array(image.shape) - 3)).all(1)
    y, x = centre[inside][np.argsort(flux[inside])[-10:]].T[..., None, None]
    stamp = y + np.arange(-2, 3)[:, None], x + np.arange(-2, 3)
    left, was = (np.abs(data[stamp]).max((1, 2)) for data in (residual.data, before))
    assert np.median(left) < 5 * settings.rms < 0.2 * np.median(was)


def test_a_section_is_part_of_the_whole(gaussian_sky, tmp_path):
    image, truth, settings = gaussian_sky
    section = (slice(40, 120), slice(64, 180))
    part, whole = subtract(image, truth, section), subtract(image, truth)
    assert part.data == pytest.approx(whole.data[section], abs=0.02 * settings.rms)
    write_frame(tmp_path / "residual.fits", part)
    again = read_frame(tmp_path / "residual.fits")
    assert again.wcs.wcs_pix2world([[0, 0]], 0) == pytest.approx(image.reader.wcs.wcs_pix2world([[64, 40]], 0))


def test_the_rest_is_taken_out_band_by_band_as_in_one(gaussian_sky, monkeypatch):
    image, truth, settings = gaussian_sky
    whole = subtract(image, truth).data
    monkeypatch.setattr("pipeline.detect.residual._PIXELS_AT_ONCE", 192 * 50)
    assert subtract(image, truth).data == pytest.approx(whole, abs=0.02 * settings.rms)


def test_a_detectors_catalogue_gives_the_same_sources(sky):
    bright = sky.objects.snr > 5
    one, other = gaussians(sky.image, sky.catalogue(bright)), gaussians(sky.image, sky.truth[bright])
    for name in ("centre", "flux", "covariance"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9)
    # The centre of a source is where its peak comes out.
    _, found = listed(sky.truth[bright], sky.image.reader.wcs, sky.image.reader.beam)
    assert one.centre[:, 1] == pytest.approx(found["x"].to_numpy(), abs=1e-9)


def test_nothing_listed_nothing_taken(sky):
    empty = sky.catalogue(np.zeros(len(sky.truth), bool))
    assert (subtract(sky.image, empty).data == sky.image.reader.read([slice(None)] * 2)).all()


def test_rows_without_flux_stay_in(sky):
    table = sky.catalogue(sky.objects.snr > 5)
    table["flux"][0] = np.nan * u.Jy
    assert len(gaussians(sky.image, table).flux) == len(table) - 1
    table.remove_column("flux")
    with pytest.raises(UserError, match="no column flux"):
        subtract(sky.image, table)


def test_an_image_without_a_unit_is_searched_and_emptied_alike(gaussian_sky, tmp_path):
    image, truth, _ = gaussian_sky
    with fits.open(image.path) as hdus:
        hdus[0].header.remove("BUNIT")
        hdus.writeto(tmp_path / "bare.fits")
    with pytest.warns(MissingUnitWarning):
        bare = ContinuumImage.open(tmp_path / "bare.fits", image.attenuation.path)
    np.testing.assert_array_equal(subtract(bare, truth).data, subtract(image, truth).data)
