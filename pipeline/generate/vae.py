"""The variational auto-encoder."""

import torch
from torch import Tensor

from pipeline.generate.autoencoder import Coded, CodedModule
from pipeline.generate.noise import normal_like

_RANGE = 10.0  # logarithms of variances are kept within +- this


class VAE(Coded):
    """A variational auto-encoder, Kingma & Welling (2014), with the beta of Higgins et al. (2017).

    With `prior: fitted` the networks are told nothing: the latents to decode come, as those of an auto-encoder, from a
    mixture that is fitted to the latents of the training samples and their conditions. With `prior: normal` encoder and
    decoder are told the condition (Sohn, Lee & Yan 2015), and the latents are standard normal whatever is told. In
    short trainings the latter obeys badly: a code that still holds the flux costs a few nats of thousands.
    """

    numbers = 2

    @property
    def told(self) -> bool:
        """Whether encoder and decoder get the conditions."""
        return self.settings.prior == "normal"

    def posterior(self, module: CodedModule, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and ln of the variance ``(n, latent)`` of q(z | x)."""
        mean, log_variance = self._encoded(module, x, condition).chunk(2, 1)
        return mean, log_variance.clamp(-_RANGE, _RANGE)

    def objective(
        self, module: CodedModule, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The negative evidence lower bound in nats a pixel: reconstruction + beta KL, Kingma & Welling, equation 10.

        The decoder's noise is Gaussian, with the variance that fits best: the mean squared error of the batch
        (Rybkin, Daniilidis & Levine 2021, "Simple and effective VAE training with calibrated decoders", section 3.1).
        So beta = 1 is the likelihood's own balance of the two parts, whatever the scale of the pixels.
        """
        x, condition = batch
        mean, log_variance = self.posterior(module, x, condition)
        z = mean + (0.5 * log_variance).exp() * normal_like(mean, generator)
        error = (self.decode(module, z, condition) - x).square().mean()
        return {
            "reconstruction": 0.5 * error.clamp(min=1e-8).log(),
            "kl": self.settings.beta * divergence(mean, log_variance).mean() / x[0].numel(),
        }

    def _known_latent(
        self, module: CodedModule, x: Tensor, condition: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        # What the decoder has learnt are draws around the mean.
        mean, log_variance = self.posterior(module, x, condition)
        return mean, mean + (0.5 * log_variance).exp() * normal_like(mean, generator)

    def _latent(self, module: CodedModule, condition: Tensor, noise: Tensor) -> Tensor:
        if self.settings.prior == "fitted":
            return super()._latent(module, condition, noise)
        return noise[:, 1:]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q || N(0, 1)) ``(n,)`` in nats of normal q ``(n, latent)``: Kingma & Welling (2014), appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
