"""Stamps in an image: the difference kernel gives them the beam, flux and place stay, noise can be clipped."""

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field
from pipeline.simulate.insert import insert
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.simulate.insert_stamps import NoisyStampsWarning
from pipeline.sky.geometry import FWHM
from pipeline.sky.window import FrameReader

PIXEL, BEAM = 0.6, (1.8, 1.4, 30.0)
EMPTY = ContinuumSettings(shape=(64, 72), beam_arcsec=BEAM, density=0.0)


def gaussian(shape, major, minor, theta=0.0, offset=(0.0, 0.0)):
    """A Gaussian of sum 1 and standard deviations in pixels, theta from +x to +y [deg]."""
    y, x = (np.indices(shape).T - (np.array(shape) - 1) / 2 - offset).T
    c, s = np.cos(np.radians(theta)), np.sin(np.radians(theta))
    picture = np.exp(-(((c * x + s * y) / major) ** 2 + ((c * y - s * x) / minor) ** 2) / 2)
    return (picture / picture.sum()).astype(np.float32)


@pytest.fixture
def frame(tmp_path):
    path = tmp_path / "noise.fits"
    save_field(simulate(EMPTY, 3), path)
    return path


def put(frame, stamps, name="out", seed=1, cards=None, **settings):
    path = frame.with_name("stamps.fits")
    header = {"BUNIT": "Jy/pixel", "PIXSCALE": PIXEL, "PSFFWHM": 0.0} | (cards or {})
    fits.writeto(path, np.asarray(stamps, np.float32), fits.Header(header.items()), overwrite=True)
    told = InsertSettings(stamps=str(path), **({"n": 1} | settings))
    out = frame.with_name(f"{name}.fits")
    truth = insert(frame, out, frame.with_name(f"{name}.csv"), told, seed)
    return truth, fits.getdata(out).astype(float) - fits.getdata(frame)


def seen(frame, truth, square):
    """The image of a Gaussian of covariance `square` (y, x) [pixels^2] without the beam, at its place."""
    with FrameReader(frame) as reader:
        plane = Plane.of(reader)
    total = square + plane.beam
    yy, xx = np.indices(EMPTY.shape, float)
    away = np.stack([yy - truth["y"][0], xx - truth["x"][0]], axis=-1)
    form = np.exp(-np.einsum("yxi,ij,yxj->yx", away, np.linalg.inv(total), away) / 2)
    return truth["flux_jy"][0] * np.sqrt(np.linalg.det(plane.beam) / np.linalg.det(total)) * form


# A stamp of larger pixels must have a PSF, or its pixels do not hold what it shows.
@pytest.mark.parametrize(("scale", "psf"), [(0.6, 0.0), (0.6, 1.2), (0.37, 0.0), (0.37, 1.2), (0.75, 1.2)])
def test_a_gaussian_stamp_becomes_the_gaussian_that_the_beam_shows(frame, scale, psf):
    # What the stamp shows is a galaxy of 2.4 x 1.2 arcsec (standard deviations 1.02, 0.51) behind its PSF.
    width = np.sqrt(np.array([2.4, 1.2]) ** 2 + psf**2) / FWHM / scale
    stamp = 1e-4 * gaussian((41, 40), *width, theta=20)
    truth, light = put(frame, stamp[None], cards={"PIXSCALE": scale, "PSFFWHM": psf})
    intrinsic = np.array([2.4, 1.2]) / FWHM / PIXEL
    along = np.array([np.sin(np.radians(20)), np.cos(np.radians(20))])
    across = np.array([along[1], -along[0]])
    square = intrinsic[0] ** 2 * np.outer(along, along) + intrinsic[1] ** 2 * np.outer(across, across)
    true = seen(frame, truth, square)
    np.testing.assert_allclose(light, true, atol=3e-3 * true.max())
    assert truth["flux_jy"][0] == pytest.approx(1e-4, rel=1e-5)
    assert truth["b_maj_arcsec"][0] == pytest.approx(2.4, rel=0.01)
    assert truth["b_min_arcsec"][0] == pytest.approx(1.2, rel=0.02)
    # An angle of 20 degrees from west to north is one of 160 clockwise from west.
    assert truth["pa_deg"][0] == pytest.approx(160, abs=1)


def test_a_stamp_of_the_frames_own_beam_is_only_moved(frame):
    widths = np.array(BEAM[:2]) / PIXEL / FWHM
    stamp = gaussian((33, 33), *widths, theta=BEAM[2] + 90)
    truth, light = put(
        frame,
        stamp[None],
        cards={"BMAJ": BEAM[0] / 3600, "BMIN": BEAM[1] / 3600, "BPA": BEAM[2]},
        flux_range=(1e-4, 1e-4),
    )
    true = seen(frame, truth, np.zeros((2, 2)))
    np.testing.assert_allclose(light, true, atol=3e-3 * true.max())
    assert truth["b_maj_arcsec"][0] < 0.3


def test_a_broader_psf_is_refused_in_a_sentence(frame):
    with pytest.raises(UserError, match=r"PSF of 2 arcsec, which the beam of 1.59 arcsec does not contain"):
        put(frame, gaussian((33, 33), 3, 3)[None], cards={"PSFFWHM": 2.0})
    with pytest.raises(UserError, match="does not contain"):
        put(frame, gaussian((33, 33), 3, 3)[None], cards={"PSFFWHM": 1.6})  # broader than the minor axis


def test_flux_is_kept_for_any_picture_and_asked_for_when_the_unit_says_nothing(frame):
    random = np.random.default_rng(0)
    stamps = random.random((4, 16, 17)) * gaussian((16, 17), 3, 3)
    with FrameReader(frame) as reader:
        area = Plane.of(reader).beam_area
    whole = 0
    for seed in range(6):
        truth, light = put(frame, stamps, seed=seed)
        np.testing.assert_allclose(truth["flux_jy"], stamps.sum((1, 2))[truth["source"]], rtol=1e-5)
        place = truth[["y", "x"]].to_numpy()[0]
        if (place > 16).all() and (place < np.array(EMPTY.shape) - 17).all():
            whole += 1
            assert light.sum() / area == pytest.approx(truth["flux_jy"][0], rel=1e-3)
    assert whole
    with pytest.raises(UserError, match="give --flux-range"):
        put(frame, stamps, cards={"BUNIT": "count"})
    truth, _ = put(frame, stamps, cards={"BUNIT": "count"}, flux_range=(1e-5, 1e-4), n=9)
    assert truth["flux_jy"].between(1e-5, 1e-4).all()


def test_jansky_per_beam_is_understood(frame):
    stamp = gaussian((33, 33), 2.5, 2.5)
    area = 2 * np.pi * (1.2 / FWHM / PIXEL) ** 2
    truth, _ = put(frame, stamp[None] * 1e-4 * area, cards={"BUNIT": "Jy/beam", "PSFFWHM": 1.2})
    assert truth["flux_jy"][0] == pytest.approx(1e-4, rel=1e-4)


def test_noise_is_told_and_clipped(frame):
    noise = 1e-7 * np.random.default_rng(0).standard_normal((40, 40))
    stamp = 1e-4 * gaussian((40, 40), 2, 2) + noise
    with pytest.warns(NoisyStampsWarning, match="--clip"):
        put(frame, stamp[None], cards={"RMS": 1e-7})
    truth, light = put(frame, stamp[None], cards={"RMS": 1e-7}, clip=4.0)
    # What a Gaussian has below a level is that level's share of its peak; the truth is what was put in.
    assert truth["flux_jy"][0] == pytest.approx(1e-4 * (1 - 4e-7 * 2 * np.pi * 2**2 / 1e-4), rel=0.02)
    far = np.hypot(*(np.indices(light.shape).T - truth[["y", "x"]].to_numpy()[0]).T) > 16
    # Between the points of a spline ringing stays far below what noise would be.
    assert np.abs(light[far]).max() < 1e-9


@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        (np.full((1, 8, 8), np.nan), "invalid pixels"),
        (np.zeros((2, 8, 8)), "no light in stamp 0"),
        (np.ones((2, 3, 8, 8)), "holds no stamps of 2 axes"),
    ],
)
def test_stamps_that_are_none_are_refused(frame, stamps, words):
    with pytest.raises(UserError, match=words):
        put(frame, stamps)
