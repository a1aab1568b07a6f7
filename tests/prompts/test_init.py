"""The table of grammars."""

import pytest

from cot_rm import prompts, schema

FACE = ("render", "parse", "solution", "formatted", "answered")


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_every_grammar_has_the_whole_face(name):
  assert all(callable(getattr(prompts.get(name), part)) for part in FACE)


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
