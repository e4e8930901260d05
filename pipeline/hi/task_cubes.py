"""Which cubes a task works on, in order; no voxel is read."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UserError
from pipeline.hi.task_settings import HiTaskSettings, LabelledCube, SearchedCube
from pipeline.simulate.field_names import CUBE, TRUTH

# The folders of the simulated cubes.
VALIDATION, TEST = "validation", "test"


def learnt_cubes(task: HiTaskSettings, simulated: Path | None) -> list[LabelledCube]:
    """The cubes whose truth chooses calibrator and thresholds, and whose noise is practised in where it is real."""
    return _simulated(task, simulated, VALIDATION) or task.frames.train


def judged_cubes(task: HiTaskSettings, simulated: Path | None) -> list[LabelledCube]:
    """The cubes that the catalogue is judged on."""
    return _simulated(task, simulated, TEST) + task.frames.test


def searched_cubes(task: HiTaskSettings, simulated: Path | None) -> list[SearchedCube]:
    """The cubes to search, each once: those to be judged on, then those that are only to be searched."""
    found: dict[str, SearchedCube] = {}
    for frame in [*judged_cubes(task, simulated), *task.frames.detect]:
        found.setdefault(frame.cube, frame)
    return list(found.values())


def adapted_cube(task: HiTaskSettings, simulated: Path | None) -> SearchedCube:
    """The cube to adapt the model to: the first to search, of those that it does not train with if there are any."""
    known = {frame.cube for frame in task.frames.train}
    cubes = searched_cubes(task, simulated)
    return next((frame for frame in cubes if frame.cube not in known), cubes[0])


def cube_files(frames: list[SearchedCube]) -> Iterator[str]:
    """The files that frames name, each once."""
    named = (path for frame in frames for path in (frame.cube, frame.continuum, getattr(frame, "truth", None)))
    yield from dict.fromkeys(path for path in named if path is not None)


def _simulated(task: HiTaskSettings, simulated: Path | None, part: str) -> list[LabelledCube]:
    if not task.simulates_cubes:
        return []
    if simulated is None:
        raise UserError("the simulated cubes", "are not named", "name the folder that fleming simulate wrote")
    folder = simulated / part
    return [LabelledCube(cube=str(folder / CUBE), truth=str(folder / TRUTH))]
