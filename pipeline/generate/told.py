"""An encoder that looks at samples in the light of what is told of them."""

import torch
from torch import Tensor, nn

from pipeline.nn.coders import Encoder


class ToldEncoder(nn.Module):
    """(n, channel, *axes) and a condition (n, width) to (n, outputs), through `hidden` features of the samples.

    Features and condition meet before a layer that is not linear: in a sum of a function of the sample and one of the
    condition nobody would see that the two do not belong together, and a critic would not ask for what is told.
    """

    def __init__(
        self, ndim: int, input_shape: tuple[int, ...], widths: tuple[int, ...], outputs: int, width: int, hidden: int
    ):
        super().__init__()
        self.features = Encoder(ndim, input_shape, widths, hidden)
        self.dense = nn.Sequential(nn.Linear(hidden + width, hidden), nn.SiLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Zeros and None tell nothing."""
        features = nn.functional.silu(self.features(x))
        width = self.dense[0].in_features - features.shape[1]
        told = features.new_zeros(len(x), width) if condition is None else condition
        return self.dense(torch.cat([features, told], 1))
