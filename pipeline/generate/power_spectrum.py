"""Power spectra of stamps, averaged over directions."""

import numpy as np
from scipy import fft

_BLOCK = 1 << 20


def power_spectra(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The power of each of `stamps` `(n, channel, *axes)` by spatial frequency.

    Returns
    -------
    frequency : `(k,)` middles of equal bins up to 0.5 [cycles per pixel]; the mean of a stamp is in none.
    power : `(n, k)` mean over directions and channels of |Fourier transform|**2 / pixels [unit**2]: white noise of
        standard deviation s has the power s**2 at every frequency. NaN and infinite pixels count as 0.
    """
    stamps = np.asarray(stamps)
    axes = stamps.shape[2:]
    *full, last = axes
    waves = np.meshgrid(*(fft.fftfreq(axis) for axis in full), fft.rfftfreq(last), indexing="ij")
    radius = np.sqrt(sum(wave**2 for wave in waves))
    bins = max(1, min(axes) // 2)
    place = np.ceil(radius * 2 * bins).astype(int).ravel() - 1
    # Half of a real transform is left out: its twins count with what is kept, except those that are their own.
    twice = np.full(radius.shape, 2.0)
    twice[..., 0] = 1
    if last % 2 == 0:
        twice[..., -1] = 1
    used = (place >= 0) & (place < bins)
    weight = np.zeros((radius.size, bins))
    weight[np.flatnonzero(used), place[used]] = twice.ravel()[used]
    weight /= weight.sum(axis=0)
    size = max(1, _BLOCK // int(np.prod(stamps.shape[1:])))
    rows = [np.zeros((0, bins))]
    for start in range(0, len(stamps), size):
        block = stamps[start : start + size].astype(np.float64)
        waves = fft.rfftn(np.where(np.isfinite(block), block, 0), axes=tuple(range(2, stamps.ndim)))
        power = (waves.real**2 + waves.imag**2).mean(axis=1) / np.prod(axes)
        rows.append(power.reshape(len(block), -1) @ weight)
    return (np.arange(bins) + 0.5) / (2 * bins), np.concatenate(rows)


def decades(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over frequencies of |log10| of the ratio of two mean spectra `(k,)` [dex]; NaN where none has power."""
    both = (first > 0) & (second > 0)
    if not both.any():
        return float("nan")
    return float(np.abs(np.log10(first[both] / second[both])).mean())
