"""The interface of a generative method, and the methods by name."""

from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.generate.method_settings import MethodSettings
from pipeline.generate.methods import CLASSES


class Method(Protocol):
    """One way to learn a distribution of samples and to draw from it; made as `Flow(settings)`, without weights.

    Samples x are ``(n, channel, *axes)`` float32 in network units, that is behind `Scale.forward`. A condition is
    ``(n, width)`` float32; its zeros are not told, so that a row of zeros asks for any sample.

    A method in closed form has, in place of `objective`, ``fit(module, x, condition)``, which sets the buffers of
    `module` from all training samples. A method that needs to know its samples before it learns from them has
    ``prepare(module, draw)``, called before the training; ``draw(n)`` gives n augmented samples and what is known of
    them, nothing left untold. A method whose latent space has no distribution of its own has besides
    ``fit_latent(module, x, condition)``, called after the training with the samples it was trained on.
    """

    settings: MethodSettings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """All that the model file holds, with fresh weights: samples ``(channel, *axes)``, conditions of `width`.

        It has the attributes line, ndim, input_shape and outputs of a `Network`, and can be built on the meta device:
        a model file is read by building the method that it names and filling in its weights and buffers.
        """

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The named parts of the loss on ``(x, condition)``, scalars that are summed; conditions are dropped already.

        generator : where the random numbers come from; the global state when None, which the training loop seeds.
        """

    def sample(
        self,
        module: nn.Module,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample ``(n, channel, *axes)`` for every row of `condition`, on its device, in network units.

        Sample i is the same whatever follows it: noise is drawn sample by sample from `generator`, a CPU generator.

        steps : of the sampler; those of the settings when None; without meaning for methods that have none.
        guidance : weight of the condition, Ho & Salimans 2022 (arXiv:2207.12598): the prediction is
            unconditional + guidance (conditional - unconditional).
        """

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations of the network a sample, for the cost; guidance doubles them."""


def method(settings: MethodSettings) -> Method:
    """The method that `settings` are the settings of."""
    file, name = CLASSES[settings.name]
    return getattr(import_module(f"pipeline.generate.{file}"), name)(settings)


def is_closed(chosen: Method) -> bool:
    """Whether a method is fitted in closed form, without the training loop."""
    return not hasattr(chosen, "objective")
