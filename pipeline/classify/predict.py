"""From arrays to probabilities, with a model file's own normalisation."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from pipeline.classify.calibrate import probabilities
from pipeline.classify.description import check_description
from pipeline.data.normalise import Normaliser
from pipeline.data.store import Store

# of normalised input in a batch; the feature maps of a network take some ten times as much
BATCH_BYTES = 8 << 20


def symmetry_views(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The views of `x` `(n, channel, *axes)` under the flips and turns of the last two axes.

    Eight views of square planes, four of rectangular ones, one where there is a single axis.
    """
    if x.ndim < 4:
        yield x
        return
    quarter_turns = (0, 1) if x.shape[-1] == x.shape[-2] else (0,)
    for turns in quarter_turns:
        turned = torch.rot90(x, turns, (-2, -1))
        for axes in ((), (-1,), (-2,), (-2, -1)):
            yield torch.flip(turned, axes) if axes else turned


def batch_size(shape: Sequence[int]) -> int:
    """Samples `(channel, *axes)` to predict at a time: 256 small ones, fewer large ones, at least one."""
    return int(max(1, min(256, BATCH_BYTES // (4 * np.prod(shape, dtype=np.int64)))))


def raw_batches(store: Store, indices: np.ndarray) -> Iterator[np.ndarray]:
    """The raw samples of the rows `indices`, `(m, channel, *axes)` at a time."""
    size = batch_size(store.shape)
    for start in range(0, len(indices), size):
        yield store.read(indices[start : start + size])


@torch.inference_mode()
def predict_logits(
    network: torch.nn.Module, batches: Iterable[np.ndarray], normaliser: Normaliser, symmetries: bool = False
) -> np.ndarray:
    """The logits `(n, classes)` of raw samples that come in `batches` of `(m, channel, *axes)`.

    With `symmetries` the logits are averaged over `symmetry_views`.
    """
    network.eval()
    device = next(network.parameters()).device
    rows = []
    for batch in batches:
        x = torch.from_numpy(normaliser.apply(batch)).to(device)
        total, views = 0.0, 0
        for view in symmetry_views(x) if symmetries else (x,):
            total, views = total + network(view).float(), views + 1
        rows.append((total / views).cpu().numpy())
    return np.concatenate(rows)


class Classifier:
    """A loaded model file: raw samples in, calibrated probabilities out.

    Parameters
    ----------
    path : a model file of kind "classify".
    device : where to run, see `pipeline.learn.device.pick_device`.

    Raises
    ------
    UserError : not a model file, a model of another kind, or one with a wrong description.
    """

    def __init__(self, path: str, device: str = "auto"):
        from pipeline.learn.device import pick_device
        from pipeline.learn.model_file import load_model

        self.network, self.description = load_model(path, pick_device(device))
        self.normaliser = check_description(path, self.description)
        self.path = path
        self.classes: list[str] = self.description["classes"]
        self.multilabel: bool = self.description["multilabel"]
        self.sample_shape = tuple(self.description["sample_shape"])

    def logits(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        """Uncalibrated logits `(n, classes)`."""
        return predict_logits(self.network, batches, self.normaliser, self.description["symmetries"])

    def probability(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        """Calibrated probabilities `(n, classes)` of raw samples in `batches` of `(m, channel, *axes)`."""
        return probabilities(self.logits(batches), self.description["temperature"], self.multilabel)
