"""A mixture of Gaussians in principal axes."""

from pipeline.generate.linear import Linear


class Mixture(Linear):
    """A mixture of Gaussians with whole covariances in the principal axes of the samples, equal noise beyond.

    Fitted by expectation and maximisation (Dempster, Laird & Rubin 1977) to coordinates and conditions together; given
    what is told, each component is conditioned and its weight multiplied by how well it explains that.
    """

    ridge = 1e-3

    @property
    def components(self) -> int:
        """Gaussians in the mixture."""
        return self.settings.components
