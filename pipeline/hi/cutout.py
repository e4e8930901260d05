"""What a cube shows of one galaxy: its voxels, the mask of its line, maps and a spectrum."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Row
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.signal import fftconvolve

from pipeline.data.background import MAD_TO_SIGMA, Background
from pipeline.hi.catalogue import seen_axes
from pipeline.hi.lines import km_s_per_hz, velocity_km_s, width_hz
from pipeline.sky.geometry import ARCSEC, FWHM, jacobian

if TYPE_CHECKING:
    from pipeline.sky.cube import CubeReader

# A cut-out never has more voxels than these along each axis, whatever size was predicted.
MOST = (512, 384, 384)
# Of the smoothed voxels that belong to the line.
LEAST_SNR = 2.5
# Of the predicted region that is above it, where noise has 0.6 %.
_LEAST_SHARE = 0.05
# Channels of the continuum on either side of the line, at the least.
_BASE = 10
_MARGIN = 1.5
_SMOOTH_WIDTH = 10.0
# Pixels that tell a scatter.
_FEW = 200


@dataclass
class Cutout:
    """A part of a cube about one galaxy, f x y x x voxels, frequency ascending.

    start : the first voxel (3,) in the cube. data : (f, y, x) as in the cube [Jy/beam]. pixels : less the local median.
    rms : (f,) of the channels [Jy/beam], NaN where they are blank. frequency, channel_hz : (f,) [Hz]. rest : [Hz].
    beam : FWHM [pixel], its geometric mean. line : (f,) the channels of the predicted line.
    radius : (y, x) in units of the predicted ellipse, which is the disc widened by twice the beam in quadrature.
    centre : of the galaxy (y, x) in the cut-out. pa : of the receding side [deg]. turn : pixels to arcsec (2, 2).
    """

    start: tuple[int, int, int]
    data: np.ndarray
    pixels: np.ndarray
    rms: np.ndarray
    frequency: np.ndarray
    channel_hz: np.ndarray
    rest: float
    beam: float
    radius: np.ndarray
    line: np.ndarray
    pa: float
    turn: np.ndarray
    centre: tuple[float, float]

    @property
    def velocity(self) -> np.ndarray:
        """c z of the channels (f,) [km/s]."""
        return velocity_km_s(self.frequency, self.rest)

    @property
    def beam_area(self) -> float:
        """Of a Gaussian beam [pixel]."""
        return np.pi / (4 * np.log(2)) * self.beam**2

    @property
    def ellipse(self) -> np.ndarray:
        """The pixels (y, x) within the predicted ellipse."""
        return self.radius <= 1

    @property
    def region(self) -> np.ndarray:
        """Where the galaxy is predicted to be: the ellipse in the channels of the line, (f, y, x)."""
        return self.line[:, None, None] & self.ellipse

    @cached_property
    def smooth_snr(self) -> np.ndarray:
        """Signal-to-noise ratio after smoothing by the beam and a tenth of the line's width, (f, y, x).

        Its noise is 1 where that of the pixels is white noise seen with the beam, and independent between channels;
        where what is outside the region scatters by more, as that of correlated channels does, it is divided by that.
        """
        snr = np.nan_to_num(self.pixels / self.rms[:, None, None], nan=0.0, posinf=0.0, neginf=0.0)
        depth, width = max(self.line.sum() / _SMOOTH_WIDTH, 1.0), self.beam / FWHM
        smooth = gaussian_filter(snr, (depth, width, width), mode="constant")
        # On the sky the variance of the noise is halved, along the frequency it is that of an average.
        smooth *= np.sqrt(2.0) * np.sqrt(2 * np.sqrt(np.pi) * depth)
        return smooth / max(1.0, _scatter(smooth[~self.region & np.isfinite(self.pixels)]))

    @cached_property
    def significant(self) -> bool:
        """Whether so many voxels of the region are above `LEAST_SNR` that noise does not make them."""
        return bool((self.smooth_snr > LEAST_SNR)[self.region].mean() > _LEAST_SHARE)

    @cached_property
    def mask(self) -> np.ndarray:
        """The voxels of the line (f, y, x): the region's significant ones grown by half a beam, or all where faint.

        What is blank is left out.
        """
        region = self.region & np.isfinite(self.pixels)
        if not self.significant:
            return region
        reach = max(int(round(self.beam / 2)), 1)
        across = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
        grown = binary_dilation(self.smooth_snr > LEAST_SNR, np.broadcast_to(across, (3, *across.shape)))
        return region & grown

    @property
    def moment0(self) -> np.ndarray:
        """The line's flux in the mask, (y, x) [Jy/beam Hz]; NaN where the mask has no voxel."""
        return self._sum(self.mask)

    @property
    def line_map(self) -> np.ndarray:
        """The same without a mask on the sky: the sum of all channels of the line."""
        return self._sum(np.broadcast_to(self.line[:, None, None], self.pixels.shape) & np.isfinite(self.pixels))

    @property
    def line_map_error(self) -> float:
        """The noise of `line_map` [Jy/beam Hz]: of independent channels, or more where it scatters more."""
        seen = self.line_map[~self.ellipse]
        independent = np.sqrt(np.nansum((self.rms * self.channel_hz)[self.line] ** 2))
        return float(max(independent, _scatter(seen[np.isfinite(seen)])))

    @property
    def moment1(self) -> np.ndarray:
        """The mean velocity in the mask (y, x) [km/s], weighted with what is positive after smoothing; NaN outside."""
        weight = np.where(self.mask, np.maximum(self.smooth_snr * self.rms[:, None, None], 0), 0)
        total = np.nansum(weight, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, np.nansum(weight * self.velocity[:, None, None], axis=0) / total, np.nan)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Flux density within the ellipse, and its error, (f,) [Jy] each; NaN where a channel is blank there.

        The error is that of noise which is white before it is seen with the beam.
        """
        inside = np.where(self.ellipse, np.nan_to_num(self.pixels), 0).sum((1, 2))
        valid = (np.isfinite(self.pixels) & self.ellipse).any((1, 2)) & (self.rms > 0)
        spread = self.rms * _correlated_sum(self.ellipse, self.beam) / self.beam_area
        return tuple(np.where(valid, part, np.nan) for part in (inside / self.beam_area, spread))

    @property
    def km_s_per_hz(self) -> float:
        """Velocity per frequency in the middle of the line."""
        return float(km_s_per_hz(np.mean(self.frequency[self.line]), self.rest))

    def _sum(self, mask: np.ndarray) -> np.ndarray:
        total = np.where(mask, self.pixels * self.channel_hz[:, None, None], 0).sum(0)
        return np.where(mask.any(0), total, np.nan)


def cut_out(row: Row, cube: "CubeReader", noise: Background) -> Cutout:
    """The part of a cube about one galaxy of its catalogue, `row` of what `make_catalogue` made.

    It reaches half as far again as the galaxy's ellipse and line, and then a beam and 10 channels on, as far as the
    cube does and no further than `MOST`.
    """
    value = {name: float(getattr(row[name], "value", row[name])) for name in _NEEDED}
    # Turning the channels round is its own inverse.
    z, y, x = float(cube.stored_channel(value["z"])), value["y"], value["x"]
    pixel, beam = ARCSEC * cube.pixel_scale, ARCSEC * np.sqrt(cube.beam.major * cube.beam.minor)
    # A point seen with the beam has 94 % of its flux within twice the FWHM, and half of it within once.
    major, minor = seen_axes(value["hi_size"], value["inclination"], 2 * beam)
    channel = float(cube.channel_hz[int(np.clip(np.rint(z), 0, cube.shape[0] - 1))])
    depth = width_hz(value["w20"], value["frequency"], cube.rest_hz) / channel
    across = _MARGIN * major / (2 * pixel) + beam / pixel
    section = tuple(
        _span(middle, half, most, side)
        for middle, half, most, side in zip(
            (z, y, x), (_MARGIN * depth / 2 + _BASE, across, across), MOST, cube.shape, strict=True
        )
    )
    start = tuple(part.start for part in section)
    data = cube.read(section)
    median, rms = noise.at(section)
    rows, columns = (np.arange(part.start, part.stop) for part in section[1:])
    turn = jacobian(cube.wcs, [x], [y])[0]
    offset = np.stack(np.meshgrid(columns - x, rows - y), -1) @ turn.T
    angle = np.radians(value["pa"])
    along = offset @ (np.sin(angle), np.cos(angle))
    aside = offset @ (np.cos(angle), -np.sin(angle))
    middle = np.arange(section[0].start, section[0].stop)
    rms = np.broadcast_to(rms, data.shape)[:, rms_index(y, section[1]), rms_index(x, section[2])].astype(float)
    return Cutout(
        start=start,
        data=data,
        pixels=np.asarray(data - median, np.float32),
        rms=np.where(rms > 0, rms, np.nan),
        frequency=np.asarray(cube.frequency, float)[section[0]],
        channel_hz=np.asarray(cube.channel_hz, float)[section[0]],
        rest=float(cube.rest_hz),
        beam=beam / pixel,
        radius=np.hypot(along / (major / 2), aside / (minor / 2)),
        line=np.abs(middle - z) <= depth / 2 + 0.5,
        pa=value["pa"],
        turn=turn,
        centre=(y - start[1], x - start[2]),
    )


_NEEDED = ("x", "y", "z", "frequency", "hi_size", "inclination", "w20", "pa")


def rms_index(position: float, part: slice) -> int:
    """Where in a section the pixel nearest to a position is."""
    return int(np.clip(np.rint(position), part.start, part.stop - 1)) - part.start


def _span(middle: float, half: float, most: int, side: int) -> slice:
    middle, half = min(max(middle, 0.0), side - 1.0), min(half, (most - 1) / 2)
    return slice(max(int(np.floor(middle - half)), 0), min(int(np.ceil(middle + half)) + 1, side))


def _scatter(values: np.ndarray) -> float:
    """The robust rms of values (n,) about 0; 0 of fewer than `_FEW`."""
    return MAD_TO_SIGMA * float(np.median(np.abs(values))) if len(values) >= _FEW else 0.0


def _correlated_sum(mask: np.ndarray, beam: float) -> float:
    """The rms of the sum over the pixels of a mask (y, x) of noise of rms 1 whose correlation is sqrt 2 beams wide."""
    reach = int(np.ceil(3 * beam))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.exp(-2 * np.log(2) * (x**2 + y**2) / beam**2)
    near = fftconvolve(mask.astype(float), kernel, mode="same")
    return float(np.sqrt(max(near[mask].sum(), 0.0)))
