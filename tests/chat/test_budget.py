"""Budgets: prices, limits, and the estimate of calls in flight."""

import pytest

from cot_rm.chat import budget


def test_prices_are_per_million_tokens():
  # 2.50 and 10.00 dollars a million: 1,000,000 * 2.5 + 200,000 * 10 = 4.5 dollars.
  prices = budget.Budget(prompt_price=2.5, completion_price=10.0)
  assert prices.cost(budget.Usage(7, 1_000_000, 200_000)) == pytest.approx(4.5)
  assert budget.Budget().cost(budget.Usage(7, 1_000_000, 200_000)) == 0


def test_a_call_is_added_with_its_tokens():
  assert budget.Usage(1, 10, 5).plus(3, 2) == budget.Usage(2, 13, 7)
  assert budget.Usage(2, 13, 7).tokens == 20


def test_without_limits_no_call_exceeds_the_budget():
  assert budget.Budget().exceeded_by_next_call(budget.Usage(10**9, 10**12, 10**12), 10**6) is None


@pytest.mark.parametrize("calls, in_flight, limit", [(0, 9, None), (9, 0, None), (8, 2, "calls")])
def test_the_last_call_of_a_budget_is_made_and_none_after_it(calls, in_flight, limit):
  assert budget.Budget(calls=10).exceeded_by_next_call(budget.Usage(calls), in_flight) == limit


def test_calls_in_flight_are_estimated_by_the_mean_of_the_finished_ones():
  # 100 tokens a call: 8 done, 1 in flight and this one make 1,000.
  usage = budget.Usage(8, 600, 200)
  assert budget.Budget(tokens=1000).exceeded_by_next_call(usage, 1) is None
  assert budget.Budget(tokens=999).exceeded_by_next_call(usage, 1) == "tokens"
  # 0.06 + 0.04 cents a call.
  prices = {"prompt_price": 8.0, "completion_price": 16.0}
  assert budget.Budget(dollars=0.01, **prices).exceeded_by_next_call(usage, 1) is None
  assert budget.Budget(dollars=0.0099, **prices).exceeded_by_next_call(usage, 1) == "dollars"


def test_a_limit_in_dollars_without_prices_is_an_error():
  with pytest.raises(ValueError, match="budget.prompt_price"):
    budget.Budget(dollars=5.0)
  with pytest.raises(ValueError, match="budget.calls is -1"):
    budget.Budget(calls=-1)
