"""What the sampler says of its work."""

from cot_rm.sampler.stats import Figures


def test_shares_are_of_what_was_computed():
  told = Figures(
    prompts=2,
    prompt_tokens=30,
    prompt_room=40,
    prompt_seconds=2.0,
    answer_tokens=60,
    answer_room=80,
    answer_seconds=3.0,
    samples=4,
    sample_tokens=48,
    spared=3,
    spared_tokens=16,
    shared_bytes=2_000_000,
    programs=1,
  )
  assert told.metrics() == {
    "sampler/prompt_tokens_per_s": 15.0,
    "sampler/answer_tokens_per_s": 20.0,
    "sampler/occupancy": 0.75,
    "sampler/padding": 0.25,
    "sampler/spared": 20 / 80,
    "sampler/spared_tokens": 20,
    "sampler/shared_mb": 2.0,
    "sampler/programs": 1,
  }


def test_where_nothing_was_done_nothing_is_divided_by():
  assert set(Figures().metrics().values()) <= {0, 1}
