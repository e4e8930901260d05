"""What every generative method can be told. No part of PyTorch is loaded here: a config is read without it."""

from pydantic import Field

from pipeline.learn.settings import TrainSettings
from pipeline.settings import Settings


class MethodSettings(Settings):
    """The base of the settings of a method; `name`, a literal with a default, tells the methods apart.

    A method's settings are in a file of their own, `<file>_settings.py`, so that reading a config loads no network.
    """

    name: str = Field(description="the method")
    train: TrainSettings | None = Field(
        None, description="what of the task's train is different for this method, such as {epochs: 40}"
    )

    def training(self, common: TrainSettings) -> TrainSettings:
        """The settings of the training: those of the task, `common`, changed by what is given here."""
        changes = {} if self.train is None else self.train.model_dump(exclude_unset=True)
        return TrainSettings.model_validate(common.model_dump() | changes)
