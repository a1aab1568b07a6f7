"""The table of grammars."""

from typing import get_args

import pytest

from configs import base
from cot_rm import prompts, schema
from cot_rm.prompts import template


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_a_module_is_a_grammar(name):
  for member in ("render", "invert", "parse", "solution", "unreasoned", "formatted", "answered"):
    assert callable(getattr(prompts.get(name), member)), member
  assert isinstance(prompts.get(name).WRITES_SCORES, bool)


def test_the_names_that_editors_offer_are_those_of_the_table():
  escaped = (f"{name}:escaped" for name in prompts.PROMPTS)
  assert get_args(prompts.Name) == (*prompts.PROMPTS, *escaped)


def test_a_judge_and_a_config_have_the_same_grammar_by_default():
  assert base.get_config().grammar == prompts.DEFAULT


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_a_grammar_that_writes_scores_puts_them_into_its_verdicts(name):
  grammar, task = prompts.get(name), "image_understanding"
  stated = grammar.solution(task, 1)
  text = stated if name == "direct" else f"<think>why</think><answer>{stated}</answer>"
  assert (grammar.parse(text, task).sheet is not None) is grammar.WRITES_SCORES


def test_an_unknown_grammar_names_the_near_one_and_the_known_ones():
  with pytest.raises(ValueError, match="'thnk'; did you mean 'think'.*r1_reward"):
    prompts.get("thnk")


@pytest.mark.parametrize("name", prompts.PROMPTS)
@pytest.mark.parametrize("task", schema.TASKS)
@pytest.mark.parametrize("choice", (1, 2))
def test_a_grammar_reads_back_the_solution_that_it_writes(name, task, choice):
  grammar = prompts.get(name)
  text = grammar.solution(task, choice)
  if name != "direct":
    text = f"<think>why</think><answer>{text}</answer>"
  verdict = grammar.parse(text, task)
  assert verdict.answer == choice
  assert text[slice(*verdict.span)] == str(choice)
  assert grammar.formatted(text)
  assert grammar.answered(text, task) == choice


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_there_is_no_third_choice(name):
  with pytest.raises(ValueError, match="1 or 2, not 3"):
    prompts.get(name).solution("image_generation", 3)


@pytest.mark.parametrize("name", ("think", "direct", "brief"))
def test_an_unknown_task_is_an_error_and_not_an_unparsable_text(name):
  with pytest.raises(ValueError, match="unknown task 'audio'"):
    prompts.get(name).parse("Image 1 is better", "audio")


@pytest.mark.parametrize("name", prompts.PROMPTS)
@pytest.mark.parametrize("task", schema.TASKS)
def test_a_prompt_is_taken_apart_into_what_it_was_rendered_from(name, task):
  grammar, kind = prompts.get(name), task.split("_")[0]
  generation = task.endswith("generation")
  if generation and name == "r1_reward":
    assert grammar.invert("anything", task) == []
    return
  media = (schema.Media(kind, "a"),) * (2 if generation else 1)
  answers = () if generation else ("a {R2}\n", "###### [Response 1]: \\n")
  one = schema.Example("1", "", task, "Wie viele? {Query} [x]", media, answers)
  prompt = grammar.render(one)[0]["content"][-1]["text"]
  assert grammar.invert(prompt, task) == [template.Inverted(one.question, answers)]
  assert grammar.invert(prompt[1:], task) == []


SOURCE, ONE, TWO = (schema.Media("image", name) for name in "sab")
EDIT = schema.Example.mixed([SOURCE, "Make it black."], ONE, TWO, id="edit")
STORY = schema.Example.mixed("Tell a story.", ["One day ", ONE], ["Once ", TWO, " too"], id="story")


@pytest.mark.parametrize("name", ("think", "direct", "brief", "think:escaped", "brief:escaped"))
def test_a_pair_that_mixes_texts_and_media_has_them_in_their_places(name):
  def lines(pair):
    """The end of the prompt, with a picture's name in its place."""
    [turn] = prompts.get(name).render(pair)
    texts = [part.get("text") or f"<{part['image']}>" for part in turn["content"]]
    return "".join(texts).split("\n")[-3:]

  question = "Question" if name.startswith("brief") else "Prompt"
  assert lines(EDIT) == [f"{question}: <s>Make it black.", "Image 1: <a>", "Image 2: <b>"]
  assert lines(EDIT.swapped())[1:] == ["Image 1: <b>", "Image 2: <a>"]
  answers = ["Answer 1: One day <a>", "Answer 2: Once <b> too"]
  assert lines(STORY) == [f"{question}: Tell a story.", *answers]


@pytest.mark.parametrize("name", ("think", "direct"))
def test_the_prompt_of_a_mixed_pair_asks_for_the_verdicts_that_the_grammar_reads(name):
  grammar = prompts.get(name)
  for pair in (EDIT, STORY):
    text = "".join(part.get("text", "") for part in grammar.render(pair)[0]["content"])
    for choice in schema.CHOICES:
      assert f"'{grammar.solution(pair.task, choice)}" in text
    assert "{noun}" not in text and "{Noun}" not in text
  if name == "think":
    shown = text[text.index("<think>\n") : text.index("</answer>") + len("</answer>")]
    verdict = grammar.parse(shown, STORY.task)
    assert (verdict.answer, verdict.totals, verdict.sheet.faults) == (1, (26, 22), ())


@pytest.mark.parametrize("name", ("r1_reward", "r1_reward:escaped"))
def test_r1_reward_compares_two_texts_and_refuses_a_mixture_by_name(name):
  with pytest.raises(schema.BadExample, match="'story': grammar 'r1_reward' compares two texts"):
    prompts.get(name).render(STORY)
  with pytest.raises(schema.BadExample, match="'edit': grammar 'r1_reward' compares two texts"):
    prompts.get(name).render(EDIT)


@pytest.mark.parametrize("name", [*prompts.PROMPTS, "think:escaped"])
@pytest.mark.parametrize("task", schema.TASKS)
def test_the_shortest_answer_is_read_and_opens_alike_for_both_candidates(name, task):
  grammar = prompts.get(name)
  opening = prompts.opening(grammar, task)
  for choice in schema.CHOICES:
    text = grammar.unreasoned(task, choice)
    verdict = grammar.parse(text, task)
    assert verdict.answer == choice and not verdict.reasoning.strip()
    assert text.startswith(opening) and verdict.span == (len(opening), len(opening) + 1)
    assert grammar.formatted(text) and grammar.answered(text, task) == choice


def test_the_openings_are_those_of_the_published_forms():
  opened = {
    name: prompts.opening(prompts.get(name), "image_generation") for name in prompts.PROMPTS
  }
  assert opened == {
    "r1_reward": "<think></think><answer>",
    "think": "<think>\n</think>\n<answer>Image ",
    "direct": "Image ",
    "brief": "<think>\n</think>\n<answer>Image ",
  }
  video = prompts.opening(prompts.get("direct"), "video_understanding")
  assert video == "Overall Judgment: Answer "
