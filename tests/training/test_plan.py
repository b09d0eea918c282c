"""The plan of a run that takes over another one's stages."""

from __future__ import annotations

import pytest

from gencls.training.plan import FOLDS, taken_over

PLAN = {"adapt_steps": 2, "class_steps": 3, "bf16": False, "time_budget": 7.0, "identity": "a", "validation": "b"}
PLAN |= {"smoothing": {"unigram": 1.0}, "folds": FOLDS}


@pytest.mark.parametrize("has_these_tables", [True, False])
def test_a_taken_over_plan_has_no_time_budget_and_tables_of_its_own_where_they_differ(has_these_tables):
    before = dict(PLAN)
    ours = taken_over(PLAN, has_these_tables=has_these_tables)
    wanted = {**PLAN, "time_budget": None}
    if not has_these_tables:
        wanted["smoothing"] = None
        del wanted["identity"]
    assert ours == wanted
    assert before == PLAN


def test_a_run_that_was_killed_before_it_had_its_tables_is_taken_over_too():
    began = taken_over(PLAN, has_these_tables=False)
    assert taken_over(began, has_these_tables=False) == began
