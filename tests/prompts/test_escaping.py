"""Two pairs with one prompt are found, and have two prompts in an escaped grammar."""

import itertools

import pytest

from cot_rm import prompts, schema
from cot_rm.prompts import escaping

U, W = "image_understanding", "video_understanding"


def example(task, question, first, second):
  kind = task.split("_")[0]
  return schema.Example("e", "t", task, question, (schema.Media(kind, b"x"),), (first, second))


def prompt(name, pair):
  return prompts.get(name).render(pair)[0]["content"][-1]["text"]


# A separator in the middle of the first answer, or in the question: the same prompt.
SEPARATORS = {
  ("r1_reward", U): "  \n\n###### [Response 2]:\n",
  ("think", U): "]\nAnswer 2: [",
  ("think", W): "\nAnswer 2: ",
  ("direct", U): "\nAnswer 2: ",
  ("brief", W): "\nAnswer 2: ",
}


@pytest.mark.parametrize(("name", "task"), SEPARATORS)
def test_two_pairs_of_one_prompt_are_found_and_told_apart(name, task):
  separator = SEPARATORS[name, task]
  one = example(task, "q", f"a{separator}b", "c")
  other = example(task, "q", "a", f"b{separator}c")
  assert prompt(name, one) == prompt(name, other)
  assert all(escaping.ambiguous(prompts.get(name), pair) for pair in (one, other))
  escaped = f"{name}:escaped"
  assert prompt(escaped, one) != prompt(escaped, other)
  assert not any(escaping.ambiguous(prompts.get(escaped), pair) for pair in (one, other))


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_other_pairs_have_one_reading_and_are_not_changed(name):
  for pair in (
    example(U, "Which?", "Answer 2: it is red", "###### [Response 2]: no\\n"),
    example(W, "\\", "\\Answer 1", "a\nAnswer 1"),
  ):
    assert not escaping.ambiguous(prompts.get(name), pair)
    assert prompt(f"{name}:escaped", pair) == prompt(name, pair)


def test_an_empty_candidate_is_no_other_reading():
  """The other pair would have an empty second candidate, which no grammar renders."""
  pair = example(W, "q", "a\nAnswer 2: b", " ")
  ways = prompts.get("brief").invert("Question: q\nAnswer 1: a\nAnswer 2: b\nAnswer 2:  ", W)
  assert len(ways) == 2
  with pytest.raises(schema.BadExample, match="response 2 is empty"):
    escaping.ambiguous(prompts.get("brief"), pair)


@pytest.mark.parametrize(("name", "task"), SEPARATORS)
def test_escaped_prompts_of_different_pairs_differ_whatever_their_texts_are_made_of(name, task):
  """All pairs of three pieces or less from separators, their parts and backslashes."""
  second = SEPARATORS[name, task]
  first = second.replace("2", "1")
  pieces = ["x", "\\", first, second, first.rstrip(), second.replace("Answer", "\\Answer")]
  pieces += [second.replace("#", "\\#", 1), second[:2]]
  texts = ["".join(some) for some in itertools.product(pieces, repeat=2)] + pieces
  texts = [text for text in texts if text.strip()]
  grammar, seen = prompts.get(f"{name}:escaped"), {}
  for number, text in enumerate(texts):
    others = texts[number % 7 :: 11]
    for pair in [(text, a, b) for a, b in zip(others, others[::-1], strict=True)]:
      found = prompt(f"{name}:escaped", example(task, *pair))
      assert seen.setdefault(found, pair) == pair
      (way,) = grammar.invert(found, task)
      assert (way.question, *way.responses) == pair


def test_generation_has_one_text_and_nothing_to_escape():
  pair = schema.Example(
    "e", "t", "image_generation", "a\nAnswer 1: b", (schema.Media("image", b"x"),) * 2
  )
  for name in ("think", "direct", "brief"):
    assert not escaping.ambiguous(prompts.get(name), pair)
    assert prompt(f"{name}:escaped", pair) == prompt(name, pair)


def test_an_escaped_grammar_is_the_grammar_in_all_else():
  grammar, text = (
    prompts.get("think:escaped"),
    "<think>a</think><answer>Answer 1 is better</answer>",
  )
  assert grammar.__name__.endswith("think:escaped") and grammar.WRITES_SCORES
  assert grammar.parse(text, U) == prompts.get("think").parse(text, U)
  assert grammar.answered(text, U) == 1 and grammar.formatted(text)
  assert grammar.solution(U, 1) == "Answer 1 is better"
  with pytest.raises(ValueError, match="'thnk'; did you mean 'think'"):
    prompts.get("thnk:escaped")


PICTURE = schema.Media("image", b"x")


def flat(name, pair):
  """The prompt with a mark in place of each picture."""
  parts = prompts.get(name).render(pair)[0]["content"]
  return "".join(part.get("text", "<>") for part in parts)


@pytest.mark.parametrize("name", ("think", "direct", "brief"))
def test_mixtures_of_one_prompt_are_found_and_told_apart(name):
  one = schema.Example.mixed("q", ["a\nAnswer 2: b", PICTURE], "c")
  other = schema.Example.mixed("q", "a", ["b", PICTURE, "\nAnswer 2: c"])
  assert flat(name, one) == flat(name, other)
  assert all(escaping.ambiguous(prompts.get(name), pair) for pair in (one, other))
  escaped = f"{name}:escaped"
  assert flat(escaped, one) != flat(escaped, other)
  assert not any(escaping.ambiguous(prompts.get(escaped), pair) for pair in (one, other))


@pytest.mark.parametrize("name", ("think", "direct", "brief"))
def test_mixtures_of_one_reading_are_not_changed(name):
  for pair in (
    schema.Example.mixed(["q", PICTURE, "Answer 1: "], ["a\n", PICTURE, "Answer 2: b"], "c"),
    schema.Example.mixed([PICTURE, "a\nImage 1: \nImage 2: "], PICTURE, PICTURE),
  ):
    assert not escaping.ambiguous(prompts.get(name), pair)
    assert flat(name, pair).replace("\\", "") == flat(f"{name}:escaped", pair).replace("\\", "")


@pytest.mark.parametrize(("place", "moved"), [(0, 0), (2, 2), (13, 14), (14, 15)])
def test_a_picture_stays_where_it_is_between_the_words_of_an_escaped_text(place, moved):
  text = "a\nAnswer 2: b"  # one backslash comes in front of "Answer"
  first = [text[:place], PICTURE, text[place:]] if place < 14 else [text, PICTURE]
  found = flat("brief:escaped", schema.Example.mixed("q", first, "c"))
  after = "a\n\\Answer 2: b"
  shown = found.partition("Answer 1: ")[2].rpartition("\nAnswer 2: c")[0]
  assert shown.replace("<>", "") == after and shown.index("<>") == min(moved, len(after))
