"""Tables in Markdown."""

from __future__ import annotations

import pytest

from benchmarks.markdown import table


def test_a_table():
    lines = table(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines()
    assert lines == ["| a | b |", "|---|--:|", "| 1 | 2 |", "| 3 | 4 |"]


@pytest.mark.parametrize("cells", [["1"], ["1", "2", "3"]])
def test_a_row_has_a_cell_for_every_column(cells):
    with pytest.raises(ValueError, match=r"Expected 2 cells.*got \d"):
        table(["a", "b"], [["1", "2"], cells])
