"""Conditions asked for and properties measured, with known differences."""

import numpy as np
import pytest

from pipeline.generate.fidelity import conditions_met, fidelity, ratio_by_decade, recognised


def test_bias_and_scatter_of_positive_numbers_are_in_dex():
    rng = np.random.default_rng(0)
    asked = 10 ** rng.uniform(0, 2, 4000)
    found = fidelity(asked, asked * 10 ** rng.normal(-0.03, 0.1, 4000))
    assert found["unit"] == "dex"
    assert found["bias"] == pytest.approx(-0.03, abs=0.006)
    assert found["scatter"] == pytest.approx(0.1, rel=0.05)
    assert found["correlation"] == pytest.approx(np.sqrt(1 / (1 + 0.01 / (4 / 12))), abs=0.003)
    assert found["n"] == 4000 and found["lost"] == 0


def test_numbers_of_either_sign_are_compared_as_they_are():
    asked = np.linspace(-1, 1, 101)
    found = fidelity(asked, asked + 0.2)
    assert (found["unit"], found["scatter"]) == ("", pytest.approx(0, abs=1e-12))
    assert found["bias"] == pytest.approx(0.2)
    assert fidelity(asked, 0 * asked)["correlation"] is None


def test_what_was_not_asked_or_measured_is_counted():
    found = fidelity(np.array([1.0, 2, 3, 4, np.nan]), np.array([1.0, 2, -3, np.nan, 5]))
    assert (found["n"], found["lost"], found["bias"]) == (2, 0.5, None)
    assert fidelity(np.array([np.nan]), np.array([1.0]))["lost"] is None


def test_a_bias_that_depends_on_the_flux_is_seen_by_decade():
    asked = np.array([1.5, 2, 3, 20, 30, 40, 200, 300, 400, -1])
    rows = ratio_by_decade(asked, asked * np.repeat([1.2, 1.0, 0.9, 5], [3, 3, 3, 1]))
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [(1, 10, 3), (10, 100, 3), (100, 1000, 3)]
    assert [row["ratio"] for row in rows] == pytest.approx([1.2, 1, 0.9])
    assert ratio_by_decade(np.array([np.nan]), np.array([1.0])) == []


def test_conditions_are_compared_with_what_measures_them():
    asked = {"flux": np.array([1.0, 2, 4]), "size": np.array([2.0, 3, 4]), "class": np.array(["a", "b", "a"])}
    measured = {"flux": np.array([1.0, 2, 4]), "half_light_radius": np.array([4.0, 6, 8])}
    found = conditions_met(asked, measured)
    assert list(found) == ["flux", "size"]
    assert found["size"]["measured_as"] == "half_light_radius"
    assert found["size"]["bias"] == pytest.approx(np.log10(2))
    assert found["flux"]["by_decade"][0]["ratio"] == 1


def test_a_classifier_says_what_it_sees():
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [1, 0]])
    found = recognised(probability, ["spiral", "smooth"], ["spiral", "smooth", "smooth", "spiral"])
    assert found["confidence"] == pytest.approx(0.825)
    assert found["shares"] == {"spiral": 0.75, "smooth": 0.25}
    assert found["accuracy"] == 0.75
    assert recognised(probability, ["spiral", "smooth"])["accuracy"] is None
