"""The methods by name: where each is, and its settings. No part of PyTorch is loaded here."""

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter

from pipeline.generate.autoencoder_settings import AutoEncoderSettings, DenoisingAutoEncoderSettings
from pipeline.generate.ddpm_settings import DDPMSettings
from pipeline.generate.edm_settings import EDMSettings
from pipeline.generate.flow_settings import FlowSettings
from pipeline.generate.gan_settings import GANSettings, WGANGPSettings
from pipeline.generate.gaussian_settings import GaussianSettings
from pipeline.generate.mean_flow_settings import MeanFlowSettings
from pipeline.generate.method_settings import MethodSettings
from pipeline.generate.mixture_settings import MixtureSettings
from pipeline.generate.ncsn_settings import NCSNSettings
from pipeline.generate.ppca_settings import PPCASettings
from pipeline.generate.vae_settings import VAESettings

# The file of a method in this room, and its class, by the name in its settings.
CLASSES = {
    "gaussian": ("gaussian", "Gaussian"),
    "mixture": ("mixture", "Mixture"),
    "ppca": ("ppca", "PPCA"),
    "autoencoder": ("autoencoder", "AutoEncoder"),
    "denoising_autoencoder": ("autoencoder", "DenoisingAutoEncoder"),
    "vae": ("vae", "VAE"),
    "gan": ("gan", "GAN"),
    "wgan_gp": ("gan", "WGANGP"),
    "ncsn": ("ncsn", "NCSN"),
    "ddpm": ("ddpm", "DDPM"),
    "edm": ("edm", "EDM"),
    "flow": ("flow", "Flow"),
    "mean_flow": ("mean_flow", "MeanFlow"),
}

MethodSettingsOf = Annotated[
    GaussianSettings
    | MixtureSettings
    | PPCASettings
    | AutoEncoderSettings
    | DenoisingAutoEncoderSettings
    | VAESettings
    | GANSettings
    | WGANGPSettings
    | NCSNSettings
    | DDPMSettings
    | EDMSettings
    | FlowSettings
    | MeanFlowSettings,
    Field(discriminator="name"),
]
SETTINGS: dict[str, type[MethodSettings]] = {
    kind.model_fields["name"].default: kind for kind in get_args(get_args(MethodSettingsOf)[0])
}


def with_name(key: str, values: Any) -> Any:
    """The settings of a method as a user writes them, with the name of the method: the key, where none is given."""
    if values is None:
        values = {}
    return {"name": key, **values} if isinstance(values, dict) else values


def read_settings(values: dict[str, Any]) -> MethodSettings:
    """The settings that a dump of them describes.

    Raises
    ------
    pydantic.ValidationError : they are not those of a method.
    """
    return TypeAdapter(MethodSettingsOf).validate_python(values)
