"""Probabilistic principal component analysis."""

from pipeline.generate.linear import Linear


class PPCA(Linear):
    """Probabilistic principal component analysis, Tipping & Bishop (1999, J. R. Stat. Soc. B 61, 611).

    A sample is W z + mean + noise (equation 2), z standard normal and the noise equal in all pixels. The maximum of
    the likelihood (equations 7 and 8) has the leading principal axes in W, and the mean variance of the others as
    that of the noise. Principal coordinates and conditions have one Gaussian together, so that what is told counts.
    """
