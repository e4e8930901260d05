import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.simulate.continuum import primary_beam, simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.match import match_noise
from pipeline.simulate.morphology import components, splat
from pipeline.simulate.noise import NoisePower, autocorrelation, covariance, distance, measure, white_beam
from pipeline.simulate.populations import COLUMNS
from pipeline.simulate.render import Gaussians, render
from pipeline.sky.frame import read_frame, write_frame

QUIET = 1e-12  # Jy/beam: noise that no source notices
BEAM_AREA = np.pi / (4 * np.log(2)) * (1.5 / 0.6) ** 2  # pixels
ALONE = {"catalogue_area": 1e6, "rms": QUIET, "jitter": 0.0}


def field(seed=1, **changes):
    settings = {"shape": (160, 200)} | {name: value for name, value in changes.items() if name != "noise_power"}
    return simulate(ContinuumSettings(**settings), seed, noise=changes.get("noise_power"))


def one_source(**changes):
    row = dict.fromkeys(COLUMNS, 0.0) | {"flux_jy": 1e-3, "size_class": 2, "source_class": 3} | changes
    return pd.DataFrame([row])


def alone(source, **changes):
    """A field that holds one copy of `source`, well inside, and none at its borders."""
    settings = ContinuumSettings(**({"shape": (120, 120)} | ALONE | changes))
    density = settings.catalogue_area / (120 * settings.pixel_arcsec / 3600) ** 2
    for seed in range(200):
        made = simulate(settings.model_copy(update={"density": density}), seed, catalogue=source)
        if len(made.truth) != 1 or not made.truth[["x", "y"]].stack().between(40, 80).all():
            continue
        border = made.frame.data.copy()
        border[15:-15, 15:-15] = 0
        if border.max() < 1e-6:
            return made
    raise AssertionError("no field held one source")


def gaussians(n, rng, shape):
    size = rng.uniform(0.1, 6.0, (2, n))
    size[:, 0] = 70.0
    return Gaussians(
        rng.uniform(-10, np.array(shape) + 10, (n, 2)),
        10 ** rng.uniform(-6, -3, n),
        covariance(size.max(axis=0), size.min(axis=0), rng.uniform(0, 180, n)),
    )


def test_fast_rendering_is_the_slow_sum():
    rng, shape = np.random.default_rng(1), (60, 90)
    beam = covariance(3.0, 2.5, 20.0)
    sources = gaussians(80, rng, shape)
    fast = render(sources, shape, beam, tolerance=1e-9)
    slow = render(sources, shape, beam, tolerance=1e-9, exact=True)
    np.testing.assert_allclose(fast, slow, atol=80 * 1e-9, rtol=2e-4)
    assert slow.max() > 1e-4


def test_rendering_flips_with_its_sources():
    rng, shape = np.random.default_rng(2), (50, 70)
    beam = covariance(3.0, 3.0, 0.0)
    sources = gaussians(30, rng, shape)
    sign = np.array([[1, -1], [-1, 1]])
    flipped = Gaussians(
        np.stack([sources.centre[:, 0], 69 - sources.centre[:, 1]], axis=1), sources.flux, sources.covariance * sign
    )
    image, mirror = (render(each, shape, beam, tolerance=1e-10) for each in (sources, flipped))
    np.testing.assert_allclose(mirror, image[:, ::-1], atol=1e-8)


@pytest.mark.parametrize(("major", "minor"), [(0.0, 0.0), (2.0, 1.0), (4.0, 4.0)])
def test_peak_over_flux_of_a_gaussian_is_the_closed_form(major, minor):
    made = alone(one_source(b_maj_arcsec=major, b_min_arcsec=minor))
    peak = np.sqrt(1.5**4 / ((1.5**2 + major**2) * (1.5**2 + minor**2)))
    x, y = made.truth[["x", "y"]].to_numpy()[0]
    dy, dx = round(y) - y, round(x) - x
    # The pixel nearest to the centre is a fraction of a pixel off the peak: bounds by the beam.
    assert made.frame.data.max() <= 1e-3 * peak * (1 + 1e-4)
    assert made.frame.data.max() >= 1e-3 * peak * np.exp(-4 * np.log(2) * (dy**2 + dx**2) * 0.36 / 1.5**2) * 0.999
    assert made.frame.data.sum() / BEAM_AREA == pytest.approx(1e-3, rel=2e-3)


@pytest.mark.parametrize(("size_class", "core"), [(1, 0.2), (3, 0.0)])
def test_flux_and_centroid_of_lobes_and_discs(size_class, core):
    source = one_source(b_maj_arcsec=6.0, b_min_arcsec=2.0, size_class=size_class, core_frac=core, source_class=1)
    made = alone(source)
    image, (x, y) = made.frame.data.astype(float), made.truth[["x", "y"]].to_numpy()[0]
    assert image.sum() / BEAM_AREA == pytest.approx(1e-3, rel=3e-3)
    rows, columns = np.indices(image.shape)
    assert (image * rows).sum() / image.sum() == pytest.approx(y, abs=0.02)
    assert (image * columns).sum() / image.sum() == pytest.approx(x, abs=0.02)
    # The major axis lies at theta = -pa, from +x towards +y.
    xx, yy = columns - x, rows - y
    moments = [(image * product).sum() for product in (xx * xx, xx * yy, yy * yy)]
    theta = np.degrees(0.5 * np.arctan2(2 * moments[1], moments[0] - moments[2]))
    turned = (theta + made.truth["pa_deg"].iat[0] + 90) % 180 - 90
    assert abs(turned) < 2


def test_disc_is_the_exponential_smoothed_by_the_beam():
    source = one_source(b_maj_arcsec=5.0, b_min_arcsec=5.0, size_class=3)
    made = components(source, np.array([[30.0, 30.0]]), 0.6, 0.42, np.random.default_rng(0))[0]
    beam = covariance(2.5, 2.5, 0.0)
    image = render(made, (61, 61), beam, tolerance=1e-12)
    fine = (np.arange(61 * 5) - 152) / 5
    disc = np.exp(-np.hypot(fine[:, None], fine[None, :]) / (5.0 * 0.42 / 0.6))
    disc = disc.reshape(61, 5, 61, 5).sum(axis=(1, 3)) / disc.sum() * 1e-3
    kernel = render(
        Gaussians(np.array([[30.0, 30.0]]), np.array([1.0]), np.zeros((1, 2, 2))), (61, 61), beam, tolerance=1e-12
    )
    smooth = np.fft.ifft2(np.fft.fft2(disc) * np.fft.fft2(np.fft.ifftshift(kernel))).real
    np.testing.assert_allclose(image, smooth, atol=0.012 * smooth.max())


def test_half_light_diameter_of_a_disc_is_the_width_that_scorers_compare():
    source = one_source(b_maj_arcsec=20.0, b_min_arcsec=20.0, size_class=3)
    made = components(source, np.array([[150.0, 150.0]]), 0.6, 0.42, np.random.default_rng(0))[0]
    image = render(made, (301, 301), covariance(2.5, 2.5, 0.0), tolerance=1e-12)
    away = np.hypot(*(np.indices(image.shape) - 150))
    assert image[away < 20.0 * np.sqrt(2) / 2 / 0.6].sum() / image.sum() == pytest.approx(0.5, abs=0.01)


def test_noise_of_a_field_has_the_asked_texture():
    made = field(shape=(500, 500), density=0.0, beam_arcsec=(2.4, 1.5, 30.0))
    assert made.frame.data.std() == pytest.approx(2.55e-7, rel=0.03)
    # Position angle 30 east of north is 120 from +x towards +y.
    expected = white_beam((4.0, 2.5, 120.0))
    np.testing.assert_allclose(autocorrelation(made.frame.data, 4), expected.correlation[12:21, 12:21], atol=0.04)


def test_measured_noise_replaces_the_beam():
    power = NoisePower(white_beam((5.0, 5.0, 0.0)).correlation, 1e-5, 1e-5)
    made = field(shape=(400, 400), noise="measured", noise_power=power, density=0.0)
    assert made.frame.data.std() == pytest.approx(1e-5, rel=0.06)
    assert distance(measure(made.frame.data, 5.0), power) < 0.05
    with pytest.raises(UserError, match="measured"):
        field(noise="measured")


def test_matched_noise_leaves_room_for_faint_sources():
    settings = ContinuumSettings(shape=(512, 512), flux_limit=0.4)
    real = simulate(settings, 9)
    target = measure(real.frame.data, 2.5)
    assert target.rms > 1.03 * settings.rms
    noise = match_noise(settings, target, seed=20, rounds=2)
    assert noise.rms == pytest.approx(settings.rms, rel=0.02)
    again = measure(simulate(settings, 30, noise=noise).frame.data, 2.5)
    assert again.rms == pytest.approx(target.rms, rel=0.02)
    assert distance(again, target) < 0.02


def test_same_seed_same_field_and_sources_do_not_change_with_the_noise():
    one, two, other = field(), field(), field(seed=2)
    np.testing.assert_array_equal(one.frame.data, two.frame.data)
    pd.testing.assert_frame_equal(one.truth, two.truth)
    assert not np.array_equal(one.frame.data, other.frame.data)
    tilted = field(rms_gradient=3.0)
    pd.testing.assert_frame_equal(one.truth, tilted.truth)


def test_truth_has_its_columns_and_lies_in_the_image():
    made = field(flux_limit=0.5)
    assert list(made.truth.columns) == [*COLUMNS, "x", "y", "attenuation"]
    assert made.truth["x"].between(-0.5, 199.5).all()
    assert made.truth["y"].between(-0.5, 159.5).all()
    x, y = made.frame.wcs.wcs_world2pix(made.truth["ra_cent"], made.truth["dec_cent"], 0)
    np.testing.assert_allclose(x, made.truth["x"], atol=1e-6)
    np.testing.assert_allclose(y, made.truth["y"], atol=1e-6)
    assert made.truth["id"].is_unique
    assert (made.truth["attenuation"] == 1).all()
    # Sources are where the truth says: the brightest stand above everything at their pixel.
    for row in made.truth.nlargest(5, "flux_jy").itertuples():
        near = made.frame.data[max(round(row.y) - 1, 0) :, max(round(row.x) - 1, 0) :][:3, :3]
        assert near.max() > 5 * 2.55e-7


def test_primary_beam_dims_the_image_and_not_the_truth():
    plain, dimmed = field(density=0.5, rms=1e-9), field(density=0.5, rms=1e-9, primary_beam=0.02)
    pd.testing.assert_frame_equal(plain.truth.drop(columns="attenuation"), dimmed.truth.drop(columns="attenuation"))
    y, x = (np.rint(dimmed.truth[name]).astype(int).to_numpy() for name in "yx")
    np.testing.assert_allclose(dimmed.primary_beam[y, x], dimmed.truth["attenuation"], atol=0.02)
    bright = plain.frame.data > 1e-5
    np.testing.assert_allclose((dimmed.frame.data / plain.frame.data)[bright], dimmed.primary_beam[bright], atol=0.03)
    half = primary_beam(ContinuumSettings(shape=(101, 201), primary_beam=100 * 0.6 / 3600, primary_beam_offset=(0, 50)))
    assert half[50, 150] == 1
    assert half[50, 100] == half[50, 200] == pytest.approx(0.5)


def test_background_and_gradient():
    flat, raised = field(), field(background_offset=-2.0)
    np.testing.assert_allclose(raised.frame.data - flat.frame.data, -2 * 2.55e-7, rtol=1e-3, atol=1e-12)
    tilted = field(density=0.0, rms_gradient=4.0, shape=(300, 300))
    assert tilted.rms.max() / tilted.rms.min() == pytest.approx(4.0, rel=0.01)
    strong = tilted.rms > np.median(tilted.rms)
    assert tilted.frame.data[strong].std() > 1.3 * tilted.frame.data[~strong].std()


def test_sidelobes_surround_bright_sources_and_leave_their_peak():
    changes = {"rms": 1e-9, "flux_limit": 1e3, "density": 3.0}
    clean, dirty = field(**changes), field(**changes, sidelobes=0.1)
    residual = dirty.frame.data - clean.frame.data
    brightest = clean.truth.nlargest(1, "flux_jy").iloc[0]
    scale = 0.1 * brightest["flux_jy"]
    assert 0.005 * scale < residual.std() < 0.3 * scale
    assert abs(residual.mean()) < 0.5 * residual.std()


def test_only_sources_above_a_flux_have_sidelobes():
    changes = {"rms": 1e-9, "flux_limit": 1e3, "density": 3.0}
    clean = field(**changes)
    brightest = clean.truth["flux_jy"].max() / 1e-9
    bare = field(**changes, sidelobes=0.1, sidelobes_above=1.01 * brightest)
    np.testing.assert_array_equal(bare.frame.data, clean.frame.data)
    assert np.any(field(**changes, sidelobes=0.1, sidelobes_above=0.99 * brightest).frame.data != clean.frame.data)


def test_a_broader_response_dilutes_a_point_and_keeps_its_sum():
    sharp, broad = alone(one_source()), alone(one_source(), broadening=1.4)
    assert broad.frame.data.max() / sharp.frame.data.max() == pytest.approx(1 / 1.4, rel=0.03)
    assert broad.frame.data.sum() == pytest.approx(sharp.frame.data.sum(), rel=3e-3)


@pytest.mark.parametrize("scale", [0.3, 0.6])
def test_a_disc_is_as_large_as_its_scale(scale):
    source = one_source(b_maj_arcsec=2.0, b_min_arcsec=2.0, size_class=3)
    made = alone(source, disc_scale=scale, beam_arcsec=(0.9, 0.9, 0.0))
    x, y = made.truth[["x", "y"]].to_numpy()[0]
    rows, columns = np.indices(made.frame.data.shape)
    near = made.frame.data * (np.hypot(rows - y, columns - x) < 25)
    seen = (near * (rows - y) ** 2).sum() / near.sum()
    # An exponential disc has a variance of 3 scale lengths squared along an axis, the beam adds its own.
    assert seen - 1.5**2 / (8 * np.log(2)) == pytest.approx(3 * (scale * 2.0 / 0.6) ** 2, rel=0.05)


def test_frame_is_written_and_read_back(tmp_path):
    made = field()
    write_frame(tmp_path / "field.fits", made.frame)
    back = read_frame(tmp_path / "field.fits")
    np.testing.assert_array_equal(back.data, made.frame.data)
    assert str(back.unit) == "Jy / beam"
    assert back.beam.major == pytest.approx(1.5 / 3600)
    assert back.header["RESTFRQ"] == 560e6
    x, y = back.wcs.wcs_world2pix(made.truth["ra_cent"], made.truth["dec_cent"], 0)
    np.testing.assert_allclose(np.stack([x, y]), made.truth[["x", "y"]].to_numpy().T, atol=1e-6)


def test_bootstrapped_fields_keep_the_density_of_the_catalogue():
    catalogue = field(shape=(400, 400), flux_limit=1.0).truth
    again = simulate(ContinuumSettings(shape=(300, 300)), 3, catalogue=catalogue).truth
    assert len(again) == pytest.approx(len(catalogue) * 9 / 16, rel=0.15)
    with pytest.raises(UserError, match="area"):
        simulate(ContinuumSettings(shape=(30, 30)), 3, catalogue=catalogue.head(1))


def test_real_shapes_keep_flux_centroid_and_angle(tmp_path):
    picture = np.zeros((40, 100), dtype=np.float32)
    picture[18:22, 10:90] = 1.0
    picture[18:22, 70:90] = 5.0
    fits.writeto(tmp_path / "jet.fits", picture)
    source = one_source(b_maj_arcsec=12.0, b_min_arcsec=3.0, size_class=1, source_class=1, core_frac=0.1)
    made = alone(source, shapes=str(tmp_path), shapes_share=1.0)
    image, row = made.frame.data.astype(float), made.truth.iloc[0]
    rows, columns = np.indices(image.shape)
    assert image.sum() / BEAM_AREA == pytest.approx(1e-3, rel=3e-3)
    assert (image * rows).sum() / image.sum() == pytest.approx(row["y"], abs=0.05)
    assert (image * columns).sum() / image.sum() == pytest.approx(row["x"], abs=0.05)
    assert row["b_min_arcsec"] == pytest.approx(12.0 * 4 / 80)
    xx, yy = columns - row["x"], rows - row["y"]
    moments = [(image * product).sum() for product in (xx * xx, xx * yy, yy * yy)]
    theta = np.degrees(0.5 * np.arctan2(2 * moments[1], moments[0] - moments[2]))
    assert abs((theta + row["pa_deg"] + 90) % 180 - 90) < 2


def test_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no FITS"):
        field(shapes=str(tmp_path))
    (tmp_path / "broken.fits").write_text("nothing")
    with pytest.raises(UserError, match="cannot be read"):
        field(shapes=str(tmp_path))


def test_splat_shares_flux_linearly():
    canvas = np.zeros((5, 6))
    splat(canvas, np.array([[1.25, 2.5], [-0.5, 0.0], [4.0, 5.0]]), np.array([4.0, 2.0, 1.0]))
    expected = np.zeros((5, 6))
    expected[1, 2:4], expected[2, 2:4], expected[0, 0], expected[4, 5] = 1.5, 0.5, 1.0, 1.0
    np.testing.assert_allclose(canvas, expected)


@pytest.mark.parametrize(
    "wrong",
    [{"shape": (4, 100)}, {"beam_arcsec": (1.0, 2.0, 0.0)}, {"beam_arcsec": (0.6, 0.6, 0.0)}, {"flux_max": 1e-9}],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValidationError):
        ContinuumSettings(**wrong)
