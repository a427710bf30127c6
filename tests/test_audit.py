"""The article's log: counts that come out whole, against a log made here by counting."""

import numpy as np
import pytest

from clrlib.theory import audit
from clrlib.theory.audit import running_accuracy


@pytest.mark.parametrize("row", audit.LOG, ids=lambda row: row.name)
def test_the_published_log_gives_whole_counts(row):
    for printed, before, epoch in ((row.last, row.before, row.epochs), (row.first, 0.0, 1)):
        counts = audit.true_counts(*printed, before, epoch)
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-3)
        assert 0 < counts[0] < 50_001 and 0 < counts[1] < 10_001


def test_the_last_test_counts_are_those_published_with_this_course():
    tests = [round(audit.true_counts(*row.last, row.before, row.epochs)[1]) for row in audit.LOG]
    assert tests == [8603, 8689, 8810, 1879, 8571]
    assert [round(audit.true_counts(*row.first, 0.0, 1)[1]) for row in audit.LOG] == [2480, 4867, 4643, 2250, 3308]


def test_counts_come_back_from_a_log_made_by_counting():
    random, right, seen, lines = np.random.default_rng(3), 0, 0, []
    truth = [(int(random.integers(1, 50_001)), int(random.integers(1, 10_001))) for _ in range(20)]
    for train, test in truth:
        printed = []
        for count, images in ((train, 50_000), (test, 10_000)):
            right, seen = right + count, seen + images
            printed.append(round(100 * right / seen, 8))
        lines.append(printed)
    for i, (line, true) in enumerate(zip(lines, truth)):
        assert audit.true_counts(*line, lines[i - 1][1] if i else 0.0, i + 1) == pytest.approx(true, abs=1e-3)
    rows = [{"train_accuracy": train / 500, "accuracy": test / 100} for train, test in truth]
    np.testing.assert_allclose(running_accuracy(rows), [line[1] for line in lines], atol=1e-7)


@pytest.mark.parametrize("epoch", [0, -3])
def test_epochs_count_from_one(epoch):
    with pytest.raises(ValueError, match=f"got {epoch}"):
        audit.true_counts(90.0, 90.0, 90.0, epoch)
