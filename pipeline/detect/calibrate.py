"""The second stage: what a detection's outputs mean, learnt on fields that the network was not trained on.

A small perceptron turns the outputs of a detection into the probability of being a true match, shifts its parameters
and scales their errors. It is kept as plain numbers in the model file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
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
_HIDDEN = 48
_STEPS = 600
_RATE = 5e-3
_DIGITS = 7
_AT_ONCE = 1 << 16
_ONE_SIGMA = 0.6827


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


class Calibrator:
    """A perceptron of two hidden layers over the standardised outputs of a detection.

    layers : weights and biases. mean, spread : (features,). ndim, values : N and P. sigma : (N + P,) the errors of one
    sigma in units of the scaled widths.
    """

    def __init__(
        self, network: nn.Sequential, mean: np.ndarray, spread: np.ndarray, ndim: int, values: int, sigma: np.ndarray
    ):
        self.network, self.mean, self.spread, self.sigma = network.eval(), mean, spread, sigma
        self.ndim, self.values = ndim, values

    def apply(self, detections: Detections, names: Sequence[str] | None = None) -> Calibrated:
        """The probability, the corrected values and the errors of detections.

        names : of the values; where given, the answer is the mean over the symmetries of the sky, so that it turns
            with the sky as the averaged outputs of the network do.
        """
        turns = symmetries(self.ndim)[:1] if names is None else symmetries(self.ndim)
        rival = np.stack(_rival(detections), axis=1)
        # Large images have so many detections that the perceptron's layers would need more memory than the tiles.
        parts = [slice(start, start + _AT_ONCE) for start in range(0, max(len(detections), 1), _AT_ONCE)]
        answers = [
            [self._turned(detections.take(part), rival[part], turn, names or [""] * self.values) for turn in turns]
            for part in parts
        ]
        chance, shift, stretch = (
            np.concatenate([np.mean([said[at] for said in part], axis=0) for part in answers]) for at in range(3)
        )
        widths = detections.width * np.exp(stretch)
        values = detections.values + shift * detections.width[:, self.ndim :]
        return Calibrated(replace(detections, values=values), 1 / (1 + np.exp(-chance)), self.sigma * widths)

    def _turned(
        self, detections: Detections, rival: np.ndarray, turn: Symmetry, names: Sequence[str]
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
            said = self.network(_standardised(_features(seen, rival), self.mean, self.spread))
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
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Calibrator":
        """The inverse of `to_dict`."""
        mean, spread = np.array(stored["mean"]), np.array(stored["spread"])
        network = _perceptron(len(mean), 1 + stored["ndim"] + 2 * stored["values"])
        network.load_state_dict({name: torch.tensor(value) for name, value in stored["weights"].items()})
        return cls(network, mean, spread, stored["ndim"], stored["values"], np.array(stored["sigma"]))


def fit_calibrator(found: Sequence[Detections], truths: Sequence[Truth], seed: int) -> Calibrator:
    """Learn from the detections of fresh fields, one entry a field, and what they truly are.

    The loss is the cross-entropy of the probability and, for matches, minus the log-likelihood of the Laplace
    distributions of centre and values; a fifth of the detections decides when to stop.
    """
    # Neighbours are those of the same field, whose pixels mean nothing in another.
    features = np.concatenate([_features(part, np.stack(_rival(part), axis=1)) for part in found])
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _perceptron(inputs.shape[1], 1 + ndim + 2 * values)
        held = torch.rand(len(inputs)) < 0.2
        _descend(network, inputs, error, matched, held, ndim, values)
        sigma = _sigma(network(inputs[matched]), error[matched], ndim, values)
    return Calibrator(network, mean, spread, ndim, values, sigma)


@torch.no_grad()
def _sigma(said: Tensor, error: Tensor, ndim: int, values: int) -> np.ndarray:
    """The share of the scaled widths (N + P,) that holds 68 % of the errors (n, N + P) of matches.

    Whatever distribution the errors have: those of a core fraction, mostly 0, or of an angle are no Laplace one.
    """
    _, shift, stretch = _parts(said, ndim, values)
    residual = _residual(error, shift).abs() * torch.exp(-stretch)
    return np.quantile(residual.double().numpy(), _ONE_SIGMA, axis=0)


def _descend(network, inputs: Tensor, error: Tensor, matched: Tensor, held: Tensor, ndim: int, values: int) -> None:
    """Gradient descent on all detections at once; the weights of the best step on the `held` ones stay."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    best, kept = np.inf, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(_STEPS):
        optimiser.zero_grad()
        _loss(network(inputs[~held]), error[~held], matched[~held], ndim, values).backward()
        optimiser.step()
        schedule.step()
        if step % 10 == 9:
            with torch.no_grad():
                found = float(_loss(network(inputs[held]), error[held], matched[held], ndim, values))
            if found < best:
                best, kept = found, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(kept)


def _loss(said: Tensor, error: Tensor, matched: Tensor, ndim: int, values: int) -> Tensor:
    chance, shift, stretch = _parts(said, ndim, values)
    cross = F.binary_cross_entropy_with_logits(chance, matched.float())
    if not matched.any():
        return cross
    residual = _residual(error[matched], shift[matched])
    likelihood = residual.abs() * torch.exp(-stretch[matched]) + stretch[matched]
    return cross + 0.1 * likelihood.mean(0).sum()


def _residual(error: Tensor, shift: Tensor) -> Tensor:
    ndim = error.shape[1] - shift.shape[1]
    return torch.cat([error[:, :ndim], error[:, ndim:] - shift], 1)


def _parts(said: Tensor, ndim: int, values: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logit (n,), shift of the values in their widths (n, P), and log-factor of the widths (n, N + P)."""
    chance, shift, stretch = said.split([1, values, ndim + values], 1)
    return chance[:, 0], shift, stretch.clamp(-3, 3)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, outputs)
    )


def _standardised(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> Tensor:
    return torch.from_numpy(np.clip((features - mean) / spread, -8, 8)).float()


def _features(detections: Detections, rival: np.ndarray) -> np.ndarray:
    """(n, features): the outputs, and what `_rival` says of the nearest other detection, (n, 2)."""
    logits = detections.classes - detections.classes.max(1, keepdims=True, initial=0)
    return np.concatenate(
        [
            detections.logit[:, None],
            np.log(detections.size),
            detections.values,
            np.log(detections.width),
            logits,
            rival,
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
