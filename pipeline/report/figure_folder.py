"""A folder that figures are drawn into, and what is said below each."""

import shutil
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.files import atomic
from pipeline.report.style import figure, save


class FigureFolder:
    """Draws figures into a folder and remembers their captions in the order of drawing."""

    def __init__(self, folder: Path):
        self.folder, self.captions = folder, []

    def add(
        self, file: str, size: tuple[float, float], draw: Callable[[Figure], None], title: str, caption: str
    ) -> None:
        """Draw a figure of `size` inches into `file`."""
        with figure(*size) as canvas:
            draw(canvas)
            save(canvas, self.folder / file)
        self.captions.append({"file": file, "title": title, "caption": caption})

    def take(self, drawn: Path, told: dict[str, str]) -> None:
        """A figure that another stage has drawn, with its file, title and caption."""
        with atomic(self.folder / told["file"]) as beside:
            shutil.copyfile(drawn, beside)
        self.captions.append(told)
