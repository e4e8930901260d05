import pytest
from pydantic import ValidationError

from pipeline.learn.settings import TrainSettings


def test_every_setting_has_a_default_and_says_what_it_is():
    TrainSettings()
    assert all(field.description for field in TrainSettings.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 2.5},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"optimiser": "lion"},
        {"ema": 1.0},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"epochs": 3, "warmup": 3},
        {"unknown": 1},
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainSettings(**wrong)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    assert TrainSettings(learning_rate="2e-3").learning_rate == 2e-3


@pytest.mark.parametrize(
    "monitor, higher", [("loss", False), ("accuracy", True), ("balanced_accuracy", True), ("ap", True)]
)
def test_direction_of_the_monitor(monitor, higher):
    assert TrainSettings(monitor=monitor).higher_is_better is higher
