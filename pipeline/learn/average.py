"""An exponential moving average of a network's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The bias-corrected exponential moving average of every floating-point tensor of a network.

    After t updates with weights w_1 ... w_t it holds (1 - d) sum_i d**(t - i) w_i / (1 - d**t), the average of
    Kingma & Ba (2015), section 3: unlike the plain recursion it does not remember the random initial weights,
    which matters in runs that are short against 1 / (1 - d). Running statistics of norms are averaged too.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self._live = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
        self.tensors = {name: tensor.clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average."""
        self.updates += 1
        # One over the sum of the weights d**0 ... d**(t-1): 1 at first, 1 - d in the limit.
        share = (1 - self.decay) / (1 - self.decay**self.updates)
        torch._foreach_lerp_(list(self.tensors.values()), list(self._live.values()), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the network computes with the averaged weights."""
        kept = {name: tensor.clone() for name, tensor in self._live.items()}
        self._write(self.tensors)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, source: dict[str, Tensor]) -> None:
        for name, tensor in self._live.items():
            tensor.copy_(source[name])

    def state_dict(self) -> dict[str, object]:
        """Tensors and plain numbers from which `load_state_dict` continues."""
        return {"updates": self.updates, "tensors": self.tensors}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Continue from a saved average."""
        self.updates = state["updates"]
        for name, tensor in self.tensors.items():
            tensor.copy_(state["tensors"][name])
