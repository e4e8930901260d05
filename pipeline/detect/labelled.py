"""Labelled sky: a section of an image whose sources are all in a truth table."""

from dataclasses import dataclass

import pandas as pd

from pipeline.detect.areas import Section, within
from pipeline.detect.image import ContinuumImage
from pipeline.detect.task_settings import LabelledFrame
from pipeline.detect.truth import covered, read_truth, response
from pipeline.errors import UserError


@dataclass
class LabelledArea:
    """A section of an image whose sources are all in the truth table (official columns)."""

    image: ContinuumImage
    truth: pd.DataFrame
    section: Section


def area_of(frame: LabelledFrame) -> LabelledArea:
    """The labelled part of a frame: its `region`, else what its truth table covers.

    Raises
    ------
    UserError : `exclude` is given, or no source of the table is there.
    """
    if frame.exclude is not None:
        raise UserError(
            frame.image, "has exclude, which is for frames to be judged on", "give region, the part to learn from"
        )
    image = ContinuumImage.open(frame.image, frame.primary_beam)
    truth = read_truth(frame.truth)
    truth = truth[within(frame, truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))]
    if not len(truth):
        raise UserError(frame.truth, "has no source in the region", "correct the region, in degrees")
    truth = truth.reset_index(drop=True)
    image.response = response(image, truth, frame.truth)
    return LabelledArea(image, truth, covered(image, truth, frame.truth))
