"""Detecting gives the same sources however the image is stored, cut into tiles, turned or scaled, or says why not."""

import contextlib
import gzip
import logging
import shutil
import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from pipeline.detect import apply
from pipeline.detect.apply import BeamMismatchWarning, EmptySkyWarning, PurityWarning, detect_image, detect_images
from pipeline.detect.continuum import NAMES
from pipeline.detect.image import ContinuumImage, MemoryReader
from pipeline.detect.resample import ResampledReader
from pipeline.detect.texture import NoiseMismatchWarning
from pipeline.detect.train import Names
from pipeline.errors import FlemingWarning, UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.noise import white_beam
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.window import FrameReader

SCALE, FWHM = 1e-3, 2.5  # degrees a pixel, pixels
LEAST = 0.1


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """In half precision sums depend on the shape of what they are part of."""
    monkeypatch.setattr("pipeline.detect.predict.precision", lambda device: contextlib.nullcontext())


@pytest.fixture(scope="module")
def model(random_model):
    return random_model()


def sky(shape=(96, 96), seed=0, rms=1e-6, fwhm=FWHM, sources=10):
    """Noise smoothed by the beam, with point sources and a few longer ones."""
    random = np.random.default_rng(seed)
    noise = gaussian_filter(random.normal(size=shape), fwhm / 2.3548, mode="wrap")
    data, grid = noise / noise.std(), np.indices(shape)
    for number in range(sources):
        y, x = random.uniform(4, np.array(shape) - 4)
        distance = (grid[0] - y) ** 2 + ((grid[1] - x) / (1 + number % 3)) ** 2
        data = data + random.uniform(5, 40) * np.exp(-4 * np.log(2) * distance / fwhm**2)
    return (data * rms).astype("f4")


def store(path, data, without=(), fwhm=FWHM, **changes):
    cards = {
        "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 150.0, "CRVAL2": -30.0, "CUNIT1": "deg", "CUNIT2": "deg",
        "CRPIX1": (data.shape[-1] + 1) / 2, "CRPIX2": (data.shape[-2] + 1) / 2, "CDELT1": -SCALE, "CDELT2": SCALE,
        "BUNIT": "Jy/beam", "BMAJ": fwhm * SCALE, "BMIN": fwhm * SCALE, "BPA": 0.0, "RESTFRQ": 1.4e9,
    }  # fmt: skip
    kept = {key: value for key, value in (cards | changes).items() if key not in without}
    fits.PrimaryHDU(data, fits.Header(kept)).writeto(path, overwrite=True)
    return path


def same(one, other, rtol=1e-4, skip=()):
    """Whether two catalogues hold the same rows, in any order."""
    assert len(one) == len(other) > 5
    one, other = (table[np.lexsort((table["x"].value.round(2), table["y"].value.round(2)))] for table in (one, other))
    for name in one.colnames:
        if name in ("id", "class", *skip):
            continue
        ours, theirs = (np.asarray(getattr(table[name], "value", table[name])) for table in (one, other))
        if name.endswith("pa"):
            theirs = ours + (theirs - ours + 90) % 180 - 90
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-3 if name not in UNSCALED else 0, err_msg=name)


UNSCALED = ("flux", "flux_error", "peak_flux", "peak_flux_error", "local_rms")


def find(path, model, out=None, **options):
    return detect_images([(path, None)], model, [] if out is None else [out], device="cpu", **options)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_tiles_do_not_matter(tmp_path, model, symmetric):
    image = ContinuumImage.open(store(tmp_path / "a.fits", sky((131, 90))))
    found = [detect_image(image, model, symmetric=symmetric, side=side) for side in (16, 37, 64, 96, None)]
    assert len(found[0].probability) > 20
    for other in found[1:]:
        order = [np.lexsort(part.detections.centre.round(2).T) for part in (found[0], other)]
        for name in ("centre", "values", "classes", "rms", "size"):
            ours, theirs = (
                getattr(part.detections, name)[at] for part, at in zip((found[0], other), order, strict=True)
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[0].probability[order[0]], other.probability[order[1]], atol=1e-4)
        np.testing.assert_allclose(found[0].errors[order[0]], other.errors[order[1]], rtol=1e-3)


@pytest.mark.parametrize("flips", [(0,), (1,), (0, 1)])
def test_a_flipped_sky_gives_a_flipped_catalogue(tmp_path, model, flips):
    data = sky()
    # On the equator a flip of the pixels is one of the sky.
    one = find(store(tmp_path / "a.fits", data, CRVAL2=0.0), model, symmetric=True)
    other = find(store(tmp_path / "b.fits", np.flip(data, flips), CRVAL2=0.0), model, symmetric=True)
    for axis, name in enumerate(("y", "x")):
        if axis in flips:
            other[name] = 95 * u.pix - other[name]
    for name in ("pa", "deconvolved_pa"):
        other[name] = other[name] if len(flips) == 2 else -other[name]
    same(one, other, rtol=2e-3, skip=("ra", "dec"))


@pytest.mark.parametrize("unit", ["mJy/beam", "K", "MJy/sr"])
def test_the_unit_of_the_image_does_not_matter(tmp_path, model, unit):
    data = sky()
    area = np.pi / 4 / np.log(2) * (FWHM * SCALE * u.deg) ** 2
    if unit == "K":
        factor = (1 * u.Jy).to_value(u.K, u.brightness_temperature(1.4e9 * u.Hz, area))
    else:
        factor = (1 * u.Jy / u.beam).to_value(u.Unit(unit), u.beam_angular_area(area))
    one = find(store(tmp_path / "a.fits", data), model)
    other = find(store(tmp_path / "b.fits", (data * factor).astype("f4"), BUNIT=unit), model)
    assert one["flux"].unit == u.Jy and np.median(one["flux"].value) < 1e-3
    same(one, other)


@pytest.mark.parametrize("place", [(0.0, 10.0), (40.0, 89.99), (200.0, -90.0)])
def test_the_place_on_the_sky_does_not_matter(tmp_path, model, place):
    data = sky()
    one = find(store(tmp_path / "a.fits", data), model)
    other = find(store(tmp_path / "b.fits", data, CRVAL1=place[0], CRVAL2=place[1]), model)
    same(one, other, rtol=1e-3, skip=("ra", "dec", "ra_error", "dec_error", "pa", "deconvolved_pa"))
    assert ((other["ra"] >= 0 * u.deg) & (other["ra"] < 360 * u.deg)).all()
    assert np.ptp(other["ra"].value) > 50

    # The same offsets from the reference point, whatever its place.
    def radius(table, ra, dec):
        ra0, dec0 = np.deg2rad([ra, dec])
        ra, dec = table["ra"].to_value(u.rad), table["dec"].to_value(u.rad)
        return np.hypot(
            np.cos(dec) * np.sin(ra - ra0),
            np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0),
        )

    np.testing.assert_allclose(radius(one, 150.0, -30.0), radius(other, *place), rtol=1e-4)


def test_packed_images_and_images_in_memory_give_the_same(tmp_path, model, caplog):
    path = store(tmp_path / "a.fits", sky())
    with open(path, "rb") as plain, gzip.open(tmp_path / "a.fits.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    one = find(path, model)
    with caplog.at_level(logging.INFO, "fleming"):
        same(one, find(tmp_path / "a.fits.gz", model))
    assert "read into memory" in caplog.text and f"{len(one)} sources in" in caplog.text
    image = ContinuumImage.open(path)
    whole = image.reader.read([slice(None)] * 2)
    again = ContinuumImage(MemoryReader(whole, image.reader.wcs, image.reader.beam, "memory"), image.background)
    np.testing.assert_array_equal(detect_image(image, model).probability, detect_image(again, model).probability)


def test_only_sections_are_read(tmp_path, model, monkeypatch):
    shape, parts = (700, 640), []
    path = store(tmp_path / "a.fits", sky(shape))
    pattern = store(tmp_path / "b.fits", np.ones((1500, 1400), "f4"), without=("BUNIT",))
    read = FrameReader.read

    def spy(reader, section):
        pixels = read(reader, section)
        parts.append((reader.path, pixels.size))
        return pixels

    monkeypatch.setattr(FrameReader, "read", spy)
    monkeypatch.setattr("pipeline.data.background._PIXELS_AT_ONCE", 1 << 15)
    monkeypatch.setattr("pipeline.detect.predict._SIDE", {2: 128})
    monkeypatch.setattr("pipeline.detect.texture._BLOCK", 64)
    monkeypatch.setattr("pipeline.detect.image.TILE", 128)
    monkeypatch.setattr("pipeline.detect.catalogue.TILE", 128)
    table = detect_images([(path, pattern)], model, [], device="cpu")
    assert len(table) > 50
    for name, total in ((path, shape[0] * shape[1]), (pattern, 1500 * 1400)):
        sizes = [size for which, size in parts if which == str(name)]
        assert len(sizes) > 3 and max(sizes) < total / 10


@pytest.mark.parametrize("fwhm", [1.25, 5.0, 9.0])
def test_resampled_images_are_catalogued_in_their_own_pixels_and_beam(tmp_path, model, fwhm, caplog):
    data = sky((120, 141), fwhm=fwhm)
    path = store(tmp_path / "a.fits", data, fwhm=fwhm)
    image = ContinuumImage.open(path)
    with caplog.at_level(logging.INFO, "fleming"):
        found = detect_image(image, model)
        side = detect_image(image, model, side=64)
    stated = [record.getMessage() for record in caplog.records]
    assert stated[0] == stated[1] and len(stated) == 2 and "so that the model sees one of" in stated[0]
    centre = found.detections.centre
    assert len(centre) > 5 and len(centre) == len(side.probability)
    assert centre.min() >= -0.5 and (centre < np.array(image.shape) - 0.5).all()
    assert centre.max(0)[1] > 100
    np.testing.assert_allclose(found.detections.rms, image.rms_at(centre))
    table = apply.make_catalogue(found, image, model)
    # What the network says of the resampled image, catalogued there, is of the same sky.
    reader = ResampledReader(image.reader, apply.sampling_of(image, model), image.beam)
    seen = ContinuumImage(reader, apply.measure_background(reader.read, reader.shape))
    there = apply.make_catalogue(detect_image(seen, model), seen, model)
    kept = ((there["x"].value + 0.5) * reader.sampling.step < 141) & (
        (there["y"].value + 0.5) * reader.sampling.step < 120
    )
    own = ("x", "y", "peak_flux", "peak_flux_error", "snr", "local_rms", "flags")
    shared = ("major", "minor", "pa", "major_error", "minor_error", "pa_error")
    assert kept.sum() == len(table)
    for name in set(table.colnames) - {"id", "class", *own, *shared}:
        ours, theirs = (np.asarray(getattr(part[name], "value", part[name])) for part in (table, there[kept]))
        if name.endswith("pa"):
            theirs = ours + (theirs - ours + 90) % 180 - 90
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=0 if "flux" in name else 1e-3, err_msg=name)
    if fwhm < 2:
        for name in shared:
            np.testing.assert_allclose(table[name].value, there[kept][name].value, rtol=1e-3, atol=0.1)
    else:
        assert (table["major"] < there["major"][kept]).all()
        # A source that is no wider than the beam has the peak of a point: its flux.
        point = np.isclose(table["flux"].value, table["peak_flux"].value, rtol=0.5)
        assert len(point) == len(table)


def test_noise_of_another_texture_is_named(tmp_path, model, random_model):
    rough = sky(fwhm=0.5, sources=0)
    with pytest.warns(NoiseMismatchWarning, match=r"^.*a\.fits: .*0\.\d\d.*; .*fleming adapt.*\.$"):
        find(store(tmp_path / "a.fits", rough), model)
    known = random_model(noise=[white_beam((w, w, 0.0)).to_dict() for w in (0.4, FWHM)])
    find(store(tmp_path / "a.fits", rough), known)
    find(store(tmp_path / "a.fits", sky((24, 14))), known)


def test_a_beam_that_no_sampling_brings_into_range_is_named(tmp_path, model):
    path = store(tmp_path / "a.fits", sky(fwhm=1.8), fwhm=1.8)
    with pytest.warns(BeamMismatchWarning, match=r"1\.8 pixels .*2\.3 to 2\.7"):
        table = find(path, model)
    assert ((table["flags"] & 8) > 0).all()


def test_purity_sets_the_threshold(tmp_path, model):
    path = store(tmp_path / "a.fits", sky())
    plain = find(path, model)
    assert (plain["probability"] >= model.threshold).all()
    ranked = np.sort(detect_image(ContinuumImage.open(path), model).probability)[::-1]
    wanted = float(ranked[: len(ranked) // 2].mean())
    table = find(path, model, purity=wanted)
    assert table["probability"].mean() >= wanted and len(table) == pytest.approx(len(ranked) // 2, abs=1)
    with pytest.warns(FlemingWarning) as caught:
        none = find(path, model, purity=0.999999)
    assert {part.category for part in caught} == {PurityWarning, EmptySkyWarning} and len(none) == 0
    with pytest.raises(UserError, match="purity"):
        find(path, model, purity=1.5)


def test_an_empty_sky_gives_an_empty_catalogue_in_every_format(tmp_path, random_model):
    strict = random_model()
    strict.threshold = 1.1
    outs = [tmp_path / f"c.{suffix}" for suffix in ("fits", "ecsv", "vot", "csv", "txt", "reg")]
    with pytest.warns(EmptySkyWarning, match=r"^.*a\.fits: no source .*; .*\.$"):
        table = detect_images([(store(tmp_path / "a.fits", sky()), None)], strict, outs, device="cpu")
    assert len(table) == 0
    for out in outs[:3]:
        back = read_catalogue(out)
        assert back.colnames == table.colnames and back["flux"].unit == u.Jy and len(back) == 0
    assert len(read_table(outs[4], Sdc1)) == 0


def test_so_many_detections_are_calibrated_at_once(tmp_path, model, monkeypatch):
    image = ContinuumImage.open(store(tmp_path / "a.fits", sky()))
    one = detect_image(image, model)
    monkeypatch.setattr("pipeline.detect.calibrate._AT_ONCE", 7)
    other = detect_image(image, model)
    np.testing.assert_allclose(one.probability, other.probability, rtol=1e-5)
    np.testing.assert_allclose(one.errors, other.errors, rtol=1e-5)


def test_several_images_make_one_catalogue(tmp_path, model):
    paths = [store(tmp_path / f"{name}.fits", sky(seed=seed)) for seed, name in enumerate("ab")]
    single = [find(path, model) for path in paths]
    outs = [tmp_path / "c.fits", tmp_path / "c.txt"]
    table = detect_images([(path, None) for path in paths], model, outs, regions=tmp_path / "c.reg", device="cpu")
    assert table["id"].tolist() == list(range(1, len(table) + 1))
    assert "image" not in single[0].colnames
    for path, one in zip(paths, single, strict=True):
        same(one, table[table["image"] == path.name])
    assert len(read_table(outs[1], Sdc1)) == len(table) == len(read_catalogue(outs[0]))
    assert (tmp_path / "c.reg").read_text().count("ellipse") == len(table)


def test_a_saved_model_gives_the_same_catalogue(tmp_path, model):
    path = store(tmp_path / "a.fits", sky())
    model.save(tmp_path / "m.safetensors")
    same(find(path, model), find(path, tmp_path / "m.safetensors"))


def test_invalid_pixels_and_borders_are_flagged(tmp_path, model):
    data = sky()
    data[40:50, 40:50] = np.nan
    table = find(store(tmp_path / "a.fits", data), model)
    y, x = table["y"].value, table["x"].value
    near = (np.abs(y - 44.5) < 9) & (np.abs(x - 44.5) < 9)
    far = (np.abs(y - 44.5) > 12) | (np.abs(x - 44.5) > 12)
    assert near.any() and (table["flags"][near] & 4).all() and not (table["flags"][far] & 4).any()
    half = max(model.detector.network.field) / 2
    edge = np.minimum.reduce([x, y, 95 - x, 95 - y]) < half
    np.testing.assert_array_equal((table["flags"] & 1) > 0, edge)


def test_small_images_are_searched(tmp_path, model):
    for shape in ((40, 30), (20, 20)):
        table = find(store(tmp_path / "a.fits", sky(shape, sources=2)), model)
        assert len(table) and (table["x"].value < shape[1] - 0.5).all() and (table["y"].value < shape[0] - 0.5).all()


def refusal(tmp_path, model, data, word, **options):
    with pytest.raises(UserError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore", FlemingWarning)
        find(store(tmp_path / "a.fits", data, **options), model, tmp_path / "out" / "c.fits")
    message = str(caught.value)
    assert word in message and "\n" not in message and "; " in message and message.endswith(".")
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_searched_are_refused_in_a_sentence(tmp_path, model):
    refusal(tmp_path, model, np.zeros((64, 64), "f4"), "no noise")
    refusal(tmp_path, model, np.full((64, 64), np.nan, "f4"), "no valid pixels")
    refusal(tmp_path, model, sky(), "no celestial coordinates", without=("CTYPE1", "CTYPE2"))
    refusal(tmp_path, model, sky(), "no beam", without=("BMAJ", "BMIN"))
    refusal(tmp_path, model, np.stack([sky()] * 3), "cube", CTYPE3="FREQ", CRVAL3=1e9, CDELT3=1e6)
    refusal(tmp_path, model, sky(), "Jy/beam", BUNIT="count")
    refusal(tmp_path, model, sky(), "pixels", fwhm=1.0)
    refusal(tmp_path, model, sky(), "pixels", fwhm=150.0)


def test_models_of_something_else_are_refused(tmp_path, random_model):
    names = Names((), ("a",), NAMES.conditions)
    refusal(tmp_path, random_model(2, names), sky(), "continuum")
    refusal(tmp_path, random_model(1, Names((), ("a",), ())), sky(), "spectra")


def test_all_mistakes_are_told_before_the_work(tmp_path, model):
    path = store(tmp_path / "a.fits", sky())
    (tmp_path / "file").write_text("")
    outs = [tmp_path / "file" / "c.fits", tmp_path]
    with pytest.raises(UserError) as caught:
        detect_images([(path, None)], model, [outs[0], tmp_path / "ok.fits"], regions=outs[1], device="cpu")
    assert len(caught.value.problems) == 2 and not (tmp_path / "ok.fits").exists()
    with pytest.raises(UserError, match="SDC2"):
        find(path, model, tmp_path / "c.txt", fmt="sdc2")
    with pytest.raises(UserError) as caught:
        detect_images([(tmp_path / "no.fits", None), (path, tmp_path / "none.fits")], model, [], device="cpu")
    assert len(caught.value.problems) == 2
    bare = store(tmp_path / "b.fits", np.ones((9, 9), "f4"), without=("CTYPE1", "CTYPE2"))
    with pytest.raises(UserError, match="b.fits: has no celestial"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FlemingWarning)
        detect_images([(path, bare)], model, [], device="cpu")
