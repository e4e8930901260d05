import csv

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from pipeline.data.sample import read_sample
from pipeline.data.settings import InputSettings
from pipeline.errors import UserError
from pipeline.simulate.injection import inject, make_sample, observe
from pipeline.simulate.settings import InjectionSettings

SHAPES = {1: (48,), 2: (20, 24), 3: (8, 16, 18)}


def blob(shape):
    grids = np.indices(shape).astype(float)
    return np.exp(-sum((g - (n - 1) / 2) ** 2 / (0.3 + n / 12) ** 2 for g, n in zip(grids, shape, strict=True)))


@pytest.fixture
def sources(tmp_path):
    """Write a manifest of three sources, blobs of several sizes, with ndim axes."""

    def write(ndim):
        folder = tmp_path / f"sources{ndim}"
        folder.mkdir()
        for k in range(3):
            shape = tuple(n // 2 + 3 * k for n in SHAPES[ndim]) if ndim > 1 else SHAPES[1]
            names = ["WAVE"] if ndim == 1 else ["RA---TAN", "DEC--TAN", "VRAD"][:ndim]
            header = fits.Header({f"CTYPE{axis}": name for axis, name in enumerate(names, 1)})
            header.update({f"CRVAL{axis}": 5.0 for axis in range(1, ndim + 1)})
            header.update({f"CDELT{axis}": 0.01 for axis in range(1, ndim + 1)})
            fits.PrimaryHDU((k + 1) * blob(shape), header).writeto(folder / f"s{k}.fits")
        (folder / "m.csv").write_text("file,group\ns0.fits,one\ns1.fits,one\ns2.fits,\n")
        return str(folder / "m.csv")

    return write


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_files_agree_with_each_other_and_with_the_settings(sources, tmp_path, ndim):
    settings = InjectionSettings(sources=sources(ndim), shape=SHAPES[ndim], n=21, blank_fraction=1 / 3, snr=(5, 50))
    seen = []
    inject(settings, tmp_path / "out", seed=4, progress=seen.append)
    assert seen == list(range(1, 22))
    rows = list(csv.DictReader((tmp_path / "out" / "manifest.csv").read_text().splitlines()))
    data = fits.getdata(tmp_path / "out" / "samples.fits")
    assert data.shape == (21, *SHAPES[ndim]) and np.isfinite(data).all()
    galaxies = [row for row in rows if row["label"] == "galaxy"]
    assert len(galaxies) == 14
    counts = [sum(row["source"] == f"s{k}" for row in galaxies) for k in range(3)]
    assert max(counts) - min(counts) <= 1
    assert {row["group"] for row in galaxies} == {"one", "s2"}
    assert all(row["group"] == row["id"] and row["snr"] == "" for row in rows if row["label"] == "noise")
    assert all(5 <= float(row["snr"]) <= 50 for row in galaxies)
    kind = {1: "spectrum", 2: "image", 3: "cube"}[ndim]
    given = {"grid": (1, 49, 1)} if ndim == 1 else {}
    sample = read_sample(tmp_path / "out" / "samples.fits", 5, InputSettings(kind=kind, **given))
    np.testing.assert_allclose(sample.data[0], data[5], atol=1e-6)
    inject(settings, tmp_path / "again", seed=4)
    for name in ("samples.fits", "manifest.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_object_that_was_added_has_the_stated_snr(ndim):
    shape = SHAPES[ndim]
    settings = InjectionSettings(sources="-", shape=shape, snr=(3, 300), flip=False, rotate=False)
    for number in range(5):
        sample, snr = make_sample(blob(shape), settings, np.random.default_rng((1, number)))
        noise, _ = make_sample(None, settings, np.random.default_rng((1, number)))
        np.testing.assert_allclose(np.sqrt(np.sum((sample - noise) ** 2)), snr, rtol=1e-9)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("blank", [False, True])
def test_a_beam_can_be_undone_so_that_it_neither_hides_nor_betrays_an_object(ndim, blank):
    shape, beam = SHAPES[ndim], 2.0
    signal = None if blank else blob(shape)
    pair = []
    for width in (0.0, beam):
        settings = InjectionSettings(sources="-", shape=shape, snr=(3, 30), beam=width)
        pair.append(make_sample(signal, settings, np.random.default_rng(4))[0])
    point = np.zeros(shape)
    point[(0,) * ndim] = 1.0
    response = np.fft.fftn(observe(point, beam))
    undone = np.fft.ifftn(np.fft.fftn(pair[1]) / response).real
    np.testing.assert_allclose(undone, pair[0], atol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_snr_is_log_uniform_and_the_matched_filter_measures_it(ndim):
    shape = SHAPES[ndim]
    settings = InjectionSettings(sources="-", shape=shape, snr=(5, 500), flip=False, rotate=False)
    asked, measured = [], []
    for number in range(400):
        sample, snr = make_sample(blob(shape), settings, np.random.default_rng((2, number)))
        noise, _ = make_sample(None, settings, np.random.default_rng((2, number)))
        template = (sample - noise) / np.sqrt(np.sum((sample - noise) ** 2))
        asked.append(snr)
        measured.append(np.sum(template * sample))
    # In white noise of rms 1 the filter's output is the SNR with an error of 1.
    error = np.array(measured) - asked
    assert abs(error.mean()) < 4 / np.sqrt(400)
    assert abs(error.std() - 1) < 0.15
    position = (np.log(asked) - np.log(5)) / np.log(100)
    assert position.min() >= 0 and position.max() <= 1
    gap = np.abs(np.sort(position) - (np.arange(400) + 0.5) / 400).max()
    assert gap < 1.63 / np.sqrt(400)  # Kolmogorov-Smirnov, 1 %


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("beam", [0.0, 2.0, 4.0])
def test_noise_has_rms_one_and_the_stated_correlation(ndim, beam):
    shape = {1: (4096,), 2: (128, 128), 3: (16, 64, 64)}[ndim]
    noise = observe(np.random.default_rng(3).standard_normal(shape), beam)
    # Smoothing leaves fewer independent values, so the error of the rms grows with the beam's area.
    independent = noise.size / max(1.0, beam) ** min(ndim, 2)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * independent)
    if beam:
        # The correlation of smoothed noise is a Gaussian that is wider than the kernel by the root of 2.
        expected = np.exp(-2 * np.log(2) / beam**2)
        found = np.mean(noise * np.roll(noise, 1, axis=-1)) / noise.var()
        assert abs(found - expected) < 0.1
    if ndim == 3:
        assert abs(np.mean(noise[1:] * noise[:-1])) < 5 * max(1.0, beam) / np.sqrt(noise.size)


def test_spectra_on_a_grid_keep_their_wavelengths(tmp_path):
    wavelength = 4000 + np.arange(200.0)
    flux = np.exp(-((wavelength - 4100) ** 2) / 8)
    np.savetxt(tmp_path / "line.txt", np.column_stack([wavelength, flux]))
    (tmp_path / "m.csv").write_text("path\nline.txt\n")
    settings = InjectionSettings(sources=str(tmp_path / "m.csv"), grid=(4050, 4150, 1), n=6, snr=(500, 500))
    inject(settings, tmp_path / "out")
    header = fits.getheader(tmp_path / "out" / "samples.fits")
    assert header["CRVAL1"] == 4050 and header["NAXIS1"] == 100
    rows = list(csv.DictReader((tmp_path / "out" / "manifest.csv").read_text().splitlines()))
    for row in rows:
        if row["label"] == "galaxy":
            file = tmp_path / "out" / "samples.fits"
            spectrum = read_sample(file, int(row["row"]), InputSettings(kind="spectrum", grid=(4050, 4150, 1)))
            assert spectrum.data[0].argmax() == 50


def test_all_bad_sources_are_reported_and_nothing_is_written(sources, tmp_path):
    manifest = sources(2)
    folder = tmp_path / "sources2"
    fits.PrimaryHDU(np.ones((3, 4, 4)), fits.Header({"CTYPE1": "RA---TAN"})).writeto(folder / "s0.fits", overwrite=True)
    (folder / "s1.fits").write_text("text")
    with pytest.raises(UserError) as caught:
        inject(InjectionSettings(sources=manifest, shape=(16, 16), n=12), tmp_path / "out")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "either shape"),
        ({"shape": (8, 8), "grid": (1, 9, 1)}, "either shape"),
        ({"shape": (8, 8, 8, 8)}, "one to three"),
        ({"shape": (8, 8), "snr": (5, 2)}, "low <= high"),
        ({"shape": (8, 8), "snr": (0, 2)}, "low <= high"),
        ({"shape": (8, 8), "beam": 9}, "beam must not"),
        ({"shape": (8, 8), "labels": ("a", "a")}, "two different"),
        ({"shape": (8, 8), "n": 1}, "greater than or equal"),
    ],
)
def test_wrong_settings_are_refused(values, text):
    with pytest.raises(ValidationError, match=text):
        InjectionSettings(sources="m.csv", **values)
