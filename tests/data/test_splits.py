"""Laws of the splits: groups stay whole, classes stay in proportion, the order of the rows does not matter."""

import numpy as np
import pytest

from pipeline.data.splits import SPLITS, folds, split
from pipeline.errors import UserError

FRACTIONS = (0.7, 0.15, 0.15)


def survey(seed, n=600, k=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice(k, n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    groups = np.array([f"class{label}-{rng.integers(40)}" for label in labels])
    return labels, groups


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_group_never_straddles(seed):
    labels, groups = survey(seed)
    parts = split(labels, groups, FRACTIONS, seed)
    for group in np.unique(groups):
        assert len(set(parts[groups == group])) == 1


def test_mixed_groups_do_not_straddle_either():
    rng = np.random.default_rng(5)
    labels, groups = rng.integers(0, 3, 300), rng.integers(0, 60, 300).astype(str)
    parts = folds(labels, groups, 5, seed=1)
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))
    assert set(parts) == set(range(5))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classes_keep_their_proportions(seed):
    labels, groups = survey(seed)
    parts = split(labels, groups, FRACTIONS, seed)
    for label in range(4):
        largest = max(np.unique(groups[labels == label], return_counts=True)[1])
        for name, fraction in zip(SPLITS, FRACTIONS, strict=True):
            expected = fraction * (labels == label).sum()
            assert abs(((labels == label) & (parts == name)).sum() - expected) <= largest


def test_single_objects_are_split_exactly():
    labels = np.repeat([0, 1], 100)
    parts = split(labels, np.arange(200).astype(str), FRACTIONS, 3)
    for label in (0, 1):
        assert [(parts[labels == label] == name).sum() for name in SPLITS] == [70, 15, 15]


@pytest.mark.parametrize("names", [False, True])
def test_row_order_does_not_matter(names):
    labels, groups = survey(7)
    labels = np.array(list("OBAF"))[labels] if names else labels
    order = np.random.default_rng(8).permutation(len(labels))
    assert (split(labels, groups, FRACTIONS, 1)[order] == split(labels[order], groups[order], FRACTIONS, 1)).all()
    assert (folds(labels, groups, 4, 1)[order] == folds(labels[order], groups[order], 4, 1)).all()


def test_another_seed_is_another_split():
    labels, groups = survey(7)
    assert (split(labels, groups, FRACTIONS, 1) != split(labels, groups, FRACTIONS, 2)).any()


def test_a_class_of_three_groups_is_in_every_split():
    labels = np.array([0] * 50 + [1] * 3)
    parts = split(labels, [f"g{i}" for i in range(53)], FRACTIONS, 0)
    assert set(parts[labels == 1]) == set(SPLITS)


def test_several_labels_at_once_keep_their_proportions():
    rng = np.random.default_rng(3)
    labels = (rng.random((400, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(np.uint8)
    parts = split(labels, np.arange(400).astype(str), FRACTIONS, 3)
    for column in labels.T:
        for name, fraction in zip(SPLITS, FRACTIONS, strict=True):
            assert abs(column[parts == name].sum() - fraction * column.sum()) <= 0.05 * column.sum() + 3
    assert abs((parts == "train").sum() - 280) <= 12


def test_a_share_of_zero_stays_empty():
    labels, groups = survey(1)
    assert set(split(labels, groups, (0.8, 0.2, 0.0), 1)) == {"train", "validation"}


def test_samples_without_a_class_are_split_too():
    labels = np.array([0] * 20 + [1] * 20 + [-1] * 40)
    parts = split(labels, np.arange(80).astype(str), (0.5, 0.25, 0.25), 1)
    assert [(parts[40:] == name).sum() for name in SPLITS] == [20, 10, 10]


def test_folds_are_even():
    labels = np.repeat([0, 1, 2], 50)
    parts = folds(labels, np.arange(150).astype(str), 10, 1)
    assert (np.array([[((parts == fold) & (labels == k)).sum() for k in range(3)] for fold in range(10)]) == 5).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: split([0, 0, 0, 0, 1], list("abcde"), FRACTIONS, 0, ["star", "galaxy"]),
            'class "galaxy" has 1 group,',
        ),
        (lambda: split(["O", "O", "O", "B", "B"], list("abcde"), FRACTIONS, 0), 'class "B" has 2 groups'),
        (lambda: split([0, 0], ["a", "b"], FRACTIONS, 0), "2 groups cannot fill 3 splits"),
        (lambda: split([0, 0, 0], ["a", "a", "a"], FRACTIONS, 0), "1 groups cannot fill"),
        (lambda: split([0, 0, 0], list("abc"), (0.5, 0.5, 0.5), 0), "sum 1"),
        (lambda: folds([0, 0, 0], list("abc"), 1, 0), "1 folds"),
        (lambda: folds([0, 0, 0], list("abc"), 4, 0), "cannot fill 4 folds"),
    ],
)
def test_too_few(call, message):
    with pytest.raises(UserError) as caught:
        call()
    assert message in str(caught.value)
