"""Tags around a verdict."""

import pytest

from cot_rm.prompts import tags


@pytest.mark.parametrize(
  ("text", "error"),
  [
    ("", "0 times <think>"),
    ("<think>a<think>b</think><answer>1</answer>", "2 times <think>"),
    ("<think><think>\n<think>b</think><answer>1</answer>", "2 times <think>"),
    ("so <think><think>b</think><answer>1</answer>", "2 times <think>"),
    ("<think>a</think><answer>1</answer><answer>1</answer>", "2 times <answer>"),
    ("<answer>1</answer><think>a</think>", "text outside"),
    ("<think>a</think> so <answer>1</answer>", "text outside"),
    ("<think>a</think><answer>3</answer>", "no verdict of this grammar: '3'"),
  ],
)
def test_the_error_says_what_is_wrong(text, error):
  verdict = tags.verdict(text, "([12])")
  assert verdict.answer is None and verdict.span is None
  assert error in verdict.error


def test_the_span_points_at_the_digit_in_the_unstripped_text():
  text = "\n <think>1 2</think>\n<answer>\n 2 </answer> \n"
  verdict = tags.verdict(text, "([12])")
  assert text[slice(*verdict.span)] == "2" and verdict.span[0] == text.rindex("2")
  assert verdict.reasoning == "1 2"


@pytest.mark.parametrize("between", ["", "\n", " \n\n"])
def test_an_opening_tag_that_template_and_model_both_write_counts_once(between):
  text = f"<think>{between}<think>\nwhy</think><answer>2</answer>"
  verdict = tags.verdict(text, "([12])")
  assert (verdict.answer, verdict.reasoning, verdict.error) == (2, "\nwhy", None)
  assert text[slice(*verdict.span)] == "2"


def test_reasoning_is_kept_where_only_the_verdict_is_bad():
  assert tags.verdict("<think>why</think><answer>both</answer>", "([12])").reasoning == "why"


def test_first_reads_the_first_answer_and_nothing_else():
  assert tags.first("1 <answer> 2 </answer><answer>1</answer>", "([12])") == 2
  assert tags.first("<answer>both</answer><answer>1</answer>", "([12])") is None
  assert tags.first("1", "([12])") is None


def test_a_babbling_model_is_refused_quickly():
  for babble in ("<think>", "</think>", "<answer>", "\n", " "):
    assert tags.verdict(babble * 50_000, "([12])").answer is None
  spaces = " " * 50_000
  text = f"<think>a</think>{spaces}<answer>{spaces}x{spaces}</answer>{spaces}y"
  assert tags.verdict(text, "([12])").answer is None
