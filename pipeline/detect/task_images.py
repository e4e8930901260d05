"""Which images a detection task works on, in order; no pixel is read."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.detect.task_settings import DetectSettings, LabelledFrame
from pipeline.errors import UserError
from pipeline.simulate.field_names import IMAGE, PRIMARY_BEAM, TRUTH

Image = tuple[str, str | None]
"""An image, and the image of its primary beam or None."""


def searched_images(task: DetectSettings, simulated: Path | None = None) -> list[Image]:
    """The images to search, each once: what the task trains on, what it is judged on, what it is only to search.

    `simulated` is the folder of the task's simulated field.

    Raises
    ------
    UserError : the task simulates its field and `simulated` is None.
    """
    found: dict[str, str | None] = {}
    for frame in labelled_frames(task, simulated):
        found[frame.image] = found.get(frame.image) or frame.primary_beam
    for image in task.frames.detect:
        found.setdefault(image, None)
    return list(found.items())


def adapted_image(task: DetectSettings, simulated: Path | None = None) -> Image:
    """The image that the task's model is adapted to: the first one that it does not train on, if there is one."""
    trained = simulated_frames(task, simulated) + task.frames.train
    known = {frame.image for frame in trained}
    images = searched_images(task, simulated)
    return next((image for image in images if image[0] not in known), images[0])


def labelled_frames(task: DetectSettings, simulated: Path | None = None) -> list[LabelledFrame]:
    """Every frame with a truth table: to train on, then to be judged on."""
    return simulated_frames(task, simulated) + task.frames.train + task.frames.test


def simulated_frames(task: DetectSettings, simulated: Path | None) -> list[LabelledFrame]:
    """The simulated field in the folder `simulated` as a labelled frame; none where the task simulates nothing."""
    if task.simulate is None:
        return []
    if simulated is None:
        raise UserError("the simulated field", "is not named", "name the folder that fleming simulate wrote")
    beam = str(simulated / PRIMARY_BEAM) if task.simulate.primary_beam is not None else None
    return [LabelledFrame(image=str(simulated / IMAGE), truth=str(simulated / TRUTH), primary_beam=beam)]


def frame_files(frames: list[LabelledFrame]) -> Iterator[str]:
    """The files that frames name, each once."""
    named = (path for frame in frames for path in (frame.image, frame.truth, frame.primary_beam))
    yield from dict.fromkeys(path for path in named if path is not None)
