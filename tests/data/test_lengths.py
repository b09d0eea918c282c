"""Groups of rows of about equal length."""

from __future__ import annotations

import pytest

from gencls.data.lengths import groups_of


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([9], [(0, 1)]),
        ([9, 9, 5, 2, 2], [(0, 1), (1, 2), (2, 4), (4, 5)]),
        ([5, 5, 2, 0], [(0, 2), (2, 4)]),
        ([0, 0], [(0, 2)]),
    ],
)
def test_groups(lengths, expected):
    assert list(groups_of(lengths, 10)) == expected
