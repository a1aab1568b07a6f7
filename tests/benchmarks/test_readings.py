"""How published scripts read texts, defects included; each value follows from the script's rule."""

import dataclasses

import pytest

from cot_rm import schema
from cot_rm.benchmarks import pairs, readings, rules


def credits(reading, example, says, text, answer, golds=(1, 2)):
  return [reading([says(example(gold), answer, text=text)])[0] for gold in golds]


@pytest.mark.parametrize(
  "text, choice",
  [
    ("<think>2</think><answer>1</answer>", 1),
    ("<answer> 1.0\n</answer>", 1),
    ("<answer>2</answer> <answer>1</answer>", 2),  # the first tag
    ("<answer>Response 1</answer>", 2),  # no number: an exception, and a 2
    ("<answer></answer> 1", 2),  # an empty tag is one: no look at the rest
    ("I prefer response 1", 1),
    ("1 is better than 2", 2),
    ("12 angry men, 21 jurors", 1),  # a digit inside a number
    ("neither", 2),
    ("", 2),
    ("<answer>1", 1),  # cut: the last digit of all
  ],
)
def test_r1_reward_s_reading(example, says, text, choice):
  found = credits(readings.r1_reward, example, says, text, None)
  assert found == [float(choice == 1), float(choice == 2)]


@pytest.mark.parametrize(
  "text, choice",
  [
    ("<answer>1</answer>", 1),
    ("2 then 1\\nand 2".replace("\\n", "\n"), 1),  # only the first line that has a digit
    ("none here\n2, not 1\n2", 1),
    ("no digit", 2),
  ],
)
def test_r1_reward_s_reading_for_mm_rlhf_rewardbench_stops_at_the_line(example, says, text, choice):
  found = credits(readings.r1_reward_first_line, example, says, text, None)
  assert found == [float(choice == 1), float(choice == 2)]


@pytest.mark.parametrize(
  "text, right",
  [
    ("<think>Answer 2 is better lit</think><answer>Answer 1 is better</answer>", [1, 1]),
    ("<answer>Answer 1 is better</answer>", [1, 0]),
    ("answer 1 is better", [0, 0]),  # capital letters count
    ("Answer 1 is better than Answer 2", [1, 0]),
    ("", [0, 0]),
  ],
)
def test_unified_reward_s_reading_looks_for_the_right_words_anywhere(example, says, text, right):
  assert credits(readings.substring, example, says, text, None) == right


def test_unified_reward_s_words_have_the_noun_of_the_task(example, says):
  judged = [says(example(1, "video_generation"), None, text="Video 1 is better")]
  assert readings.substring(judged) == [1]
  assert readings.substring([says(example(1), None, text="Video 1 is better")]) == [0]


@pytest.mark.parametrize(
  "text, credits_",  # for the golds 1, 2 and a tie
  [
    ("Video 1 is better", [1, 0, 0]),
    ("It seems Video 2 is better. But no: Video 1 is better", [1, 0, 0]),  # 1 is looked for first
    ("Video 2 is better, and Image 1 is better", [0, 1, 0]),
    ("Both videos are equally good", [0, 0, 1]),
    ("", [0, 0, 1]),
  ],
)
def test_unified_reward_s_reading_for_videos_takes_neither_label_for_a_tie(
  example, says, text, credits_
):
  judged = [says(example(gold, "video_generation"), None, text=text) for gold in (1, 2, None)]
  assert readings.first_label(judged) == credits_
  other = says(example(2, "video_generation"), 2, text="<answer>2</answer>")  # another grammar
  assert readings.first_label([other]) == [1]


@pytest.mark.parametrize(
  "text, credits_",  # for the golds 1, 2 and a tie
  [
    ("Image 1 is better than Image 2.", [1, 0, 0]),
    ("Image 1 is better. Image 2 is better than Image 1", [0, 1, 0]),
    ("Image 1 is better than Image 2, or: Both images are equally good", [1, 0, 1]),
    ("Both videos are equally good", [0, 0, 0]),  # the noun of another task
    ("no", [0, 0, 0]),
  ],
)
def test_unified_reward_s_reading_for_pictures_of_its_first_model(example, says, text, credits_):
  judged = [says(example(gold, "image_generation"), None, text=text) for gold in (1, 2, None)]
  assert readings.compared_label(judged) == credits_


@pytest.mark.parametrize(
  "text, credits_",  # for the golds 1, 2 and a tie
  [
    ("Video 1 is better than Video 2.", [1, 0, 0]),
    ("Video 2 is better", [0, 1, 0]),
    ("", [1, 0, 0]),  # nothing is inside of everything
    ("is better than Video 1", [0, 1, 0]),
    ("Video 1 is better than Video 2. It moves.", [0, 0, 1]),  # says more than the label
    ("Both videos are equally good.", [0, 0, 1]),
  ],
)
def test_unified_reward_looks_for_the_text_in_the_label(example, says, text, credits_):
  judged = [says(example(gold, "video_generation"), None, text=text) for gold in (1, 2, None)]
  assert readings.inside_label(judged) == credits_
  longer = says(example(1, "video_generation"), 1, text="Video 1 is better than Video 2. It moves.")
  assert readings.inside_label([longer]) == [0]  # also where a grammar reads a verdict in it


@pytest.mark.parametrize(
  "text, right",
  [
    ("**Overall Judgment:** Answer 2 is better.", [0, 1]),
    ("Therefore,\n- Answer 1 is the slightly better", [1, 0]),
    ("overall judgment: Answer 1 is better. Therefore Answer 2 is better", [0, 1]),  # greedy
    ("Overall Judgment: Answer 3 is better", [0, 0]),
    ("<answer>1</answer>", [0.5, 0.5]),
    ("", [0.5, 0.5]),  # a coin without a seed
  ],
)
def test_lmms_eval_s_sentence(example, says, text, right):
  assert credits(readings.lmms_eval_sentence, example, says, text, None) == right


@pytest.mark.parametrize(
  "text, answer, choice",
  [
    ("[[A]]", None, 1),
    ("[[B]]", None, 2),
    ("not [[B]] but [[A]]", None, 1),
    ("[[B]], and not [[A]]", None, 1),  # [[A]] wins wherever it stands
    ("<answer>2</answer>", 2, 2),  # a grammar without brackets
    ("", None, 1),  # always A
  ],
)
def test_lmms_eval_answers_a_to_everything_that_cannot_be_read(example, says, text, answer, choice):
  found = credits(readings.brackets_or_first, example, says, text, answer)
  assert found == [float(choice == 1), float(choice == 2)]


@pytest.mark.parametrize(
  "reading",
  [
    readings.r1_reward,
    readings.r1_reward_first_line,
    readings.substring,
    readings.first_label,
    readings.compared_label,
    readings.inside_label,
    readings.lmms_eval_sentence,
    readings.brackets_or_first,
    readings.brackets_or_coin,
  ],
)
def test_a_verdict_in_the_form_of_another_grammar_counts_as_it_is(example, says, reading):
  assert credits(reading, example, says, "<verdict>the former</verdict>", 1) == [1, 0]


def test_the_owners_of_multimodal_rewardbench_throw_one_seeded_coin(example, says):
  # random.Random(123): 0.0524, 0.0872, 0.4072, 0.1077, 0.9012, 0.0382: A A A A B A
  judged = [says(example(1), None, text="") for _ in range(6)]
  assert readings.brackets_or_coin(judged) == [1, 1, 1, 1, 0, 1]
  readable = says(example(1), None, text="[[B]]")  # takes no draw
  assert readings.brackets_or_coin([readable, *judged]) == [0, 1, 1, 1, 1, 0, 1]


def test_answers_outside_the_grammar_can_leave_the_denominator(example, says):
  judged = [says(example(1), answer) for answer in (1, None, 2, 1)]
  assert readings.grammar(judged) == [1, 0, 0, 1]
  assert readings.grammar_or_left_out(judged) == [1, None, 0, 1]
  tie = says(example(1), None)
  tie = dataclasses.replace(tie, verdicts=(schema.Verdict(None, error=schema.TIE),))
  assert readings.grammar_or_left_out([tie]) == [0]  # an answer that is not the right one
  rule = rules.Rule(reading=readings.grammar_or_left_out, orders=rules.first)
  found = pairs.tally(judged, [None] * 4, rule)
  assert found["accuracy"] == pytest.approx(2 / 3, abs=1e-6) and found["left_out"] == 1
  assert found["definitions"]["accuracy"]["n"] == 3 and found["parse_rate"] == 0.75
  silent = [says(example(1), None) for _ in range(3)]
  found = pairs.tally(silent, [None] * 3, rule)
  assert (found["accuracy"], found["left_out"]) == (0, 3) and found["families"] == {}


def test_a_script_s_coin_is_thrown_in_the_order_of_the_rows(example, says):
  """Also where rows were asked in different orders: the fifth unreadable one is a B."""
  rows = [example(1) for _ in range(5)]
  given = [says(e, None, text="") if i != 4 else None for i, e in enumerate(rows)]
  swapped = [None] * 4 + [says(rows[4].swapped(), None, text="")]
  found = pairs.tally(given, swapped, rules.Rule(reading=readings.brackets_or_coin))
  assert found["accuracy"] == 1  # A A A A, and B where the gold answer is the second
