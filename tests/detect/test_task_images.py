"""Which images a task works on."""

from pathlib import Path

import pytest

from pipeline.detect.task_images import adapted_image, frame_files, labelled_frames, searched_images
from pipeline.detect.task_settings import DetectSettings
from pipeline.errors import UserError

FOLDER = Path("run/simulated")


def frame(image, **more):
    return {"image": image, "truth": f"{image}.csv", **more}


def settings(**more):
    return DetectSettings.model_validate({"kind": "detect", **more})


def test_each_image_is_searched_once_in_order_with_its_primary_beam():
    frames = {
        "train": [frame("a", region=[0, 1, 0, 1]), frame("b")],
        "test": [frame("a", primary_beam="beam", exclude=[0, 1, 0, 1])],
        "detect": ["c", "a"],
    }
    task = settings(frames=frames)
    assert searched_images(task) == [("a", "beam"), ("b", None), ("c", None)]
    assert list(frame_files(labelled_frames(task))) == ["a", "a.csv", "b", "b.csv", "beam"]


def test_a_model_is_adapted_to_an_image_that_it_did_not_learn():
    known, new = {"train": [frame("a")]}, {"detect": ["c"]}
    assert adapted_image(settings(frames=known | new)) == ("c", None)
    assert adapted_image(settings(frames=known)) == ("a", None)
    assert adapted_image(settings(model="m", frames={"test": [frame("t", primary_beam="p")]} | new)) == ("t", "p")


def test_the_simulated_field_comes_first():
    task = settings(simulate={"primary_beam": 1.0}, frames={"detect": ["c"]})
    assert searched_images(task, FOLDER) == [
        ("run/simulated/field.fits", "run/simulated/primary_beam.fits"),
        ("c", None),
    ]
    plain = settings(simulate={})
    assert searched_images(plain, FOLDER) == [("run/simulated/field.fits", None)]
    with pytest.raises(UserError, match="name the folder"):
        searched_images(plain)
