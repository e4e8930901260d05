"""An image on coarser or finer pixels, read by section, so that its beam has a width that the network knows."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

from pipeline.data.tiles import Reader
from pipeline.detect.continuum import PixelBeam, dilution, smear
from pipeline.errors import UserError
from pipeline.sky.geometry import ellipse_axes, ellipse_to_sky
from pipeline.sky.headers import Beam
from pipeline.sky.window import FrameReader

# A Gaussian narrower than this is not sampled [pixel]; far wider ones need images larger than there are.
LEAST_BEAM, GREATEST_BEAM = 1.2, 100.0
# A beam this much beyond what the network was trained on still counts as known.
SLACK = 1.1
_FINEST = 8
_PIXELS_AT_ONCE = 1 << 22
# The poles of the cubic spline are 0.27: what is so far away weighs less than 1e-9 [pixel].
_MARGIN = 16


@dataclass(frozen=True)
class Sampling:
    """`average` pixels of the image an axis, or a share `1 / divide` of one, make a pixel that the network sees."""

    average: int = 1
    divide: int = 1

    def __str__(self) -> str:
        if self.divide > 1:
            return f"interpolated to {self.divide} times finer pixels"
        return f"averaged over {self.average} x {self.average} pixels"

    @property
    def step(self) -> float:
        """Pixels of the image from one seen pixel to the next."""
        return self.average / self.divide

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Of what is seen of an image of `shape`; a last block that is not full is seen too."""
        return tuple(-(-size * self.divide // self.average) for size in shape)

    def to_image(self, centre: np.ndarray) -> np.ndarray:
        """Coordinates in the image of positions (n, N) that are seen [pixel]."""
        return (centre + 0.5) * self.step - 0.5

    def beam(self, beam: PixelBeam) -> PixelBeam:
        """What is seen of the image's beam: averaging adds the variance of the block, (k^2 - 1) / 12 an axis."""
        block = (8 * np.log(2) * (self.average**2 - 1) / 12) ** 0.5
        square = smear(beam.major, beam.minor, beam.theta, PixelBeam(block, block, 0.0))
        major, minor, theta = ellipse_axes(square / self.step**2)
        return PixelBeam(float(major), float(minor), float(theta))


def choose_sampling(beam: PixelBeam, least: float, greatest: float) -> Sampling:
    """The sampling that brings the beam's geometric mean nearest to `least`..`greatest` [pixel], the image's if it can.

    Where none brings it within, the nearest by ratio is taken: see `miss`.
    """
    if miss(beam, least, greatest) <= SLACK:
        return Sampling()
    if beam.mean < least:
        choices = [Sampling(divide=factor) for factor in range(1, _FINEST + 1)]
    else:
        choices = [Sampling(average=factor) for factor in range(1, int(beam.mean / least) + 2)]
    return min(choices, key=lambda sampling: miss(sampling.beam(beam), least, greatest))


def miss(beam: PixelBeam, least: float, greatest: float) -> float:
    """By what factor the beam's geometric mean is outside `least`..`greatest`; 1 inside."""
    return max(1.0, least / beam.mean, beam.mean / greatest)


def check_beam(beam: PixelBeam, where: object) -> None:
    """Refuse a beam that no source can be measured with.

    Raises
    ------
    UserError : narrower than 1.2 or wider than 100 pixels, or not finite.
    """
    if not np.isfinite([beam.major, beam.minor, beam.theta]).all():
        raise UserError(where, "has no place on the sky in its middle, so its beam in pixels is unknown", "cut it out")
    if beam.minor < LEAST_BEAM:
        what = f"has a beam of {beam.major:.3g} x {beam.minor:.3g} pixels, which do not sample it"
        raise UserError(where, what, f"make an image with at least {LEAST_BEAM} pixels a beam")
    if beam.major > GREATEST_BEAM:
        what = f"has a beam of {beam.major:.4g} x {beam.minor:.4g} pixels"
        raise UserError(where, what, f"regrid it to at most {GREATEST_BEAM:.0f} pixels a beam, or check BMAJ and CDELT")


class ResampledReader:
    """What `FrameReader` is, for the pixels of `sampling`: shape, wcs, beam, read, path; in Jy a beam as seen.

    Sections are read and resampled piece by piece; a pixel's value does not depend on the section it is asked in.
    """

    def __init__(self, reader: FrameReader, sampling: Sampling, beam: PixelBeam):
        """See `reader`, whose beam is `beam` in its own pixels, at other pixels.

        Raises
        ------
        UserError : the image's coordinates are distorted beyond a projection.
        """
        self.path, self.note, self.sampling = reader.path, reader.note, sampling
        self.shape, self._shape = sampling.shape(reader.shape), reader.shape
        self._read: Reader = reader.read
        self.wcs = _resampled_wcs(reader.wcs, sampling, reader.path)
        seen = sampling.beam(beam)
        y, x = ([(side - 1) / 2] for side in self.shape)
        major, minor, pa = ellipse_to_sky(self.wcs, x, y, [seen.major], [seen.minor], [seen.theta])
        self.beam = Beam(float(major[0]) / 3600, float(minor[0]) / 3600, float(pa[0]))
        self._gain = np.float32(1.0)
        if sampling.average > 1:
            # The same surface brightness is more flux in a wider beam.
            areas = seen.major * seen.minor * sampling.step**2, beam.major * beam.minor
            self._gain = np.float32(areas[0] / areas[1])

    @property
    def ndim(self) -> int:
        """The number of axes N."""
        return len(self.shape)

    def read(self, section: Sequence[slice]) -> np.ndarray:
        """The pixels of a section, one slice (step 1) an axis, float32 [Jy/beam]; NaN where no pixel is valid."""
        spans = [slice(*part.indices(size)) for part, size in zip(section, self.shape, strict=True)]
        if any(span.step != 1 for span in spans):
            raise ValueError("a section is read with step 1")
        resample = self._averaged if self.sampling.average > 1 else self._interpolated
        rows, columns = spans
        result = np.empty([max(span.stop - span.start, 0) for span in spans], np.float32)
        wide = max(1.0, (columns.stop - columns.start) * self.sampling.step)
        height = max(1, int(_PIXELS_AT_ONCE / wide / self.sampling.step))
        for start in range(rows.start, rows.stop, height):
            stop = min(start + height, rows.stop)
            result[start - rows.start : stop - rows.start] = resample((slice(start, stop), columns))
        return result

    def _averaged(self, spans: Sequence[slice]) -> np.ndarray:
        """The mean of the valid pixels of every block; NaN where less than half of its pixels are valid."""
        factor = self.sampling.average
        inside = [
            slice(span.start * factor, min(span.stop * factor, size))
            for span, size in zip(spans, self._shape, strict=True)
        ]
        pixels = self._read(inside)
        full = [(span.stop - span.start) * factor for span in spans]
        # Blocks at the border reach beyond the image, where nothing is valid, and need not be half full.
        missing = [(0, want - have) for want, have in zip(full, pixels.shape, strict=True)]
        exists = np.pad(np.ones(pixels.shape, np.float32), missing)
        valid = np.pad(np.isfinite(pixels).astype(np.float32), missing)
        total = np.pad(np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0), missing)
        exists, valid, total = (_block_sums(part, factor) for part in (exists, valid, total))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(2 * valid >= exists, total / valid, np.nan) * self._gain

    def _interpolated(self, spans: Sequence[slice]) -> np.ndarray:
        """A cubic spline through the pixels; NaN where the nearest pixel is not valid."""
        factor = self.sampling.divide
        low = [max(span.start // factor - _MARGIN, 0) for span in spans]
        high = [min(-(-span.stop // factor) + _MARGIN, size) for span, size in zip(spans, self._shape, strict=True)]
        pixels = self._read([slice(*ends) for ends in zip(low, high, strict=True)])
        valid = np.isfinite(pixels)
        wanted = [np.arange(span.start, span.stop) for span in spans]
        begin = [(span.start + 0.5) / factor - 0.5 - start for span, start in zip(spans, low, strict=True)]
        result = ndimage.affine_transform(
            np.where(valid, pixels, 0.0),
            np.full(len(spans), 1 / factor),
            begin,
            output_shape=tuple(map(len, wanted)),
            output=np.float32,
            mode="mirror",
        )
        nearest = np.ix_(*(own // factor - start for own, start in zip(wanted, low, strict=True)))
        return np.where(valid[nearest], result, np.nan)


def _block_sums(pixels: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = (side // factor for side in pixels.shape)
    return pixels.reshape(rows, factor, columns, factor).sum((1, 3))


def _resampled_wcs(wcs: WCS, sampling: Sampling, where: object) -> WCS:
    if wcs.has_distortion:
        what = "has distorted coordinates, and its beam is not one that the model knows"
        raise UserError(where, what, "regrid it to a plain projection")
    result = copy.deepcopy(wcs)
    result.wcs.crpix = (np.asarray(wcs.wcs.crpix) - 0.5) / sampling.step + 0.5
    if wcs.wcs.has_cd():
        result.wcs.cd = np.asarray(wcs.wcs.cd) * sampling.step
    else:
        result.wcs.cdelt = np.asarray(wcs.wcs.cdelt) * sampling.step
    result.wcs.set()
    return result


def dilution_ratio(major, minor, theta, seen: PixelBeam, sampling: Sampling, beam: PixelBeam) -> np.ndarray:
    """By what the peak per beam of sources (n,) of these axes [seen pixel] is higher with the image's own beam."""
    step = sampling.step
    own = dilution(smear(major * step, minor * step, theta, beam), beam)
    return own / dilution(smear(major, minor, theta, seen), seen)
