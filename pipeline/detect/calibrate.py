"""The second stage: what a detection's outputs mean, learnt on fields that the network was not trained on.

A small perceptron turns the outputs of a detection into the probability of being a true match, shifts its parameters
and scales their errors. It is kept as plain numbers in the model file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor, nn

from pipeline.detect.predict import Detections, join
from pipeline.detect.symmetry import Symmetry, symmetries

# Beyond this a better neighbour does not matter [pixel].
_FAR = 16.0
_STEPS = 600
_RATE = 5e-3
_DIGITS = 7
_AT_ONCE = 1 << 14
_ONE_SIGMA = 0.6827


@dataclass(frozen=True)
class Capacity:
    """How much a calibrator may learn.

    hidden : width of its layers. decay : of the weights. folds : the step to stop at is the best one of a fifth that
    is kept aside (1), or that of so many parts, each judged by what the others teach; all detections then teach.
    """

    hidden: int = 48
    decay: float = 1e-2
    folds: int = 1


# A few hundred matches do not fill the large one, and a fifth of them is too few to stop or to measure errors by.
LARGE, SMALL = Capacity(), Capacity(hidden=16, decay=2.0, folds=5)


@dataclass
class Truth:
    """What n detections truly are: `matched` (n,), and centre (n, N), values (n, P) of the match, NaN where none."""

    matched: np.ndarray
    centre: np.ndarray
    values: np.ndarray


@dataclass
class Calibrated:
    """Detections with what the calibrator says: probability (n,) of a true match, errors (n, N + P) of one sigma.

    The errors are half the widths of the intervals that hold 68 % of centre and values, in their units.
    """

    detections: Detections
    probability: np.ndarray
    errors: np.ndarray


def take(calibrated: Calibrated, chosen: np.ndarray) -> Calibrated:
    """The detections of a mask or of indices."""
    return Calibrated(calibrated.detections.take(chosen), calibrated.probability[chosen], calibrated.errors[chosen])


def joined(parts: Sequence[Calibrated]) -> Calibrated:
    """One after the other."""
    numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("probability", "errors"))
    return Calibrated(join([part.detections for part in parts]), *numbers)


class Calibrator:
    """A perceptron of two hidden layers over the standardised outputs of a detection.

    layers : weights and biases. mean, spread : (features,). ndim, values : N and P. sigma : (N + P,) the errors of one
    sigma in units of the scaled widths. extra : how many further features of a detection it is told.
    """

    def __init__(
        self,
        network: nn.Sequential,
        mean: np.ndarray,
        spread: np.ndarray,
        ndim: int,
        values: int,
        sigma: np.ndarray,
        extra: int = 0,
    ):
        self.network, self.mean, self.spread, self.sigma = network.eval(), mean, spread, sigma
        self.ndim, self.values, self.extra = ndim, values, extra

    def apply(
        self,
        detections: Detections,
        names: Sequence[str] | None = None,
        extra: np.ndarray | None = None,
        least: float = 0.0,
    ) -> Calibrated:
        """The probability, the corrected values and the errors of the detections that are at least so probable.

        names : of the values; where given, the answer is the mean over the symmetries of the sky, so that it turns
            with the sky as the averaged outputs of the network do.
        extra : further features (n, K) that it was fitted with, which no symmetry changes.
        """
        told = 0 if extra is None else extra.shape[1]
        if told != self.extra:
            raise ValueError(f"the calibrator was fitted with {self.extra} further features, not {told}")
        turns = symmetries(self.ndim)[:1] if names is None else symmetries(self.ndim)
        beside = _beside(detections, extra)
        # Large images have so many detections that the perceptron's layers would need more memory than the tiles, and
        # most are too improbable to be kept.
        kept, probability, values, errors = ([] for _ in range(4))
        for start in range(0, max(len(detections), 1), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            some = detections.take(part)
            answers = [self._turned(some, beside[part], turn, names or [""] * self.values) for turn in turns]
            chance, shift, stretch = (np.mean([said[at] for said in answers], axis=0) for at in range(3))
            chance = 1 / (1 + np.exp(-chance))
            likely = chance >= least
            kept.append(likely)
            probability.append(chance[likely])
            values.append((some.values + shift * some.width[:, self.ndim :])[likely])
            errors.append((self.sigma * some.width * np.exp(stretch))[likely])
        probability, values, errors = (np.concatenate(parts) for parts in (probability, values, errors))
        likely = np.concatenate(kept)
        detections = detections if likely.all() else detections.take(likely)
        return Calibrated(replace(detections, values=values), probability, errors)

    def _turned(
        self, detections: Detections, beside: np.ndarray, turn: Symmetry, names: Sequence[str]
    ) -> list[np.ndarray]:
        """Logit, shift and log-factor as `_parts`, of the detections that were seen turned by `turn`."""
        size, values, width = (
            torch.from_numpy(part) for part in (detections.size, detections.values, detections.width)
        )
        n, back = self.ndim, turn.inverse
        seen = replace(
            detections,
            size=turn.sizes(size).numpy(),
            values=turn.values(values, names).numpy(),
            width=torch.cat([turn.sizes(width[:, :n]), turn.spreads(width[:, n:], names)], 1).numpy(),
        )
        with torch.inference_mode():
            said = self.network(_standardised(_features(seen, beside), self.mean, self.spread))
            chance, shift, stretch = _parts(said, n, self.values)
            stretch = torch.cat([back.sizes(stretch[:, :n]), back.spreads(stretch[:, n:], names)], 1)
            return [part.double().numpy() for part in (chance, back.values(shift, names), stretch)]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        state = {
            name: np.round(tensor.numpy().astype(float), _DIGITS).tolist()
            for name, tensor in self.network.state_dict().items()
        }
        return {
            "mean": self.mean.tolist(),
            "spread": self.spread.tolist(),
            "sigma": self.sigma.tolist(),
            "ndim": self.ndim,
            "values": self.values,
            "weights": state,
            **({"extra": self.extra} if self.extra else {}),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Calibrator":
        """The inverse of `to_dict`."""
        mean, spread = np.array(stored["mean"]), np.array(stored["spread"])
        weights = {name: torch.tensor(value) for name, value in stored["weights"].items()}
        network = _perceptron(len(mean), 1 + stored["ndim"] + 2 * stored["values"], len(weights["0.bias"]))
        network.load_state_dict(weights)
        sigma, extra = np.array(stored["sigma"]), stored.get("extra", 0)
        return cls(network, mean, spread, stored["ndim"], stored["values"], sigma, extra)


def fit_calibrator(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    seed: int,
    *,
    extra: Sequence[np.ndarray] | None = None,
    weights: Sequence[np.ndarray] | None = None,
    emphasis: Sequence[np.ndarray] | None = None,
    capacity: Capacity = LARGE,
) -> Calibrator:
    """Learn from the detections of fresh fields, one entry a field, and what they truly are.

    The loss is the cross-entropy of the probability and, for matches, minus the log-likelihood of the Laplace
    distributions of centre and values; detections that do not teach decide when to stop.

    Parameters
    ----------
    extra : further features (n, K) of each field's detections, that no symmetry changes.
    weights : of each field's detections (n,): how often one of them is met in the sky that the probability is for.
        In a field with k times the sources of the sky, the true ones have 1 / k.
    emphasis : of each field's detections (n,): how much a match counts in what is learnt of values and errors.
    capacity : how much is learnt; `SMALL` suits a few hundred matches.
    """
    # Neighbours are those of the same field, whose pixels mean nothing in another.
    further = [None] * len(found) if extra is None else extra
    features = np.concatenate([_features(part, _beside(part, more)) for part, more in zip(found, further, strict=True)])
    detections = join(found)
    truth = Truth(*(np.concatenate([getattr(part, item.name) for part in truths]) for item in fields(Truth)))
    ndim, values = detections.centre.shape[1], detections.values.shape[1]
    mean, spread = features.mean(0), features.std(0) + 1e-3
    inputs = _standardised(features, mean, spread)
    width = torch.from_numpy(detections.width).float()
    error = torch.from_numpy(
        np.concatenate([truth.centre - detections.centre, truth.values - detections.values], axis=1)
    ).float()
    error = (error / width).clamp(-100, 100)
    matched = torch.from_numpy(truth.matched)
    weight, stress = (
        torch.ones(len(inputs)) if given is None else torch.from_numpy(np.concatenate(given)).float()
        for given in (weights, emphasis)
    )
    sample = _Sample(inputs, error, matched, weight, stress, ndim, values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if capacity.folds > 1:
            network, said = _folded(sample, capacity)
        else:
            network = sample.perceptron(capacity)
            held = torch.rand(len(inputs)) < 0.2
            _descend(network, sample.take(~held), sample.take(held), capacity)
            said = network(inputs)
        sigma = _sigma(said[matched], error[matched], ndim, values)
    return Calibrator(network, mean, spread, ndim, values, sigma, 0 if extra is None else extra[0].shape[1])


@dataclass(frozen=True)
class _Sample:
    """Detections to learn from: inputs (n, features), error (n, N + P) in widths, matched, weight and stress (n,)."""

    inputs: Tensor
    error: Tensor
    matched: Tensor
    weight: Tensor
    stress: Tensor
    ndim: int
    values: int

    def take(self, chosen: Tensor) -> "_Sample":
        parts = ("inputs", "error", "matched", "weight", "stress")
        return replace(self, **{name: getattr(self, name)[chosen] for name in parts})

    def perceptron(self, capacity: Capacity) -> nn.Sequential:
        return _perceptron(self.inputs.shape[1], 1 + self.ndim + 2 * self.values, capacity.hidden)

    def loss(self, said: Tensor) -> Tensor:
        """Of what a perceptron says of them (n, outputs)."""
        chance, shift, stretch = _parts(said, self.ndim, self.values)
        cross = F.binary_cross_entropy_with_logits(chance, self.matched.float(), self.weight) / self.weight.mean()
        matched = self.matched
        if not matched.any():
            return cross
        residual = _residual(self.error[matched], shift[matched])
        # How dense a field is says nothing of the errors: `weight` has no part in them.
        likelihood = residual.abs() * torch.exp(-stretch[matched]) + stretch[matched]
        stress = self.stress[matched, None]
        return cross + 0.1 * ((stress * likelihood).sum(0) / stress.sum()).sum()


def _folded(sample: _Sample, capacity: Capacity) -> tuple[nn.Sequential, Tensor]:
    """A perceptron that all detections taught, and what those that were taught by the others say of each (n, outputs).

    All are stopped at the step that is best for the parts kept aside, taken together.
    """
    part = torch.randperm(len(sample.inputs)) % capacity.folds
    # Matches are few: each part has its share of them.
    part[sample.matched] = torch.randperm(int(sample.matched.sum())) % capacity.folds
    curves, answers = [], []
    for fold in range(capacity.folds):
        learnt, held = sample.take(part != fold), sample.take(part == fold)
        steps = list(_course(sample.perceptron(capacity), learnt, held, capacity))
        curves.append([loss * len(held.inputs) for loss, _, _ in steps])
        answers.append([said for _, _, said in steps])
    best = int(np.argmin(np.sum(curves, axis=0)))
    said = torch.empty_like(torch.cat([part[best] for part in answers]))
    for fold, answer in enumerate(answers):
        said[part == fold] = answer[best]
    network = sample.perceptron(capacity)
    *_, (_, kept, _) = islice(_course(network, sample, sample.take(part == 0), capacity), best + 1)
    network.load_state_dict(kept)
    return network, said


@torch.no_grad()
def _sigma(said: Tensor, error: Tensor, ndim: int, values: int) -> np.ndarray:
    """The share of the scaled widths (N + P,) that holds 68 % of the errors (n, N + P) of matches.

    Whatever distribution the errors have: those of a core fraction, mostly 0, or of an angle are no Laplace one.
    """
    _, shift, stretch = _parts(said, ndim, values)
    residual = _residual(error, shift).abs() * torch.exp(-stretch)
    return np.quantile(residual.double().numpy(), _ONE_SIGMA, axis=0)


def _descend(network: nn.Sequential, learnt: _Sample, held: _Sample, capacity: Capacity) -> None:
    """Gradient descent on all detections at once; the weights of the best step on the `held` ones stay."""
    best, kept = np.inf, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for loss, weights, _ in _course(network, learnt, held, capacity):
        if loss < best:
            best, kept = loss, weights
    network.load_state_dict(kept)


def _course(
    network: nn.Sequential, learnt: _Sample, held: _Sample, capacity: Capacity
) -> Iterator[tuple[float, dict[str, Tensor], Tensor]]:
    """Gradient descent on all of `learnt` at once: every tenth step, the loss on `held`, the weights, what they say."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=capacity.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    for step in range(_STEPS):
        optimiser.zero_grad()
        learnt.loss(network(learnt.inputs)).backward()
        optimiser.step()
        schedule.step()
        if step % 10 == 9:
            with torch.no_grad():
                said = network(held.inputs)
                loss = float(held.loss(said))
            yield loss, {name: tensor.clone() for name, tensor in network.state_dict().items()}, said


def _residual(error: Tensor, shift: Tensor) -> Tensor:
    ndim = error.shape[1] - shift.shape[1]
    return torch.cat([error[:, :ndim], error[:, ndim:] - shift], 1)


def _parts(said: Tensor, ndim: int, values: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logit (n,), shift of the values in their widths (n, P), and log-factor of the widths (n, N + P)."""
    chance, shift, stretch = said.split([1, values, ndim + values], 1)
    return chance[:, 0], shift, stretch.clamp(-3, 3)


def _perceptron(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


def _standardised(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> Tensor:
    return torch.from_numpy(np.clip((features - mean) / spread, -8, 8)).float()


def _beside(detections: Detections, extra: np.ndarray | None) -> np.ndarray:
    """What is told of detections beside their outputs, (n, 2 + K): the nearest other one, and the further features."""
    rival = np.stack(_rival(detections), axis=1)
    return rival if extra is None else np.concatenate([rival, extra], axis=1)


def _features(detections: Detections, beside: np.ndarray) -> np.ndarray:
    """(n, features): the outputs, and what `_beside` tells."""
    logits = detections.classes - detections.classes.max(1, keepdims=True, initial=0)
    return np.concatenate(
        [
            detections.logit[:, None],
            np.log(detections.size),
            detections.values,
            np.log(detections.width),
            logits,
            beside,
        ],
        axis=1,
    ).astype(float)


def _rival(detections: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Of the nearest other detection: ln of its distance, up to `_FAR`, and by how much its logit is higher."""
    gap, lead = np.full(len(detections), np.log(_FAR)), np.zeros(len(detections))
    if len(detections) > 1:
        distance, other = cKDTree(detections.centre).query(detections.centre, k=2, distance_upper_bound=_FAR)
        near = np.isfinite(distance[:, 1])
        gap[near] = np.log(np.maximum(distance[near, 1], 0.5))
        lead[near] = np.clip(detections.logit[other[near, 1]] - detections.logit[near], -5, 5)
    return gap, lead
