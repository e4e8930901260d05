"""The figures of one task, drawn from the files that its stages wrote."""

from collections.abc import Callable
from pathlib import Path

from pipeline.files import write_json
from pipeline.report.classify_figures import classify_figures
from pipeline.report.detect_figures import detect_figures
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.generate_figures import generate_figures
from pipeline.report.hi_figures import hi_figures
from pipeline.report.task_files import TaskFiles, known_kind

# How the figures of each kind of task are drawn into a folder.
FIGURES: dict[str, Callable[[Path, FigureFolder], None]] = {
    "classify": classify_figures,
    "detect": detect_figures,
    "hi": hi_figures,
    "generate": generate_figures,
}


def make_figures(task_folder: str | Path) -> None:
    """Draw every figure of a task into `figures/`, and `figures/captions.json` last.

    Raises
    ------
    UserError : a file that a figure needs is absent or damaged; the stage that writes it is named.
    """
    files = TaskFiles(task_folder, ("metrics.json",))
    kind = known_kind(files, FIGURES)
    out = FigureFolder(files.path("figures"))
    FIGURES[kind](Path(task_folder), out)
    write_json(out.folder / "captions.json", out.captions)
