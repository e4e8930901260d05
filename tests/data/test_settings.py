import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.data.settings import InputSettings, SplitSettings, grid_points


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"kind": "spectrum"}, "needs grid"),
        ({"kind": "spectrum", "grid": [5000, 4000, 1]}, "start < stop"),
        ({"kind": "spectrum", "grid": [4000, 5000, 0]}, "step > 0"),
        ({"kind": "spectrum", "grid": [4000, 4002, 1]}, "points"),
        ({"kind": "image", "grid": [4000, 5000, 1]}, "grid is for kind spectrum"),
        ({"kind": "image", "shape": [64]}, "2 positive numbers"),
        ({"kind": "cube", "shape": [8, 0, 8]}, "3 positive numbers"),
        ({"kind": "image", "shape": [65, 64], "bin": 2}, "multiple of bin"),
        ({"kind": "image", "bin": 0}, "bin must be 1"),
        ({"kind": "cube", "bin": [1, 2]}, "3 numbers"),
        ({"kind": "table", "bin": 2}, "bin is for images"),
        ({"kind": "image", "features": ["a"]}, "features is for kind table"),
        ({"kind": "table", "features": ["a", "a"]}, "twice"),
        ({"kind": "image", "pixel_scale": -1}, "greater than 0"),
        ({"kind": "cube", "colour": "rgb"}, "colour rgb"),
        ({"kind": "image", "manifest": " "}, "manifest must name"),
        ({"kind": "film"}, "should be 'spectrum'"),
        ({"kind": "image", "shap": [3, 3]}, "Extra inputs"),
    ],
)
def test_wrong_input_is_refused_with_its_reason(values, text):
    with pytest.raises(ValidationError, match=text):
        InputSettings.model_validate(values)


def test_json_round_trip_keeps_the_settings():
    settings = InputSettings(manifest="m.csv", kind="cube", shape=(8, 6, 4), bin=(2, 1, 1), where={"a": [1, "x"]})
    assert InputSettings.model_validate(settings.model_dump(mode="json")) == settings
    assert settings.bins(3) == (2, 1, 1)
    assert settings.where == {"a": ["1", "x"]}


@pytest.mark.parametrize("grid", [(3900.0, 5500.0, 1.0), (4000.0, 5000.0, 0.1), (4000.0, 4010.5, 1.0)])
def test_grid_leaves_out_its_stop(grid):
    points = grid_points(grid)
    assert points[0] == grid[0]
    assert points[-1] < grid[1] - 1e-6 * grid[2]
    assert points[-1] + grid[2] > grid[1] - 1e-6 * grid[2]
    np.testing.assert_allclose(np.diff(points), grid[2], rtol=1e-8)


def test_fractions_must_sum_to_one():
    assert SplitSettings(train=0.5, validation=0.25, test=0.25).fractions == (0.5, 0.25, 0.25)
    with pytest.raises(ValidationError, match="sum to 1"):
        SplitSettings(train=0.5)
