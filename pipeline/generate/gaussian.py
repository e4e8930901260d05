"""One Gaussian of all pixels."""

from pipeline.generate.linear import Linear


class Gaussian(Linear):
    """The Gaussian with the mean and the covariance of the training samples, and of their conditions.

    The covariance is whole along the leading principal axes, as many as settings.axes, and equal noise beyond.
    Conditions that are told shift its mean and shrink its covariance, Bishop (2006), equations 2.81 and 2.82.
    """
