"""Small random catalogues with the official columns."""

import numpy as np
import pandas as pd
import pytest


def sdc1_truth(rng, n, spread=0.004):
    """Sources outside the training areas, crowded enough that detections have several candidates."""
    ra, dec = rng.uniform(0.1, 0.1 + spread, n), rng.uniform(-30.1, -30.1 + spread, n)
    major = rng.lognormal(0.0, 0.6, n)
    return pd.DataFrame(
        {
            "id": rng.permutation(n) + 1000,
            "ra_core": ra,
            "dec_core": dec,
            "ra_cent": ra + rng.normal(0, 2e-5, n),
            "dec_cent": dec + rng.normal(0, 2e-5, n),
            "flux": 10 ** rng.uniform(-6, -4, n),
            "core_frac": rng.uniform(0, 1, n),
            "b_maj": major,
            "b_min": major * rng.uniform(0.3, 0.99, n),
            "pa": rng.uniform(0, 360, n),
            "size": rng.integers(1, 4, n),
            "class": rng.integers(1, 4, n),
        }
    )


def sdc2_truth(rng, n, spread=0.02):
    """Galaxies in a small crowded volume."""
    return pd.DataFrame(
        {
            "id": rng.permutation(n),
            "ra": rng.uniform(180, 180 + spread, n),
            "dec": rng.uniform(-30, -30 + spread, n),
            "hi_size": rng.lognormal(1.6, 0.5, n),
            "line_flux_integral": rng.lognormal(3.0, 0.8, n),
            "central_freq": rng.uniform(1.050e9, 1.052e9, n),
            "pa": rng.uniform(0, 360, n),
            "i": rng.uniform(5, 85, n),
            "w20": rng.lognormal(5.3, 0.45, n),
        }
    )


def perturbed(rng, truth, positions, shift):
    """A submission: some sources twice, all measured badly, in another order, with ids of its own."""
    rows = truth.iloc[rng.integers(0, len(truth), len(truth))].reset_index(drop=True)
    for name in positions:
        rows[name] += rng.normal(0, shift, len(rows))
    for name in rows.columns.intersection(["flux", "b_maj", "b_min", "hi_size", "line_flux_integral", "w20"]):
        rows[name] *= np.exp(rng.normal(0, 0.3, len(rows)))
    rows["pa"] += rng.normal(0, 20, len(rows))
    rows["id"] = np.arange(len(rows))
    return rows


@pytest.fixture
def seed():
    """A module that wants several catalogues overrides this."""
    return 0


@pytest.fixture
def sdc1_pair(seed):
    """(submission, truth) of some 60 rows."""
    rng = np.random.default_rng([1, seed])
    truth = sdc1_truth(rng, 60)
    submission = perturbed(rng, truth, ("ra_core", "dec_core", "ra_cent", "dec_cent"), 1e-4)
    submission["class"] = rng.integers(1, 4, len(submission))
    submission["size"] = rng.integers(1, 4, len(submission))
    return submission, truth


@pytest.fixture
def sdc2_pair(seed):
    """(submission, truth) of some 60 rows."""
    rng = np.random.default_rng([2, seed])
    truth = sdc2_truth(rng, 60)
    submission = perturbed(rng, truth, ("ra", "dec"), 5e-4)
    submission["central_freq"] += rng.normal(0, 1e5, len(submission))
    return submission, truth
