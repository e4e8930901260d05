"""How real a sample of synthetic stamps is: every measure beside the same measure of real stamps."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.generate.copies import copying, nearest_distance
from pipeline.generate.fidelity import conditions_met
from pipeline.generate.manifold import frechet_distance, manifold_measures, standardised
from pipeline.generate.morphology import morphology, statistic_names
from pipeline.generate.power_spectrum import decades, power_spectra
from pipeline.generate.two_sample import classifier_auc, spread, wasserstein

Transform = Callable[[np.ndarray], np.ndarray]

# What the headline numbers are made of. The published asymmetry and M20 are measured and shown too, but where galaxies
# are simulated without any asymmetry its spread is that of the noise: in such units one statistic would be the mean.
HEADLINE = (
    "flux", "half_light_radius", "concentration", "ellipticity", "e1", "raw_asymmetry", "gini", "peak",
    "background_rms", "background_median",
)  # fmt: skip

_DRAWS = 10
_NEIGHBOURS = 500


@dataclass
class _Measured:
    """What is kept of a set of stamps: statistics and features are tables of one row a stamp."""

    statistics: dict[str, np.ndarray]
    spectra: np.ndarray
    features: np.ndarray | None

    def table(self, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        return np.stack([self.statistics[name][rows] for name in names], axis=1)


class Reference:
    """Real stamps, measured once, with which the samples of any number of methods are compared.

    Every measure compares n synthetic with n held-out real stamps, n being the size of the smallest set, and stands
    beside its floor: the same measure with n training stamps in place of the synthetic ones. Distances of small samples
    are not zero, and only the floor says what is small. Wasserstein distances and power spectra are means over ten
    random draws of n where there are more; the other measures use the first draw.

    Parameters
    ----------
    real : `(m, channel, *axes)` stamps that the models were trained on [physical unit].
    held : the same of stamps that no model has seen.
    names : statistics of the headline numbers, of `morphology.statistic_names`; None for those of HEADLINE that the
        number of axes allows.
    scale : from physical to network units, element by element; power spectra and distances to the training set are
        computed after it, so that the brightest galaxies do not decide alone. None for none.
    features : from stamps in physical units to `(n, f)` features, see `pipeline.generate.features`; None leaves the
        measures in features out.
    held_asked : the conditions of the held-out stamps, name to `(n,)`: how well true properties are measured is the
        floor of how well conditions are met.
    seed : of draws, folds and forests.
    """

    def __init__(
        self,
        real: np.ndarray,
        held: np.ndarray,
        *,
        names: Sequence[str] | None = None,
        scale: Transform | None = None,
        features: Transform | None = None,
        held_asked: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
    ):
        if real.shape[1:] != held.shape[1:] or not len(real) or not len(held):
            raise ValueError(f"training stamps {real.shape} and held-out stamps {held.shape} cannot be compared")
        self.shape = held.shape[1:]
        self.known = statistic_names(held.ndim - 2)
        self.names = tuple(names or (name for name in HEADLINE if name in self.known))
        self._scale, self._featured, self._seed = scale or (lambda stamps: stamps), features, seed
        self._training = np.asarray(self._scale(real), dtype=np.float32)
        self._real, self._held = self._measure(real), self._measure(held)
        self._unit = {name: spread(self._held.statistics[name]) for name in self.known}
        self._held_distance = nearest_distance(self._scale(held[self._some(len(held))]), self._training)
        self._held_conditions = conditions_met(held_asked or {}, self._held.statistics)
        self._floors: dict[int, dict[str, Any]] = {}

    def judge(self, fake: np.ndarray, asked: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
        """Compare `fake` `(n, channel, *axes)` [physical unit], made for the conditions `asked`, with real stamps.

        Returns plain JSON; what is undefined is None. Floors are in keys that end with _floor.

        n : stamps compared.
        names : statistics of the next two.
        mean_w1 : mean over them of the Wasserstein-1 distance in standard deviations of real stamps.
        auc, auc_error : area under the ROC curve of a forest on them, see `two_sample.classifier_auc`.
        auc_all : the same on all statistics.
        statistics : for each of all w1, w1_floor, and undefined, how many stamps have no such statistic.
        power_spectrum : dex, see `power_spectrum.decades`, and the spectra of held-out and synthetic stamps.
        features : precision, recall, density, coverage, frechet_distance and auc; None without features.
        neighbours : distances to the training set, see `copies.copying`.
        conditions : see `fidelity.conditions_met`; each with the same of the held-out stamps in "held".
        """
        fake = np.asarray(fake)
        if fake.shape[1:] != self.shape or not len(fake):
            raise ValueError(f"synthetic stamps {fake.shape} cannot be compared with real ones {self.shape}")
        n = min(len(fake), len(self._real.spectra), len(self._held.spectra))
        if n not in self._floors:
            self._floors[n] = self._compare(self._real, n)
        made = self._measure(fake)
        found, floor = self._compare(made, n), self._floors[n]
        distance = nearest_distance(self._scale(fake[self._some(len(fake))]), self._training)
        met = conditions_met(asked or {}, made.statistics)
        return _plain(
            {
                "n": n,
                "names": list(self.names),
                "mean_w1": found["mean_w1"],
                "mean_w1_floor": floor["mean_w1"],
                "auc": found["auc"],
                "auc_error": found["auc_error"],
                "auc_floor": floor["auc"],
                "auc_all": found["auc_all"],
                "auc_all_floor": floor["auc_all"],
                "statistics": {
                    name: {
                        "w1": found["w1"][name],
                        "w1_floor": floor["w1"][name],
                        "undefined": int(np.isnan(made.statistics[name]).sum()),
                        "undefined_held": int(np.isnan(self._held.statistics[name]).sum()),
                    }
                    for name in self.known
                },
                "power_spectrum": {
                    "dex": found["dex"],
                    "dex_floor": floor["dex"],
                    "frequency": self._frequency.tolist(),
                    "held": self._held.spectra.mean(axis=0).tolist(),
                    "synthetic": made.spectra.mean(axis=0).tolist(),
                },
                "features": found["features"] and _beside(found["features"], floor["features"]),
                "neighbours": copying(distance, self._held_distance),
                "conditions": {
                    name: values | {"held": self._held_conditions.get(name)} for name, values in met.items()
                },
            }
        )

    def _measure(self, stamps: np.ndarray) -> _Measured:
        self._frequency, spectra = power_spectra(self._scale(stamps))
        return _Measured(morphology(stamps), spectra, self._featured(stamps) if self._featured else None)

    def _some(self, count: int) -> np.ndarray:
        """The rows whose distances to the training set are computed."""
        return self._drawn(count, min(count, _NEIGHBOURS), 0, 0)

    def _drawn(self, count: int, n: int, side: int, draw: int) -> np.ndarray:
        return np.random.default_rng([self._seed, side, draw]).permutation(count)[:n]

    def _compare(self, other: _Measured, n: int) -> dict[str, Any]:
        """All measures of n of `other` against n held-out stamps."""
        held, counts = self._held, (len(other.spectra), len(self._held.spectra))
        draws = [
            tuple(self._drawn(count, n, side, draw) for side, count in enumerate(counts))
            for draw in range(_DRAWS if max(counts) > n else 1)
        ]
        w1 = {
            name: np.mean(
                [
                    wasserstein(other.statistics[name][ours], held.statistics[name][theirs], self._unit[name])
                    for ours, theirs in draws
                ]
            )
            for name in self.known
        }
        defined = [w1[name] for name in self.names if np.isfinite(w1[name])]
        ours, theirs = draws[0]
        (auc, error), (auc_all, _) = (
            classifier_auc(held.table(names, theirs), other.table(names, ours), self._seed)
            for names in (self.names, self.known)
        )
        return {
            "w1": w1,
            "mean_w1": np.mean(defined) if defined else math.nan,
            "auc": auc,
            "auc_error": error,
            "auc_all": auc_all,
            "dex": np.mean([decades(other.spectra[a].mean(axis=0), held.spectra[b].mean(axis=0)) for a, b in draws]),
            "features": self._in_features(other, ours, theirs),
        }

    def _in_features(self, other: _Measured, ours: np.ndarray, theirs: np.ndarray) -> dict[str, float] | None:
        if other.features is None:
            return None
        real, made = standardised(self._held.features[theirs], other.features[ours])
        return manifold_measures(real, made) | {
            "frechet_distance": frechet_distance(real, made),
            "auc": classifier_auc(real, made, self._seed)[0],
        }


def realism(
    real: np.ndarray, held: np.ndarray, fake: np.ndarray, asked: Mapping[str, np.ndarray] | None = None, **options: Any
) -> dict[str, Any]:
    """One comparison, `Reference(real, held, **options).judge(fake, asked)`; keep the reference for several."""
    return Reference(real, held, **options).judge(fake, asked)


def _beside(found: dict[str, float], floor: dict[str, float]) -> dict[str, float]:
    return found | {f"{name}_floor": value for name, value in floor.items()}


def _plain(value: Any) -> Any:
    """The same with plain numbers, and None for what is not a number."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
