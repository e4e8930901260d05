"""Layers in torch for any number of axes; tensors are (n, channel, *axes), or (n, features) once flattened."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.nn.convolution import Conv3d
from pipeline.nn.shapes import projects
from pipeline.nn.tokens import Layer, same_padding

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: Conv3d}
MAXIMUM = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
# torch's own choice of epsilon, kept as it is what published weights were trained with
EPSILON = 1e-5


def activation(name: str, inplace: bool = False) -> nn.Module | None:
    """The module of an activation; None for `linear`. `inplace` saves memory where the layer before allows it."""
    if name.startswith("leaky"):
        return nn.LeakyReLU(float(name.removeprefix("leaky")), inplace=inplace)
    if name == "relu":
        return nn.ReLU(inplace=inplace)
    # softmax ends a network only, and a network returns the numbers before it
    modules = {"gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    return None if name == "linear" else modules[name]()


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of (n, channel, *axes) over n and the axes (Ioffe & Szegedy 2015, algorithm 1).

    A training batch with a single value in each channel (the last batch of an epoch can be one object) has no variance:
    it is normalised by the running statistics, as at prediction, where torch would stop.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position (Ba, Kiros & Hinton 2016, equation 4)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class InstanceNorm(nn.GroupNorm):
    """Normalisation of every channel of every sample by itself, over the axes (Ulyanov et al. 2016, equation 7)."""

    def __init__(self, channel: int):
        super().__init__(channel, channel)


def normalisation(name: str, channel: int) -> nn.Module | None:
    """The module of a normalisation for so many channels; None for `none`."""
    if name.startswith("group"):
        return nn.GroupNorm(int(name.removeprefix("group")), channel, eps=EPSILON)
    if name == "none":
        return None
    return {"batch": BatchNorm, "layer": ChannelNorm, "instance": InstanceNorm}[name](channel)


class GlobalPool(nn.Module):
    """Average or maximum over all axes: (n, channel, *axes) to (n, channel)."""

    def __init__(self, maximum: bool):
        super().__init__()
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return flat.amax(2) if self.maximum else flat.mean(2)


class Upsample(nn.Module):
    """Repeat every pixel `factor` times along each axis."""

    def __init__(self, factor: tuple[int, ...]):
        super().__init__()
        self.factor = tuple(float(k) for k in factor)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=self.factor, mode="nearest")


class Residual(nn.Module):
    """The basic block of He et al. (2016, CVPR, equation 2): two convolutions, the input added, then the activation.

    The skip connection is the input itself, or a 1-wide strided convolution of it where the shape changes. The block
    starts as its skip connection alone (the last scale is zero: Goyal et al. 2017, section 5.1), which lets deep
    networks train from the first step, with or without a normalisation.
    """

    def __init__(self, layer: Layer, channel: int):
        super().__init__()
        conv = CONVOLUTION[len(layer.size)]
        width = layer.width
        self.inner = sequence(
            conv1=conv(channel, width, layer.size, layer.stride, layer.padding, bias=layer.bias),
            norm1=normalisation(layer.norm, width),
            activation=activation(layer.activation, inplace=True),
            conv2=conv(width, width, layer.second, 1, same_padding(layer.second), bias=layer.bias),
            norm2=normalisation(layer.norm, width),
        )
        self.skip = (
            sequence(
                conv=conv(channel, width, 1, layer.stride, bias=layer.bias),
                norm=normalisation(layer.norm, width),
            )
            if projects(layer, channel)
            else nn.Identity()
        )
        self.activation = activation(layer.activation, inplace=True) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.inner(x) + self.skip(x))

    def start_as_skip(self) -> None:
        """Set the last scale to zero."""
        nn.init.zeros_(self.inner[-1].weight)


def sequence(**modules: nn.Module | None) -> nn.Sequential:
    """The modules that are there, in order, under their names."""
    return nn.Sequential(OrderedDict((name, module) for name, module in modules.items() if module is not None))


def initialise(network: nn.Module, slope: float) -> None:
    """Draw weights from He et al. (2015, equation 14): normal, variance 2 / ((1 + slope^2) fan-in); biases zero.

    The draw depends on torch's global seed alone.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Residual):
                module.start_as_skip()
