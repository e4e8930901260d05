"""How well the inclination of a simulated HI disc can be told by somebody who knows all else, or all but what varies.

    python benchmarks/hi_inclination.py [--seeds 3] [--noises 8]

Discs above an SNR of 5 of the skies of config/hi.yaml are drawn at every inclination, and their noise many times. The
inclination is chosen that maximises the expected sub-score, 1 within 10 deg and 10 deg over the error beyond, under the
likelihood of the pixels and random directions in space. `known`: everything else is known, the very shape of the disc
too; no detector can do better on these discs. `projected`: size, line width, position angle and place are not, each as
far as a small change of it is linear. It writes hi_inclination.json.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from cubes import task_settings
from record import record
from scipy import fft

from pipeline.simulate.hi import approximate_snr, galaxies
from pipeline.simulate.hi_noise import channel_rms
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.hi_stamp import stamp, white_power

FIRST = 8001  # skies of development, which no figure of the detector is measured on
LEAST_SNR, CANDIDATE_SNR = 5.0, 4.5
BINS = (5.0, 7.0, 10.0, np.inf)
GRID = np.arange(2.5, 90, 5.0)  # inclinations [deg]
BOX = (96, 48, 48)  # channels and pixels about a galaxy
LEAST_POWER = 0.1  # as in `matched_snr`
# Small changes of what is not known, and by what they are divided.
CHANGES = (("hi_size", 1.1, 0.0), ("w20", 1.05, 0.0), ("pa", 1.0, 10.0))
SHIFT = 0.3


class Whitened:
    """Pictures of discs in units in which the noise is independent and of variance 1."""

    def __init__(self, sky: HiSettings):
        self.sky, power = sky, white_power(sky)
        lags, patch = np.arange(-power.lags, power.lags + 1), np.zeros(BOX[1:])
        np.add.at(patch, (lags[:, None] % BOX[1], lags[None, :] % BOX[2]), power.correlation)
        spectrum = fft.fft2(patch).real
        self._kept = spectrum > LEAST_POWER * spectrum.max()
        self._noise = np.sqrt(spectrum[self._kept] * BOX[1] * BOX[2])

    def picture(self, row: dict[str, float], shape: int, offset: np.ndarray, rms: float) -> np.ndarray:
        """A disc of the random `shape`; what lies outside the box is left out."""
        drawn = stamp(row, self.sky, np.random.default_rng(shape), offset=offset)
        corner = np.array(BOX) // 2 - np.rint(drawn.centre - offset).astype(int)
        box, size = np.zeros(BOX, np.float32), np.array(drawn.pixels.shape)
        low, high = np.maximum(corner, 0), np.minimum(corner + size, BOX)
        inside = tuple(map(slice, low - corner, high - corner))
        box[tuple(map(slice, low, high))] = drawn.pixels[inside]
        modes = fft.fft2(box)[:, self._kept] / self._noise / rms
        return np.concatenate([modes.real.ravel(), modes.imag.ravel()]).astype(np.float32)

    def changes(self, row: dict[str, float], shape: int, rms: float, plain: np.ndarray) -> np.ndarray:
        """An orthonormal basis (n, 7) of what small changes of the flux and of all that is not known do."""
        changed = [
            self.picture(row | {name: row[name] * factor + more}, shape, np.zeros(3), rms) - plain
            for name, factor, more in CHANGES
        ]
        shifted = [self.picture(row, shape, SHIFT * axis, rms) - plain for axis in np.eye(3)]
        return np.linalg.qr(np.stack([plain, *changed, *shifted], axis=1))[0]


def skies(sky: HiSettings, seeds: int) -> Iterator[tuple[dict[str, float], float]]:
    """The galaxies that may be bright enough, with the rms of their channel."""
    for seed in range(FIRST, FIRST + seeds):
        rows = galaxies(sky, np.random.default_rng((seed, 0)), margin=(0, 0, 0))
        rms = channel_rms(sky, np.random.default_rng((seed, 3)))
        here = rms[np.clip(np.rint(rows["z"]).astype(int), 0, len(rms) - 1)]
        bright = approximate_snr(rows, sky, here) > CANDIDATE_SNR
        yield from zip(rows[bright].to_dict("records"), here[bright].tolist(), strict=True)


def scores(whitened: Whitened, row: dict, shape: int, rms: float, noises: int) -> tuple[float, np.ndarray]:
    """The SNR of a galaxy, and the mean sub-scores (known, projected) over its noises."""
    truth = whitened.picture(row, shape, np.zeros(3), rms)
    snr = float(np.linalg.norm(truth))
    if snr < LEAST_SNR:
        return snr, np.zeros(2)
    at = [row | {"i": inclination} for inclination in GRID]
    templates = [whitened.picture(one, shape, np.zeros(3), rms) for one in at]
    unknown = [whitened.changes(one, shape, rms, plain) for one, plain in zip(at, templates, strict=True)]
    worth = _sub_score(GRID[:, None] - GRID)
    random, total = np.random.default_rng((shape, 1)), np.zeros(2)
    for _ in range(noises):
        seen = truth + random.standard_normal(len(truth), np.float32)
        left = [seen - template for template in templates]
        projected = [rest - basis @ (basis.T @ rest) for rest, basis in zip(left, unknown, strict=True)]
        for way, rests in enumerate((left, projected)):
            logarithm = np.array([-0.5 * float(rest @ rest) for rest in rests])
            posterior = np.exp(logarithm - logarithm.max()) * np.sin(np.radians(GRID))
            total[way] += _sub_score(GRID[np.argmax(worth @ posterior)] - row["i"])
    return snr, total / noises


def _sub_score(error: Any) -> Any:
    return np.minimum(1.0, 10.0 / np.maximum(np.abs(error), 1e-9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="skies of 512 x 512 pixels and 1024 channels")
    parser.add_argument("--noises", type=int, default=8, help="of every galaxy")
    told = parser.parse_args()
    sky = task_settings((1024, 512, 512)).simulate.model_copy(update={"galaxies_share": 0.0})
    whitened = Whitened(sky)
    found = [scores(whitened, row, shape, rms, told.noises) for shape, (row, rms) in enumerate(skies(sky, told.seeds))]
    snr = np.array([one for one, _ in found])
    score = np.stack([both for _, both in found])
    bins = {f"{low:g} to {high:g}": (snr >= low) & (snr < high) for low, high in zip(BINS, BINS[1:], strict=False)}
    result = {"noises": told.noises, "seeds": told.seeds}
    for name, chosen in ({"all": snr >= LEAST_SNR} | bins).items():
        known, projected = score[chosen].mean(0).tolist()
        result[name] = {"galaxies": int(chosen.sum()), "known": known, "projected": projected}
    print(result)
    record("hi_inclination", result)


if __name__ == "__main__":
    main()
