"""Metrics of the sampler's work."""

from cot_rm.sampler.stats import Stats


def test_metrics_are_ratios_of_the_computed_work():
  stats = Stats(
    prompts=2,
    prompt_tokens=30,
    prefill_positions=40,
    prefill_seconds=2.0,
    answer_tokens=60,
    decode_steps=80,
    decode_seconds=3.0,
    samples=4,
    sample_tokens=48,
    skipped=3,
    skipped_tokens=16,
    shared_bytes=2_000_000,
    programs=1,
  )
  assert stats.metrics() == {
    "sampler/prompt_tokens_per_s": 15.0,
    "sampler/answer_tokens_per_s": 20.0,
    "sampler/occupancy": 0.75,
    "sampler/padding": 0.25,
    "sampler/spared": 20 / 80,
    "sampler/spared_tokens": 20,
    "sampler/shared_mb": 2.0,
    "sampler/programs": 1,
  }


def test_metrics_of_no_work_are_zero_or_one():
  assert set(Stats().metrics().values()) <= {0, 1}


def test_counts_of_two_calls_are_added():
  assert Stats(prompts=1, samples=2) + Stats(prompts=3, decode_seconds=0.5) == Stats(
    prompts=4, samples=2, decode_seconds=0.5
  )
