"""Tokens of votes, against all orders of the samples, and by the early stop of the sampler."""

import dataclasses
import itertools

import numpy as np
import pytest

from cot_rm import prompts, voting
from cot_rm.benchmarks import rules, vote_costs
from cot_rm.benchmarks import voting as votes
from cot_rm.schema import Completion, Verdict

SAMPLES = [(1, 10), (1, 14), (2, 30), (None, 7), (1, 11), (2, 22)]  # (answer, tokens)


@pytest.fixture
def judged(example, says):
  """A judgement with samples of these answers and tokens."""

  def make(samples):
    done = tuple(Completion(str(a), np.zeros(n), np.zeros(n), "stop") for a, n in samples)
    made = says(example(1), *(a for a, _ in samples))
    return dataclasses.replace(made, completions=done)

  return make


@pytest.fixture
def drawn(example, monkeypatch):
  """`(samples, k) -> tokens` of the samples that the sampler draws until it stops."""
  parse = lambda text, task: Verdict(None if text == "None" else int(text))
  monkeypatch.setattr(prompts.get("brief"), "parse", parse)

  def tokens(samples, k):
    stop = voting.Decided([example(1)], grammar="brief", n=k)
    for count in range(1, k + 1):
      if stop(0, [str(answer) for answer, _ in samples[:count]]):
        break
    return sum(length for _, length in samples[:count])

  return tokens


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_early_stop_costs_what_the_sampler_draws_on_average_over_all_orders(judged, drawn, k):
  wanted = np.mean([drawn(order, k) for order in itertools.permutations(SAMPLES)])
  found = vote_costs.tokens([judged(SAMPLES)], k, early_stop=True)
  assert found == pytest.approx([wanted])


@pytest.mark.parametrize("k", [1, 3, 6])
def test_without_early_stop_all_k_are_paid(judged, k):
  wanted = np.mean([sum(n for _, n in some) for some in itertools.combinations(SAMPLES, k)])
  assert vote_costs.tokens([judged(SAMPLES)], k, early_stop=False) == pytest.approx([wanted])


def test_samples_that_agree_are_stopped_at_the_majority():
  assert vote_costs.expected_draws(15, 0, 0, 15) == pytest.approx((8, 0, 0))
  assert vote_costs.expected_draws(0, 0, 5, 5) == pytest.approx((0, 0, 5))


def test_the_figures_have_both_by_k(judged):
  found = votes.score([judged(SAMPLES)], [None], rules.Rule(), at=(1, 5))
  assert found["tokens"] == pytest.approx([94 / 6, 5 * 94 / 6], abs=1e-6)
  assert found["tokens_stopped"][0] == found["tokens"][0]
  assert 40 < found["tokens_stopped"][1] < found["tokens"][1]
  assert found["definitions"]["tokens_stopped"]["n"] == 1
