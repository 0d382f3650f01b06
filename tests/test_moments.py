"""Moments over batches that come one by one."""

from __future__ import annotations

import numpy as np

from fusegraph.tasks.moments import Moments


def test_a_batch_without_samples_changes_nothing() -> None:
    empty = Moments.none(3).and_of(np.zeros((0, 3)))
    assert empty.count == 0
    assert empty.statistics() == Moments.none(3).statistics()
    rows = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 8.0]])
    assert empty.and_of(rows).statistics() == Moments.none(3).and_of(rows).statistics()
