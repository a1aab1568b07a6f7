"""Accuracy on held-out pairs of ShareGPTVideo."""

from cot_rm.benchmarks import sharegptvideo


def test_accuracy_by_hand_in_both_orders_and_with_the_better_answer_first(example, says):
  rows = [example(gold, "video_understanding", video=f"v{gold}") for gold in (1, 2, 2)]
  given = [says(row, 1) for row in rows]
  swapped = [says(row.swapped(), answer) for row, answer in zip(rows, (2, 1, 2), strict=True)]
  found = sharegptvideo.score(given, swapped)
  assert found["accuracy"] == round((1 + 0 + 0 + 1 + 1 + 0) / 6, 6)
  rule = sharegptvideo.MODES["first"]
  assert rule.asked(rows) == [(0,), (1,), (1,)]
  first = sharegptvideo.score([given[0], None, None], [None, *swapped[1:]], mode="first")
  assert first["accuracy"] == round(2 / 3, 6)
  assert rule.clusters(rows) == ["v1", "v2", "v2"]
