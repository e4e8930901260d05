"""Noisy or blurred stamps in, the estimate of what they were and its uncertainty out, by a trained flow."""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor

from pipeline.data.evenly import evenly
from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output
from pipeline.generate.model import Generator
from pipeline.generate.restore import blur, restore
from pipeline.generate.scale import valid_stamps
from pipeline.sky.archive import open_source
from pipeline.sky.fitsfile import as_float, open_fits
from pipeline.sky.headers import header_unit, told_number
from pipeline.sky.units import brightness_unit
from pipeline.sky.window import MissingUnitWarning

_FWHM = math.sqrt(8 * math.log(2))
_WHEN = "of the file as written"
_DRAWS = 16
_APART = 1e6  # of noise and pixels: float32 holds seven digits


def restore_images(
    images: Path,
    model: Path,
    out: Path,
    *,
    noise: float | None,
    blurred: float = 0.0,
    draws: int = _DRAWS,
    seed: int = 42,
    device: str = "auto",
) -> None:
    """Restore the stamps of a FITS file; see `restored` and `write_restored`.

    images : an image of the shape of the model's stamps, or an array of n of them; NaN pixels were not observed.
    noise : standard deviation of the noise in the images [BUNIT]; that of the header, RMS, when None.

    Raises
    ------
    UserError : no such file, stamps of another shape or unit, or without a valid pixel, a noise or a blur that makes no
        sense for them, or a model that cannot restore.

    Warns
    -----
    MissingUnitWarning : the file tells no unit, so that its pixels are taken for the model's.
    """
    check_distinct([out], [images, model])
    check_output(out)
    generator = Generator.load(model, device)
    with open_fits(open_source(str(images)), str(images)) as hdus:
        found = next((hdu for hdu in hdus if hdu.is_image and hdu.shape), None)
        if found is None:
            raise UserError(images, "holds no image", "give a FITS image, or an array of stamps")
        observed, header = as_float(found.data), found.header.copy()
    shape = generator.sample_shape
    inner = shape[1:] if shape[0] == 1 else shape
    if observed.shape not in (inner, (*observed.shape[:1], *inner)):
        sizes = [" x ".join(map(str, size)) for size in (observed.shape, inner)]
        raise UserError(images, f"has the shape {sizes[0]}, the model makes {sizes[1]}", "cut it to that size")
    _check_unit(header, generator, images)
    rms = told_number(header, "RMS", images, positive=True) if noise is None else noise
    if rms is None:
        raise UserError(images, "does not tell its noise (no RMS)", "give --noise, its standard deviation in BUNIT")
    stamps = observed.reshape(-1, *shape).astype(np.float32)
    for number, stamp in enumerate(stamps):
        if not np.isfinite(stamp).any():
            raise UserError(images, f"has no valid pixel in stamp {number}", "leave it out")
    _check_widths(stamps, rms, blurred, images)
    estimate, error = restored(generator, stamps, rms, blurred, draws, seed)
    write_restored(out, generator, stamps, estimate, error, rms, blurred, None)


def restore_dataset(
    dataset: Path,
    model: Path,
    out: Path,
    *,
    n: int,
    noise: float,
    blurred: float = 0.0,
    draws: int = _DRAWS,
    seed: int = 42,
    device: str = "auto",
) -> None:
    """Add noise, and with `blurred` a blur, to `n` test stamps, evenly spread, and restore them: the truth is known.

    noise : standard deviation of what is added, in units of the noise that the stamps have.

    Raises
    ------
    UserError : stamps of another shape or unit than the model's, a noise or a blur that makes no sense for them, or a
        model that cannot restore.
    """
    check_distinct([out], [dataset, model])
    check_output(out)
    generator = Generator.load(model, device)
    with open_store(dataset) as store:
        if store.shape != generator.sample_shape:
            raise UserError(dataset, "has stamps of another shape than the model's", "give the data set it learnt from")
        if store.unit != generator.description["unit"]:
            what = f'has stamps in "{store.unit}", the model makes them in "{generator.description["unit"]}"'
            raise UserError(dataset, what, "give the data set it learnt from")
        test = store.indices("test")
        truth = valid_stamps(store.read(test[evenly(len(test), n)]), blank=True).astype(np.float32)
    rms = noise * generator.scale.noise
    _check_widths(truth, rms, blurred, dataset)
    clean = _blurred(torch.from_numpy(truth), blurred).numpy()
    added = np.random.default_rng([seed, 1]).standard_normal(truth.shape, dtype=np.float32)
    observed = clean + np.float32(rms) * added
    estimate, error = restored(generator, observed, rms, blurred, draws, seed)
    write_restored(out, generator, observed, estimate, error, rms, blurred, truth)


def _check_unit(header: fits.Header, generator: Generator, where: object) -> None:
    """Refuse pixels in another unit than the model's; a model without one takes them as they are."""
    own, unit = generator.description["unit"], header_unit(header, where)
    if own and unit is None:
        warnings.warn(f"{where}: no BUNIT in its header; its pixels are taken for {own}.", MissingUnitWarning, 3)
    elif own and unit != brightness_unit(own):
        raise UserError(where, f"is in {unit}, the model makes stamps in {own}", "convert it to the unit of the model")


def _check_widths(stamps: np.ndarray, noise: float, blurred: float, where: object) -> None:
    """Refuse a noise that is beside the pixels nothing or all, and a blur that leaves nothing of them."""
    peak, side = float(np.nanmax(np.abs(stamps))), max(stamps.shape[-2:])
    if not peak / _APART <= noise <= peak * _APART:
        what = f"has pixels of up to {peak:.3g}, which a noise of {noise:.3g} is more than a million times apart from"
        raise UserError(where, what, "give --noise, the standard deviation of the noise")
    if blurred > side:
        what = f"has stamps of {side} pixels, which a blur of {blurred:.3g} pixels is broader than"
        raise UserError(where, what, "give --blur, a FWHM in pixels, or leave it out")


def restored(
    generator: Generator, observed: np.ndarray, noise: float, blurred: float, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation `(n, channel, *axes)` of the posterior of stamps without this noise and blur.

    Parameters
    ----------
    observed : `(n, channel, *axes)` in the unit of the model; NaN was not observed.
    noise : standard deviation of white noise, in the same unit, on top of what the model's stamps have.
    blurred : FWHM of a Gaussian that the stamps were convolved with beyond their own PSF [pixels]; 0 for none.

    Raises
    ------
    UserError : a model of another method than flow, or a result that is not finite.
    """
    if not hasattr(generator.method, "field"):
        what = f"is of the method {generator.method.settings.name}"
        raise UserError(f"the model {generator.name}", what, "restore with a model of the method flow")
    nothing = torch.zeros((len(observed), generator.conditions.width), device=generator.device)

    def measure(x: Tensor) -> Tensor:
        return _blurred(generator.scale.inverse(x), blurred) / noise

    # In units of the noise the numbers are of order one, whatever the unit.
    seen = torch.from_numpy(observed / np.float32(noise)).to(generator.device)
    about = generator.scale.forward(torch.from_numpy(observed).to(generator.device).nan_to_num())
    found = restore(
        generator.method.field(generator.module, nothing),
        seen,
        measure,
        1.0,
        generator.sample_shape,
        torch.Generator().manual_seed(seed),
        about=about,
        draws=draws,
    )
    mean, spread = _moments(generator.scale.inverse(draw.double()).cpu().numpy() for draw in found)
    if not (np.isfinite(mean).all() and np.isfinite(spread).all()):
        what = f"gives pixels that are not finite for a noise of {noise:.3g}"
        raise UserError(f"the model {generator.name}", what, "check the noise and the unit of the stamps")
    return mean, spread


def write_restored(
    out: Path,
    generator: Generator,
    observed: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    noise: float,
    blurred: float,
    truth: np.ndarray | None,
) -> None:
    """Write the images MEAN, the estimate, SPREAD, its uncertainty, OBSERVED and, if known, TRUE to a FITS file.

    Each is `(n, channel, *axes)`.
    """
    header = fits.Header({"BUNIT": generator.description["unit"]})
    header["RMS"] = (noise, "standard deviation of the noise taken away")
    header["BLURPIX"] = (blurred, "[pix] FWHM of the blur taken away")
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU(mean.astype(">f4"), header)]
    hdus[0].name = "MEAN"
    for name, values in (("SPREAD", spread), ("OBSERVED", observed), ("TRUE", truth)):
        if values is not None:
            hdus.append(fits.ImageHDU(values.astype(">f4"), fits.Header({"BUNIT": header["BUNIT"]}), name=name))
    for hdu in hdus:
        hdu.add_checksum(when=_WHEN)
    with atomic(out) as beside:
        fits.HDUList(hdus).writeto(beside)


def _moments(draws: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    count, mean, square = 0, np.zeros(()), np.zeros(())
    for draw in draws:
        count += 1
        change = draw - mean
        mean = mean + change / count
        square = square + change * (draw - mean)
    return mean.astype(np.float32), np.sqrt(square / max(1, count - 1)).astype(np.float32)


def _blurred(x: Tensor, fwhm: float) -> Tensor:
    """x `(n, channel, *axes)` convolved with a Gaussian along its last two axes, or its only one."""
    if not fwhm:
        return x
    half = math.ceil(2 * fwhm)
    line = np.exp(-0.5 * (np.arange(-half, half + 1) / (fwhm / _FWHM)) ** 2)
    ndim = x.ndim - 2
    kernel = np.ones((1,) * ndim)
    for axis in range(max(0, ndim - 2), ndim):
        kernel = kernel * line.reshape([-1 if place == axis else 1 for place in range(ndim)])
    return blur(x, torch.from_numpy(kernel / kernel.sum()))
