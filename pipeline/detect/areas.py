"""Which part of a labelled frame is for training, which for choosing, and which for judging."""

from collections.abc import Sequence

import numpy as np

from pipeline.detect.task_settings import AreaSettings, LabelledFrame

Section = tuple[slice, slice]


def divide(section: Section, settings: AreaSettings, test: bool) -> dict[str, Section]:
    """Bands of rows of a section: "train", "validation", and "test" when one is to be kept.

    The bands share no pixel; what is left of a source across a border is in both pictures but in one truth.
    """
    rows, columns = section
    height, share = rows.stop - rows.start, settings.test if test else 0.0
    first, second = (rows.start + round(height * part) for part in (1 - settings.validation - share, 1 - share))
    bands = {"train": slice(rows.start, first), "validation": slice(first, second)}
    if test:
        bands["test"] = slice(second, rows.stop)
    return {name: (band, columns) for name, band in bands.items()}


def within(frame: LabelledFrame, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Which positions (n,) [deg] are in the frame's `region` and not in its `exclude`."""
    chosen = np.ones(len(ra), bool)
    if frame.region is not None:
        chosen &= _inside(frame.region, ra, dec)
    if frame.exclude is not None:
        chosen &= ~_inside(frame.exclude, ra, dec)
    return chosen


def _inside(box: Sequence[float], ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    west, east, south, north = box
    # The rectangle may cross right ascension 0.
    along = (np.mod(ra - west, 360.0) <= np.mod(east - west, 360.0)) | (east - west >= 360.0)
    return along & (dec >= south) & (dec <= north)
