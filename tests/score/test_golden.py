"""Equal to the official scorer, case by case."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.score.definition import CHALLENGES
from pipeline.score.files import score_files
from pipeline.score.sdc1 import score_sdc1
from pipeline.score.sdc2 import score_sdc2
from pipeline.score.tables import read_table
from pipeline.score.validate import NoMatchWarning

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.parent for path in GOLDEN.glob("sdc?/*/expected.json"))
DIRTY = ("dirty_560", "mostly_false_dirty")
COUNTS = ("n_det", "n_match", "n_bad", "n_false", "n_truth_rows")
# What the official scorer makes, from text, of tables that it should not have scored.
INVALID = [
    case
    for case in json.loads((GOLDEN / "invalid" / "expected.json").read_text())["cases"]
    if case["how"] == "from_txt" and "score" in case and case["name"] not in ("extra_column", "missing_column")
]


def settings_of(expected):
    if expected["challenge"] == "sdc2":
        return {}
    known = expected["settings"]
    return {"frequency": known["freq"], "mode": known["mode_name"], "area": "train" if known["train"] else "outside"}


def assert_equal(found, expected):
    for key in COUNTS:
        if key in expected:
            assert found[key] == expected[key], key
    for key in ("score", "score_det", "acc_pc"):
        assert found[key] == pytest.approx(expected[key], abs=1e-6), key
    if expected["per_parameter_sum"] is None:
        assert found["per_parameter_sum"] is None
    else:
        assert found["per_parameter_sum"] == pytest.approx(expected["per_parameter_sum"], abs=1e-6)
        assert list(found["per_parameter_sum"]) == list(expected["per_parameter_sum"])
        assert found["per_parameter_nan"] == expected["per_parameter_nan"]


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_equal_to_the_official_scorer(folder):
    expected = json.loads((folder / "expected.json").read_text())
    arguments = (expected["challenge"], folder / "truth.txt", folder / "submission.txt")
    if expected["n_match"]:
        found = score_files(*arguments, official=True, **settings_of(expected))
    else:
        with pytest.warns(NoMatchWarning):
            found = score_files(*arguments, official=True, **settings_of(expected))
    assert_equal(found, expected)
    for key in {"freq", "mode", "mode_name", "train"} & set(expected["settings"]):
        assert found["settings"][key] == expected["settings"][key]


@pytest.mark.parametrize(
    "folder",
    [path for path in CASES if path.name not in DIRTY and "wrong" not in path.name],
    ids=lambda path: path.name,
)
def test_checking_first_changes_no_score(folder):
    expected = json.loads((folder / "expected.json").read_text())
    arguments = (expected["challenge"], folder / "truth.txt", folder / "submission.txt")
    assert_equal(score_files(*arguments, **settings_of(expected)), expected)


@pytest.mark.parametrize("folder", [path for path in CASES if "wrong" not in path.name], ids=lambda path: path.name)
def test_every_match_is_the_official_one(folder):
    expected = json.loads((folder / "expected.json").read_text())
    official = pd.read_csv(folder / "matches.csv")
    kind = CHALLENGES[expected["challenge"]]
    submission = read_table(folder / "submission.txt", kind, official=True)
    truth = read_table(folder / "truth.txt", kind, truth=True, official=True)
    settings = settings_of(expected)
    result = score_sdc1(submission, truth, **settings) if settings else score_sdc2(submission, truth)
    found = result.matches
    table = pd.DataFrame(
        {"id": submission["id"].to_numpy()[found.submission], "id_t": truth["id"].to_numpy()[found.truth]}
    )
    table["multi_d_err"] = found.distance
    for number, name in enumerate(kind.parameters):
        table[name] = found.scores[:, number]
    table["share"] = found.share
    official["share"] = 1 / official["n_dup"] if "n_dup" in official else 1.0
    keys = ["id", "id_t"]
    official, table = official.sort_values(keys), table.sort_values(keys)
    np.testing.assert_array_equal(table[keys], official[keys])
    for name in ("multi_d_err", "share", *kind.parameters):
        np.testing.assert_allclose(table[name], official[name], rtol=0, atol=1e-6, err_msg=name)
    means = np.nansum(found.scores, axis=1) / 7 * found.share
    np.testing.assert_allclose(found.total, means, atol=1e-12)
    assert found.total.sum() == pytest.approx(result.score_det)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["file"])
def test_what_the_official_scorer_makes_of_bad_tables(case):
    truth = GOLDEN / "invalid" / f"{case['challenge']}_truth.txt"
    arguments = (case["challenge"], truth, GOLDEN / "invalid" / case["file"])
    settings = {"frequency": 560, "area": "outside"} if case["challenge"] == "sdc1" else {}
    if case["n_match"]:
        found = score_files(*arguments, official=True, **settings)
    else:
        with pytest.warns(NoMatchWarning):
            found = score_files(*arguments, official=True, **settings)
    assert_equal(found, case)
