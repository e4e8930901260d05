"""Small data sets whose classes can be learnt: a bump at another place for each class, for N axes."""

import numpy as np
import pytest

from pipeline.classify.settings import ClassifySettings
from pipeline.data.store import Dataset, write_store

NETWORKS = {1: "C-4.5 P-2 D-3", 2: "C-4.3 P-2 C-6.3 GMP D-3", 3: "C-4.3 P-2 GMP D-3"}
SHAPES = {1: (24,), 2: (12, 12), 3: (6, 8, 8)}
KINDS = {1: "spectrum", 2: "image", 3: "cube"}


def bumps(ndim: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n samples `(n, 1, *axes)` of noise with a bump of width 1, 2 or 3 pixels, and which width."""
    rng = np.random.default_rng(seed)
    shape = SHAPES[ndim]
    label = np.arange(n) % 3
    x = 0.1 * rng.standard_normal((n, 1, *shape))
    grid = np.indices(shape)
    for sample, k in zip(x, label, strict=True):
        centre = [rng.uniform(0.3, 0.7) * size for size in shape]
        distance = sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True))
        sample[0] += np.exp(-distance / (2 * (k + 0.7) ** 2))
    return x.astype(np.float32), label


@pytest.fixture
def make_store(tmp_path):
    """Write a store of bumps for N axes; `change(x)` may alter the samples first."""

    def make(ndim, n=60, seed=1, change=None, name="dataset.h5", multilabel=False):
        x, label = bumps(ndim, n, seed)
        splits = np.array(["train", "train", "train", "validation", "test"])[(np.arange(n) // 3) % 5]
        if change is not None:
            x = change(x, splits)
        names = [f"object-{k:03}" for k in range(n)]
        if multilabel:
            label = np.stack([label == 0, label > 0, label == 2], axis=1).astype(np.uint8)
        settings = {"kind": KINDS[ndim]} | ({"grid": [4000, 4024, 1]} if ndim == 1 else {"shape": list(SHAPES[ndim])})
        path = tmp_path / name
        write_store(
            path,
            Dataset(
                x,
                label,
                ids=names,
                groups=names,
                splits=list(splits),
                classes=["narrow", "middle", "wide"],
                kind=KINDS[ndim],
                input=settings,
            ),
        )
        return path

    return make


@pytest.fixture
def settings_for():
    """Classification settings for N axes with a few epochs."""

    def make(ndim, **changes):
        source = {"kind": KINDS[ndim], "manifest": "manifest.csv"}
        if ndim == 1:
            source["grid"] = [4000, 4024, 1]
        values = {
            "kind": "classify",
            "input": source,
            "normalise": [{"standardise": {"per": "set"}}],
            "network": NETWORKS[ndim],
            "train": {"epochs": 4, "batch": 12, "learning_rate": 0.01, "rebalance": True},
        }
        return ClassifySettings.model_validate(values | changes)

    return make
