"""A trained generative model as a file: its method, network, scale and conditions; physical stamps come out."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.generate.conditions import Conditions
from pipeline.generate.method import Method, method
from pipeline.generate.methods import read_settings
from pipeline.generate.scale import Scale
from pipeline.learn.device import pick_device
from pipeline.learn.model_file import load_model, read_description, save_model

KIND = "generate"
# Pixels that are made at a time.
_BLOCK_PIXELS = 1 << 19
_NEEDED = (
    "method", "method_settings", "scale", "conditions", "sample_shape", "unit", "population", "stamps", "limits",
)  # fmt: skip
_AGAIN = "train the model again with this version"


@dataclass
class Generator:
    """A model in memory: conditions in, stamps in physical units out.

    Attributes
    ----------
    name : of the method in its task; `method` says how it samples.
    module : the network with all else that the method has learnt, on its device, in evaluation mode.
    population : `(m rows)` conditions of training stamps: what the training set is made of.
    description : all that the model file says.
    """

    name: str
    method: Method
    module: nn.Module
    scale: Scale
    conditions: Conditions
    population: pd.DataFrame
    description: dict[str, Any]

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> "Generator":
        """Read a model file.

        Raises
        ------
        UserError : not a model file, a model of another kind, or one with a wrong description.
        """
        description = read_description(path)
        if description.get("kind") != KIND:
            what = f"is a model of kind {description.get('kind')}, which makes no samples"
            raise UserError(path, what, f"give a model of a task of kind {KIND}")
        missing = [name for name in _NEEDED if name not in description]
        if missing:
            raise UserError(path, f"has a description without {', '.join(missing)}", _AGAIN)
        try:
            chosen = method(read_settings(description["method_settings"]))
            conditions = Conditions.from_dict(description["conditions"])
            scale = Scale.from_dict(description["scale"])
            population = pd.DataFrame(description["population"])
        except (UserError, ValueError, KeyError, TypeError) as error:
            raise UserError(path, f"has a description that makes no sense ({_reason(error)})", _AGAIN) from error

        def build(line: str, ndim: int, input_shape: list[int], outputs: int | None) -> nn.Module:
            return chosen.build(ndim, tuple(input_shape), conditions.width)

        module, _ = load_model(path, pick_device(device), build=build)
        return cls(description["method"], chosen, module, scale, conditions, population, description)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a stamp, (channel, *axes)."""
        return tuple(self.description["sample_shape"])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(iter(self.module.state_dict().values())).device

    def drawn(self, n: int, seed: int) -> pd.DataFrame:
        """Conditions of n stamps, drawn from the population `(n rows)`; no column where nothing can be told."""
        if not len(self.population):
            return pd.DataFrame(index=range(n))
        rows = np.random.default_rng([seed, n]).integers(len(self.population), size=n)
        return self.population.iloc[rows].reset_index(drop=True)

    def sample(
        self,
        asked: pd.DataFrame,
        seed: int,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """A stamp for every row of `asked` `(n rows)`, `(n, channel, *axes)` float32 in the unit of the model.

        Columns that are absent and cells that are NaN are not told. The same seed gives the same stamps: a stamp has
        random numbers of its own, whatever is made together with it. Pixels far outside the range of the training
        stamps, as those of a method that diverges, are cut to the limits of the model. Where those are pictures of
        whole numbers from 0 to 255, so are these.

        Raises
        ------
        UserErrors : a value that cannot be told, see `Conditions.encode`, or pixels that are not finite.
        """
        condition = self.conditions.encode(asked)
        block = max(1, min(256, _BLOCK_PIXELS // math.prod(self.sample_shape)))
        stamps = np.empty((len(asked), *self.sample_shape), dtype=np.float32)
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, len(asked), block):
            stop = min(start + block, len(asked))
            told = condition[start:stop].to(self.device)
            with torch.no_grad():
                x = self.method.sample(self.module, told, generator, steps=steps, guidance=guidance)
            within = x.detach().double().cpu().numpy().clip(*self.description["limits"])
            stamps[start:stop] = self._of_type(self.scale.inverse(within))
            if progress is not None:
                progress(stop)
        if not np.isfinite(stamps).all():
            what = "makes stamps with pixels that are not finite"
            raise UserError(f"the model {self.name}", what, "train it longer, or take more steps or less guidance")
        return stamps

    def _of_type(self, stamps: np.ndarray) -> np.ndarray:
        """Stamps of 8 bits where the training stamps are: else the place of every pixel between two steps tells them
        apart, and so does a sky that is not cut at 0."""
        return np.rint(stamps).clip(0, 255) if self.description.get("bytes") else stamps


def save_generator(path: Path, generator: Generator) -> None:
    """Write the model file; `generator.description` is completed by what the rest of the generator says.

    Raises
    ------
    UserError : the file cannot be written.
    """
    own = {
        "kind": KIND,
        "method": generator.name,
        "method_settings": generator.method.settings.model_dump(mode="json", exclude={"train"}),
        "scale": generator.scale.to_dict(),
        "conditions": generator.conditions.to_dict(),
        "population": _plain(generator.population),
    }
    save_model(path, generator.module, generator.description | own)


def _plain(table: pd.DataFrame) -> dict[str, list]:
    """The columns as JSON can hold them, None where nothing is known."""
    return {name: [None if pd.isna(value) else value for value in column.tolist()] for name, column in table.items()}


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
