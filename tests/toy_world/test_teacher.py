"""The built-in teacher: right as the references are, wrong in one piece, blind without scenes."""

import base64
import collections
import dataclasses
import io
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from cot_rm import prompts
from cot_rm.batch import Encoded
from cot_rm.chat import pictures
from cot_rm.prompts import think
from cot_rm.rewards import consistency
from cot_rm.toy_world import descriptions, language, misreadings
from cot_rm.toy_world import teacher as toy_teacher
from cot_rm.toy_world import world as toy_world

RIGHT = toy_teacher.Teacher(error=0.0, per_object=0.0, relation=0.0, unparsable=0.0)
WRONG = dataclasses.replace(RIGHT, error=1.0)
EXAMPLES = list(toy_world.examples(toy_world.World(), "train", count=60))
HARD = list(toy_world.examples(toy_world.World(), "hard", count=60))


def request(example, grammar="brief", **more):
  messages = prompts.get(grammar).render(example)
  return {
    "messages": pictures.openai_messages(messages, pictures.Pictures(), name=example.id),
    **more,
  }


def text(example, teacher, grammar="brief", **more):
  body = toy_teacher.completion(request(example, grammar, **more), teacher)
  return body["choices"][0]["message"]["content"]


@pytest.mark.parametrize("grammar", ["brief", "think"])
def test_a_teacher_without_errors_describes_truly_and_prefers_the_gold_candidate(grammar):
  for example in EXAMPLES + HARD + [one.swapped() for one in EXAMPLES]:
    said = text(example, RIGHT, grammar)
    assert think.parse(said, example.task).answer == example.gold, said
    assert descriptions.fidelity(said, example) == 1.0


def test_an_error_is_a_consistent_judgement():
  for example in EXAMPLES + HARD:
    said = text(example, WRONG)
    verdict = think.parse(said, example.task)
    assert verdict.answer == 3 - example.gold
    sheet = think.sheet(verdict.reasoning, example.task)
    assert not sheet.faults and tuple(map(sum, sheet.addends)) == sheet.totals
    assert sheet.totals[verdict.answer - 1] > sheet.totals[example.gold - 1]
    read = descriptions.parse(said, example.task)
    if example.generation:
      asked = misreadings.parse_caption(example.question)
      for seen in read.described:
        assert seen == language.describe(seen.things, asked)  # its marks fit its own description
    else:
      (seen,) = read.described
      assert read.truth == misreadings.answer(example.question, seen.things)
      asked = misreadings.relevant_things(example.question, seen.things)
      assert seen == language.describe(seen.things, asked)._replace(absent=())
    assert descriptions.fidelity(said, example) < 1.0


def test_equal_requests_have_equal_answers_and_another_seed_another_answer():
  teacher = toy_teacher.Teacher(error=0.5, unparsable=0.2)
  draw = lambda teacher, seed: [text(one, teacher, seed=seed) for one in EXAMPLES]
  first = draw(teacher, 1)
  assert draw(teacher, 1) == first
  assert sum(a != b for a, b in zip(first, draw(teacher, 2), strict=True)) > 20
  other = draw(dataclasses.replace(teacher, seed=1), 1)
  assert sum(a != b for a, b in zip(first, other, strict=True)) > 20


def test_the_error_rate_rises_with_difficulty():
  teacher = toy_teacher.Teacher(error=0.1, per_object=0.1, relation=0.2)
  thing = lambda *words: language.Thing(*words)
  one, two = thing("red", "star"), thing("blue", "circle")
  asked = lambda question, responses, *shown: toy_teacher.ParsedRequest(
    "image_understanding", question, responses, shown
  )
  rate = lambda *args: pytest.approx(toy_teacher.error_rate(asked(*args), teacher))
  assert rate("What colour is the star?", ("red", "blue"), (one,)) == 0.1
  assert rate("What colour is the star?", ("red", "blue"), (one, two)) == 0.2
  assert rate("How many stars are there?", ("one", "two"), (one, two)) == 0.4
  assert rate("What colour is the shape that moves?", ("red", "blue"), (one,)) == 0.3
  other = (thing("blue", "star"), thing("red", "circle"))
  assert rate("a red star and a blue circle", (), (one, two), (one,)) == 0.2
  assert rate("a red star and a blue circle", (), (one, two), other) == 0.4  # who has which colour


def test_errors_occur_at_the_error_rate():
  teacher = toy_teacher.Teacher(error=0.2, per_object=0.2, relation=0.0, unparsable=0.0)
  world = toy_world.World(image_understanding=0, video_generation=0, video_understanding=0)
  wrong, due, n = 0, 0.0, 300
  for example in toy_world.examples(world, "train", count=n):
    verdict = think.parse(text(example, teacher), example.task)
    wrong += verdict.answer != example.gold
    due += toy_teacher.error_rate(toy_teacher.parse_request(request(example)["messages"]), teacher)
  assert abs(wrong - due) < 4 * (n * 0.25) ** 0.5 and due > 0.25 * n


def test_some_texts_have_no_verdict():
  teacher = dataclasses.replace(RIGHT, unparsable=1.0)
  ends = collections.Counter()
  for example in EXAMPLES:
    said = text(example, teacher)
    assert think.parse(said, example.task).answer is None
    ends[said.rpartition("\n")[2]] += 1
  assert len(ends) == 3


def test_a_contradicting_error_has_the_right_verdict_against_its_own_reasoning():
  contradicting = dataclasses.replace(WRONG, contradicting=1.0)
  for example in EXAMPLES + HARD:
    said = text(example, contradicting)
    assert think.parse(said, example.task).answer == example.gold
    assert consistency.contradicts(said, example.task, think) is True
    assert text(example, dataclasses.replace(RIGHT, contradicting=1.0)) == text(example, RIGHT)


def test_the_wording_varies():
  opening = collections.Counter(text(one, RIGHT).split(":")[0].split()[3] for one in EXAMPLES)
  assert set(opening) == set(language.VERBS)


def stripped(source):
  """The same pixels, and nothing else."""
  with Image.open(io.BytesIO(source)) as image:
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, "PNG")
  return out.getvalue()


def test_the_policy_sees_pixels_and_no_scene_and_its_tokenizer_knows_the_teachers_words(
  tiny_folder,
):
  from cot_rm.models import qwen2_5_vl

  processor = qwen2_5_vl.Processor.load(tiny_folder)
  tasks = set()
  for example in EXAMPLES[:12]:
    bare = dataclasses.replace(
      example,
      media=tuple(
        dataclasses.replace(
          medium,
          source=stripped(medium.source)
          if medium.kind == "image"
          else tuple(map(stripped, medium.source)),
        )
        for medium in example.media
      ),
    )
    assert bare.media != example.media
    one, other = (processor(prompts.get("brief").render(e), id="x") for e in (example, bare))
    for field in dataclasses.fields(Encoded):
      np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    for teacher in (RIGHT, WRONG):
      said = text(example, teacher)
      assert processor.decode(processor.encode(said)) == said
    tasks.add(example.task)
  assert len(tasks) >= 3


def test_a_picture_without_a_scene_is_refused_with_the_reason():
  example = EXAMPLES[0]
  with pytest.raises(ValueError, match="built-in world alone; name a service in config.distill"):
    text(toy_world.blank(example), RIGHT)


def test_a_prompt_of_another_world_is_refused():
  body = request(EXAMPLES[0])
  body["messages"][0]["content"][-1]["text"] = "Write a poem."
  with pytest.raises(ValueError, match="no prompt of the grammars 'brief' and 'think': 'Write a"):
    toy_teacher.completion(body, RIGHT)
  with pytest.raises(ValueError, match="a text and the pictures"):
    toy_teacher.completion({"messages": [{"role": "user", "content": "hello"}]}, RIGHT)


def post(url, body):
  try:
    with urllib.request.urlopen(
      urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    ) as response:
      return response.status, json.load(response)
  except urllib.error.HTTPError as error:
    return error.code, json.load(error)


def test_it_speaks_the_protocol(monkeypatch):
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  with toy_teacher.serve(RIGHT) as base_url:
    with urllib.request.urlopen(f"{base_url}/models") as response:
      (card,) = json.load(response)["data"]
    assert card["id"] == RIGHT.name and card["object"] == "model"
    chat = f"{base_url}/chat/completions"
    status, body = post(chat, request(EXAMPLES[0], model=RIGHT.name))
    assert status == 200 and body["object"] == "chat.completion" and body["model"] == RIGHT.name
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop" and choice["message"]["role"] == "assistant"
    assert think.parse(choice["message"]["content"], EXAMPLES[0].task).answer == EXAMPLES[0].gold
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 10

    assert post(chat, request(EXAMPLES[0], model="gpt-4o"))[0] == 404
    assert post(f"{base_url}/completions", {})[0] == 404
    status, body = post(chat, {"model": RIGHT.name})
    assert status == 400 and body["error"]["message"] == "KeyError: 'messages'"
    picture = base64.b64encode(stripped(EXAMPLES[0].media[0].source)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    content = [part, {"type": "text", "text": "Caption: a red star"}]
    body = {"model": RIGHT.name, "messages": [{"role": "user", "content": content}]}
    status, body = post(chat, body)
    assert status == 400 and "built-in world alone" in body["error"]["message"]


def test_another_teacher_has_another_name():
  names = {RIGHT.name, WRONG.name, dataclasses.replace(RIGHT, seed=1).name}
  assert len(names) == 3 and toy_teacher.Teacher().name == toy_teacher.Teacher().name


def test_a_teacher_keeps_the_name_under_which_its_answers_are_cached():
  assert toy_teacher.Teacher().name == "shapes-teacher-d1df43fb"


def test_a_rate_out_of_range_names_the_knob():
  with pytest.raises(ValueError, match="Teacher: relation is 1.5"):
    toy_teacher.Teacher(relation=1.5)
