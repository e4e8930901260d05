"""Objects in the pixels of a frame: what the detector learns from, predicts and is judged by."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass
class Objects:
    """n objects of a frame with N axes, in numpy axis order, pixel 0 centred on coordinate 0.

    centre : (n, N) [pixel]. size : (n, N) full sides of the box [pixel].
    values : (n, P) the parameters that a detector learns, in the order of its `values` names.
    label : (n,) class index, -1 where unknown. snr : (n,) effective signal-to-noise ratio.
    row : (n,) the row of the table that they came from.
    """

    centre: np.ndarray
    size: np.ndarray
    values: np.ndarray
    label: np.ndarray
    snr: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)

    def take(self, chosen: np.ndarray) -> "Objects":
        """The objects of a mask or of indices."""
        return Objects(*(getattr(self, part.name)[chosen] for part in fields(self)))

    def boxes(self) -> np.ndarray:
        """Lower and upper corners, (n, 2, N) [pixel]."""
        return np.stack([self.centre - self.size / 2, self.centre + self.size / 2], axis=1)
