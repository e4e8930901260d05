"""Figures that tasks on images and on cubes have in common."""

from typing import Any

from pipeline.report.detections import draw_coverage, draw_probability
from pipeline.report.figure_folder import FigureFolder


def add_reliability(out: FigureFolder, metrics: dict[str, Any]) -> None:
    """Whether probabilities come true, where there are any."""
    if not (metrics["reliability"] and metrics["n_det"]):
        return
    error = metrics["reliability"]["ece"]
    out.add(
        "reliability.png",
        (5.8, 4.9),
        lambda f: draw_probability(f, metrics),
        "Can the probabilities be believed?",
        "Of the detections of about the same probability, the share that is real; the dotted line is ideal. "
        f"Expected calibration error {'undefined' if error is None else f'{error:.3f}'}.",
    )


def add_coverage(out: FigureFolder, metrics: dict[str, Any]) -> None:
    """Whether error bars hold what they should, where there are any."""
    bars = sum(row["coverage"] is not None for row in metrics["coverage"].values())
    if bars:
        out.add(
            "coverage.png",
            (6.2, 1.5 + 0.32 * bars),
            lambda f: draw_coverage(f, metrics),
            "Are error bars honest?",
            "Share of the matches whose true value lies within one error bar of the catalogue's: 68 % if the bars are "
            "honest (dotted; shaded 60 to 76 %).",
        )
