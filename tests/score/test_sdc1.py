"""The rule of the first challenge for images of other beams."""

import numpy as np
import pandas as pd
import pytest

from pipeline.score.match import score
from pipeline.score.sdc1 import Sdc1


@pytest.mark.parametrize(("frequency", "restoring"), [(560, 1.5), (1400, 0.6), (9200, 0.0913)])
def test_the_beam_of_the_score_is_a_share_of_the_images(frequency, restoring):
    assert Sdc1(frequency).for_beam(restoring).beam == pytest.approx(Sdc1(frequency).beam, rel=1e-3)


def test_a_sky_of_other_scale_scores_the_same():
    one, many = _scaled(1.0), _scaled(40.0)
    for parts in zip(one, many, strict=True):
        assert parts[0] == pytest.approx(parts[1], rel=1e-6)


def _scaled(scale):
    """The score of a catalogue whose positions and sizes, and whose beam, are `scale` times as large."""
    random = np.random.default_rng(3)
    truth = pd.DataFrame({name: np.zeros(60) for name in Sdc1.names()})
    for name in ("ra_core", "dec_core"):
        truth[name] = random.uniform(0, 60, 60) * scale / 3600
    truth[["b_maj", "b_min"]] = np.array([2.0, 1.0]) * scale
    truth = truth.assign(id=np.arange(60), flux=1e-5, size=2, **{"class": 3})
    found = truth.copy()
    for name in ("ra_core", "dec_core"):
        found[name] += random.normal(0, 0.3, 60) * scale / 3600
    for table in (truth, found):
        table["ra_cent"], table["dec_cent"] = table["ra_core"], table["dec_core"]
    made = score(Sdc1(560).for_beam(1.5 * scale), found, truth)
    return made.score, made.n_match
