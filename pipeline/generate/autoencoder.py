"""Auto-encoders, and what all methods with an encoder and a decoder have in common."""

from math import prod

import torch
from torch import Tensor, nn

from pipeline.generate.joint import JointMixture
from pipeline.generate.noise import normal_like, normal_rows
from pipeline.generate.told import ToldEncoder
from pipeline.nn.coders import Decoder, Encoder

_BATCH = 256
_FEATURES = 64


class CodedModule(nn.Module):
    """An encoder, a decoder, the distribution of the latents and of what the decoder leaves out.

    Buffers: those of `prior`, a mixture of Gaussians of latents and conditions; `residual` (channel, *axes), the rms
    over training samples of what decoding the code of a sample gets wrong. `fit_latent` sets both.
    """

    def __init__(
        self, line: str, input_shape: tuple[int, ...], encoder: nn.Module, decoder: nn.Module, prior: JointMixture
    ):
        super().__init__()
        self.line, self.ndim, self.input_shape = line, len(input_shape) - 1, tuple(input_shape)
        self.outputs = input_shape[0]
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.register_buffer("residual", torch.zeros(self.input_shape))


class Coded:
    """The common part of the methods with an encoder and a decoder; a subclass says what is learnt."""

    told = False  # whether encoder and decoder get the conditions
    numbers = 1  # that the encoder gives for each latent coordinate

    def __init__(self, settings):
        self.settings = settings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> CodedModule:
        """The module, with fresh weights, for samples ``(channel, *axes)`` and conditions of `width` numbers."""
        settings, widths = self.settings, self.settings.widths
        condition, numbers = width if self.told else 0, self.numbers * self.settings.latent
        line = f"{settings.name}-{'.'.join(map(str, widths))}_l{settings.latent}_k{settings.components}_c{width}"
        return CodedModule(
            line,
            input_shape,
            ToldEncoder(ndim, input_shape, widths, numbers, condition, _FEATURES)
            if condition
            else Encoder(ndim, input_shape, widths, numbers),
            Decoder(ndim, input_shape, widths, settings.latent, condition=condition),
            JointMixture(settings.components, settings.latent, width),
        )

    def encode(self, module: CodedModule, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The code ``(n, latent)`` of samples; without a condition nothing is told."""
        return self._encoded(module, x, condition)[:, : self.settings.latent]

    def decode(self, module: CodedModule, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Samples without noise ``(n, channel, *axes)`` of codes ``(n, latent)``."""
        return module.decoder(z.float(), condition if self.told else None)

    def reconstruct(self, module: CodedModule, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What remains of samples after encoding and decoding them."""
        return self.decode(module, self.encode(module, x, condition), condition)

    @torch.no_grad()
    def fit_latent(self, module: CodedModule, x: Tensor, condition: Tensor) -> None:
        """Set the distribution of the latents, and the residual, from the training samples; after the training.

        A plain auto-encoder has no prior: the density of the codes is estimated afterwards, with the conditions, as
        in Ghosh et al. (2020, "From variational to deterministic autoencoders"), section 4.
        """
        module.eval()
        generator = torch.Generator().manual_seed(0)
        latents, square = [], torch.zeros_like(module.residual, dtype=torch.float64)
        for start in range(0, len(x), _BATCH):
            part, known = x[start : start + _BATCH], condition[start : start + _BATCH]
            code, latent = self._known_latent(module, part, known, generator)
            latents.append(latent)
            square += (part - self.decode(module, code, known)).double().square().sum(0)
        module.residual.copy_((square / len(x)).sqrt())
        module.prior.fit(torch.cat(latents), condition, ridge=1e-3)

    @torch.no_grad()
    def sample(
        self,
        module: CodedModule,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample ``(n, channel, *axes)`` for each condition; there are no steps, and nothing to guide."""
        latent = self.settings.latent
        noise = normal_rows(len(condition), 1 + latent + prod(module.input_shape), generator, condition.device)
        x = self.decode(module, self._latent(module, condition, noise[:, : 1 + latent]), condition)
        if self.settings.noise:
            x = x + module.residual * noise[:, 1 + latent :].unflatten(1, module.input_shape)
        return x

    def evaluations(self, steps: int | None = None) -> int:
        """One evaluation of the decoder."""
        return 1

    def _encoded(self, module: CodedModule, x: Tensor, condition: Tensor | None) -> Tensor:
        return module.encoder(x, condition if self.told else None)

    def _known_latent(
        self, module: CodedModule, x: Tensor, condition: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The codes ``(n, latent)`` of training samples, and the latents that the prior is fitted to."""
        code = self.encode(module, x, condition)
        return code, code

    def _latent(self, module: CodedModule, condition: Tensor, noise: Tensor) -> Tensor:
        """Latents ``(n, latent)`` to decode, from standard normal `noise` ``(n, 1 + latent)``."""
        return module.prior.sample(condition, noise)


class AutoEncoder(Coded):
    """An auto-encoder, Hinton & Salakhutdinov (2006, Science 313, 504): code and decode with the least error.

    It learns no distribution of codes; a mixture of Gaussians of codes and conditions is fitted afterwards.
    """

    def objective(
        self, module: CodedModule, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The mean squared error of the reconstruction."""
        x, condition = batch
        return {"reconstruction": (self.reconstruct(module, x, condition) - x).square().mean()}


class DenoisingAutoEncoder(Coded):
    """A denoising auto-encoder, Vincent et al. (2008, ICML), section 2.3: the clean sample from a noisy one.

    `reconstruct` therefore denoises samples.
    """

    def objective(
        self, module: CodedModule, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The mean squared error against the clean sample."""
        x, condition = batch
        noisy = x + self.settings.corruption * normal_like(x, generator)
        return {"reconstruction": (self.reconstruct(module, noisy, condition) - x).square().mean()}
