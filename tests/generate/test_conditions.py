"""Laws of the conditions: zeros tell nothing, rows do not know of each other, and what is wrong is a sentence."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.data.store import Dataset, open_store, write_store
from pipeline.errors import UserError
from pipeline.generate.conditions import Conditions, LinearConditionWarning, OutsideRangeWarning, condition_table

CLASSES = ("disc", "spheroid")


def table(n=200):
    rng = np.random.default_rng(0)
    values = {"flux": 10 ** rng.uniform(-6, -4, n), "q": rng.uniform(0.3, 1, n), "shift": rng.normal(0, 100, n)}
    return pd.DataFrame({**values, "class": rng.choice(CLASSES, n)})


@pytest.fixture
def conditions():
    return Conditions.fit(table(), ["flux", "q", "shift"], ["Jy", "", "km/s"], CLASSES)


def test_numbers_are_standardised_and_classes_are_one_hot(conditions):
    told = conditions.encode(table())
    assert told.shape == (200, conditions.width) == (200, 8) and told.dtype == torch.float32
    assert (told[:, 1:6:2] == 1).all()
    torch.testing.assert_close(told[:, 0:6:2].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(told[:, 0:6:2].std(0, correction=0), torch.ones(3))
    assert [CLASSES[k] for k in told[:, 6:].argmax(1)] == table()["class"].tolist()
    assert (told[:, 6:].sum(1) == 1).all()


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ([-1.0, *np.geomspace(1, 100, 50)], True),
        ([0.0, 0.0, *np.geomspace(1, 100, 50)], True),
        ([-1.0, *np.linspace(1, 2, 50)], False),  # told as it is in any case
        (np.linspace(-1, 1, 50), False),  # of both signs by nature
        (np.geomspace(1, 100, 50), False),
    ],
)
def test_a_few_values_without_a_logarithm_are_told_of(values, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Conditions.fit(pd.DataFrame({"flux": values}), ["flux"])
    assert [one.category for one in caught] == [LinearConditionWarning] * warned


def test_only_positive_values_over_a_wide_range_are_told_as_logarithms(conditions):
    assert conditions.logarithmic == (True, False, False)
    two = conditions.encode(pd.DataFrame({"flux": [1e-6, 1e-5, 1e-4]}))[:, 0]
    assert two[2] - two[1] == pytest.approx(float(two[1] - two[0]), rel=1e-5)
    assert Conditions.fit(pd.DataFrame({"a": [0.0, 100.0]}), ["a"]).logarithmic == (False,)
    assert Conditions.fit(pd.DataFrame({"a": [1.0, 4.9]}), ["a"]).logarithmic == (False,)


def test_what_is_absent_nan_or_empty_is_not_told(conditions):
    rows = pd.DataFrame({"flux": [1e-5, np.nan], "class": ["disc", ""]})
    told = conditions.encode(rows)
    assert told[0, 1] == told[0, 6] == 1 and (told[0, 2:6] == 0).all()
    assert not told[1].any()
    assert not conditions.encode(pd.DataFrame(index=range(3))).any()
    assert not conditions.encode(pd.DataFrame({"class": [None, np.nan]})).any()


def test_a_row_is_told_the_same_alone(conditions):
    whole, parts = table(7), [table(7).iloc[[k]] for k in range(7)]
    assert torch.equal(conditions.encode(whole), torch.cat([conditions.encode(part) for part in parts]))


def test_a_constant_column_is_told_as_zero_and_known():
    constant = Conditions.fit(pd.DataFrame({"a": [3.0, 3.0]}), ["a"])
    assert constant.encode(pd.DataFrame({"a": [3.0]})).tolist() == [[0.0, 1.0]]


def test_dropping_keeps_parts_whole_and_has_the_stated_rates(conditions):
    told = conditions.encode(table(1)).expand(20000, -1)
    share = 0.2
    dropped = conditions.drop(told, share, torch.Generator().manual_seed(3))
    parts = torch.stack([*(dropped[:, k].bool() for k in (1, 3, 5)), dropped[:, 6:].any(1)], dim=1)  # (n, part)
    for k in range(3):
        assert torch.equal(dropped[parts[:, k], 2 * k : 2 * k + 2], told[parts[:, k], 2 * k : 2 * k + 2])
        assert not dropped[~parts[:, k], 2 * k : 2 * k + 2].any()
    kept = 1 - share / 2
    np.testing.assert_allclose(parts.float().mean(0), kept * (1 - share), atol=0.012)
    # the parts are dropped on their own, but for the half share that drops everything
    assert float((parts[:, 0] & parts[:, 3]).float().mean()) == pytest.approx(kept * (1 - share) ** 2, abs=0.012)
    nothing = float((~parts.any(1)).float().mean())
    assert nothing == pytest.approx(share / 2 + kept * share**4, abs=0.01)


def test_dropping_is_seeded_and_has_its_limits(conditions):
    told = conditions.encode(table())
    one, two, other = (conditions.drop(told, 0.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(conditions.drop(told, 0.0, None), told)
    assert not conditions.drop(told, 1.0, None).any()


def test_a_model_of_no_conditions_has_width_0():
    nothing = Conditions.fit(table(), [])
    assert nothing.encode(table()).shape == nothing.drop(nothing.encode(table()), 0.5, None).shape == (200, 0)
    with pytest.raises(UserError, match="can be told nothing"):
        nothing.check({"flux": 1.0}, strict=False)


def test_asking_within_the_range_is_silent_and_outside_is_told(conditions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conditions.check({"flux": 1e-5, "class": "disc", "q": conditions.low[1]}, strict=True)
    with pytest.warns(
        OutsideRangeWarning, match=r"condition flux: 1 Jy is outside the training range 1\.\S+e-06 \.\.\."
    ):
        conditions.check({"flux": 1.0}, strict=False)
    with pytest.raises(UserError, match="outside the training range"):
        conditions.check({"flux": 1.0}, strict=True)


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"fluks": 1.0}, "condition fluks: is unknown to this model, which can be told flux, q, shift, class"),
        ({"flux": -1e-5}, "condition flux: is -1e-05, which has no logarithm"),
        ({"q": "round"}, 'condition q: is "round"; give a finite number'),
        ({"q": np.inf}, 'condition q: is "inf"'),
        ({"class": "ring"}, '"ring" is not a class of this model; choose among disc, spheroid'),
    ],
)
def test_wrong_questions_are_sentences(conditions, asked, sentence):
    with pytest.raises(UserError) as caught:
        conditions.check(asked, strict=False)
    assert sentence in str(caught.value)


def test_tables_that_cannot_be_told_are_named(conditions):
    rows = pd.DataFrame({"flux": [1e-5, -1e-5, np.inf], "class": ["disc", "ring", "disc"]})
    with pytest.raises(UserError) as caught:
        conditions.encode(rows)
    messages = [str(problem) for problem in caught.value.problems]
    assert len(messages) == 3
    assert "flux, row 1: is -1e-05, which has no logarithm" in messages[0] and "row 2: is infinite" in messages[1]
    with pytest.raises(UserError, match="flux, b.fits: is -1e-05"):
        conditions.encode(rows, ["a.fits", "b.fits", "c.fits"])
    for column, sentence in {"size": "there is only: flux, q, shift, class", "class": "no number"}.items():
        with pytest.raises(UserError, match=sentence):
            Conditions.fit(table(), [column])
    with pytest.raises(UserError, match="holds no number"):
        Conditions.fit(pd.DataFrame({"a": [np.nan]}), ["a"])


def test_json_brings_back_the_same(conditions):
    again = Conditions.from_dict(json.loads(json.dumps(conditions.to_dict())))
    assert again == conditions and torch.equal(again.encode(table()), conditions.encode(table()))
    for damage in ({}, {**conditions.to_dict(), "low": [1.0]}):
        with pytest.raises(UserError, match="train the model again"):
            Conditions.from_dict(damage)


def test_the_table_of_a_store_holds_its_numbers_and_classes(tmp_path):
    names = ["a", "b", "c"]
    data = Dataset(
        np.zeros((3, 1, 4)), np.array([1, -1, 0]), names, names, ["train"] * 3, ["disc", "spheroid"],
        columns={"flux": np.array([1.0, np.nan, 3.0])}, column_units={"flux": "Jy"},
    )  # fmt: skip
    write_store(tmp_path / "d.h5", data)
    with open_store(tmp_path / "d.h5") as store:
        known = condition_table(store)
    assert known["class"].tolist() == ["spheroid", "", "disc"]
    np.testing.assert_array_equal(known["flux"], [1.0, np.nan, 3.0])
