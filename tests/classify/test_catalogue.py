"""The classification catalogue: columns, units, UCDs; labels as text and back."""

import numpy as np
import pytest
from astropy import units as u

from pipeline.classify.catalogue import class_names, classification_table
from pipeline.classify.evaluate import _uncalibrated, truth_of
from pipeline.sky.catalogue import read_catalogue, write_catalogue

CLASSES = ["FRI", "FRII", "bent"]


def table_of(n, **changes):
    rng = np.random.default_rng(1)
    probability = rng.dirichlet(np.ones(3), n)
    values = {"multilabel": False, "ids": [f"J{k}" for k in range(n)], "meta": {"ORIGIN": "test"}}
    values |= {"ra": np.linspace(0, 350, n), "dec": np.linspace(-80, 80, n)}
    return probability, classification_table(probability, CLASSES, **(values | changes))


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot"])
@pytest.mark.parametrize("n", [0, 5])
def test_the_catalogue_survives_a_file(suffix, n, tmp_path):
    probability, table = table_of(n)
    write_catalogue(table, tmp_path / f"c.{suffix}")
    again = read_catalogue(tmp_path / f"c.{suffix}")
    assert len(again) == n
    assert again.colnames == table.colnames
    if n:
        assert again["ra"].unit == u.deg
        assert again["p_bent"].info.meta["ucd"] == "stat.probability"
        assert np.allclose(again["p_FRII"], probability[:, 1], atol=1e-6)
        assert list(again["class"]) == [CLASSES[k] for k in probability.argmax(1)]


def test_positions_are_left_out_when_none_is_known():
    _, table = table_of(4, ra=np.full(4, np.nan), dec=np.full(4, np.nan))
    assert "ra" not in table.colnames


def test_labels_as_text_and_back():
    single = np.array([2, 0, -1, 1])
    assert np.array_equal(truth_of(class_names(single, CLASSES), CLASSES, False), single)
    several = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert class_names(several, CLASSES)[0] == "FRI|bent"
    assert np.array_equal(truth_of(class_names(several, CLASSES), CLASSES, True), several)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_can_be_undone(multilabel, temperature):
    from pipeline.classify.calibrate import probabilities

    logits = np.random.default_rng(2).normal(0, 2, (20, 3))
    calibrated = probabilities(logits, temperature, multilabel)
    assert np.allclose(
        _uncalibrated(calibrated, temperature, multilabel), probabilities(logits, 1.0, multilabel), atol=1e-6
    )
