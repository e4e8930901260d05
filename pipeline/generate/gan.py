"""Adversarial methods: a generator and a critic that learn from each other."""

from abc import ABC, abstractmethod
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from pipeline.generate.noise import normal_like, normal_rows
from pipeline.generate.sliced import sliced_wasserstein
from pipeline.generate.told import ToldEncoder
from pipeline.nn.coders import Decoder

_FEATURES = 64


class AdversarialModule(nn.Module):
    """A generator of samples from normal numbers and a condition, and a critic that gives a sample one number.

    The generator adds white noise of a learnt rms `noise`: that of the sky needs no network. `step` counts the
    training batches.
    """

    def __init__(self, line: str, input_shape: tuple[int, ...], generator: nn.Module, critic: nn.Module, noise: float):
        super().__init__()
        self.line, self.ndim, self.input_shape = line, len(input_shape) - 1, tuple(input_shape)
        self.outputs = input_shape[0]
        self.generator, self.critic = generator, critic
        start = torch.full((input_shape[0], *[1] * self.ndim), noise)
        self.noise = nn.Parameter(start, requires_grad=noise > 0)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))


class Adversarial(ABC):
    """The common part of the adversarial methods; a subclass says what generator and critic minimise.

    The one training loop has one optimiser, and takes one step down the sum of both losses. The generated samples in
    the critic's loss and the critic's weights in the generator's are constants, so that each of the two follows the
    gradient of its own loss alone: simultaneous gradient descent, in place of the alternating one of the papers. In
    all batches but one of `critic_steps` the generator gets no gradient, and the optimiser leaves it as it is.

    In evaluation mode the objective is the sliced Wasserstein distance between the batch and as many generated
    samples: the losses of two opponents do not tell whether the samples became better.
    """

    def __init__(self, settings):
        self.settings = settings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> AdversarialModule:
        """The module, with fresh weights, for samples ``(channel, *axes)`` and conditions of `width` numbers."""
        settings = self.settings
        line = f"{settings.name}-{'.'.join(map(str, settings.widths))}_l{settings.latent}_c{width}"
        return AdversarialModule(
            line,
            input_shape,
            Decoder(ndim, input_shape, settings.widths, settings.latent, condition=width),
            ToldEncoder(ndim, input_shape, settings.widths, 1, width, _FEATURES),
            settings.noise,
        )

    def objective(
        self, module: AdversarialModule, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The losses of the critic and of the generator; in evaluation mode the distance of their samples."""
        x, condition = batch
        module.step += module.training
        learns = int(module.step) % self.settings.critic_steps == 0
        z = normal_like(x.new_empty(len(x), self.settings.latent), generator)
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            fake = generated(module, z, normal_like(x, generator), condition)
        if not module.training:
            return {"distance": sliced_wasserstein(x.flatten(1), fake.flatten(1), generator)}
        parts = {"critic": self.critic_loss(module, x, fake.detach(), condition, generator)}
        if not learns:
            return parts | {"generator": x.new_zeros(())}
        constant = {name: weight.detach() for name, weight in module.critic.named_parameters()}
        return parts | {"generator": self.generator_loss(functional_call(module.critic, constant, (fake, condition)))}

    @abstractmethod
    def critic_loss(
        self,
        module: AdversarialModule,
        x: Tensor,
        fake: Tensor,
        condition: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """What the critic minimises, for given and generated samples."""

    @abstractmethod
    def generator_loss(self, judged: Tensor) -> Tensor:
        """What the generator minimises, from the critic's numbers ``(n, 1)`` for its samples."""

    @torch.no_grad()
    def sample(
        self,
        module: AdversarialModule,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample ``(n, channel, *axes)`` for each condition; there are no steps, and nothing to guide."""
        latent, shape = self.settings.latent, module.input_shape
        drawn = normal_rows(len(condition), latent + prod(shape), generator, condition.device)
        return generated(module, drawn[:, :latent], drawn[:, latent:].unflatten(1, shape), condition)

    def evaluations(self, steps: int | None = None) -> int:
        """One evaluation of the generator."""
        return 1


class GAN(Adversarial):
    """A generative adversarial network, Goodfellow et al. (2014), conditional as Mirza & Osindero (2014).

    D is the logistic function of the critic. With `penalty`, gamma in Mescheder, Geiger & Nowozin (2018), equation 9:
    gamma / 2 times the critic's squared gradient at given samples, without which simultaneous descent goes in circles
    (their section 2); 0 is the method of 2014.
    """

    def critic_loss(
        self,
        module: AdversarialModule,
        x: Tensor,
        fake: Tensor,
        condition: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """- ln D(x) - ln(1 - D(fake)): Goodfellow et al., equation 1; and the penalty."""
        penalty = self.settings.penalty
        judged, square = critic_gradient(module, x, condition) if penalty else (module.critic(x, condition), None)
        loss = functional.softplus(-judged).mean() + functional.softplus(module.critic(fake, condition)).mean()
        return loss + penalty / 2 * square.mean() if penalty else loss

    def generator_loss(self, judged: Tensor) -> Tensor:
        """ln(1 - D(fake)) of equation 1 for "min_max", else - ln D(fake), which does not saturate (their section 3)."""
        if self.settings.loss == "min_max":
            return -functional.softplus(judged).mean()
        return functional.softplus(-judged).mean()


class WGANGP(Adversarial):
    """A Wasserstein network with gradient penalty, Gulrajani et al. (2017), equation 3."""

    def critic_loss(
        self,
        module: AdversarialModule,
        x: Tensor,
        fake: Tensor,
        condition: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Mean at generated minus mean at given samples; the norm of the gradient between them is drawn to 1."""
        share = torch.rand((len(x), *[1] * (x.ndim - 1)), generator=generator).to(x)
        _, square = critic_gradient(module, x + share * (fake - x), condition)
        # The root has no derivative at 0, where a critic that does not see its input begins.
        norm = (square + 1e-12).sqrt()
        difference = module.critic(fake, condition).mean() - module.critic(x, condition).mean()
        return difference + self.settings.penalty * (norm - 1).square().mean()

    def generator_loss(self, judged: Tensor) -> Tensor:
        """Minus the mean of the critic."""
        return -judged.mean()


def generated(module: AdversarialModule, z: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
    """Samples ``(n, channel, *axes)`` from normal `z` ``(n, latent)`` and normal `noise` of the shape of samples."""
    return module.generator(z, condition) + module.noise * noise


def critic_gradient(module: AdversarialModule, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """The critic's numbers ``(n, 1)`` at x, and the squared norms ``(n,)`` of its gradient there."""
    place = x.detach().requires_grad_()
    judged = module.critic(place, condition)
    (slope,) = torch.autograd.grad(judged.sum(), place, create_graph=True)
    return judged, slope.flatten(1).square().sum(1)
