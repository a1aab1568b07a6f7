"""The four tasks in the owners' layout, and both modes worked out by hand."""

import json
import shutil

import PIL.Image
import pytest

from cot_rm import prompts, schema
from cot_rm.benchmarks import mmrb2


@pytest.fixture
def root(tmp_path, fixtures):
  """The four files, with pictures of our own."""
  folder = tmp_path / "benchmark"
  shutil.copytree(fixtures / "mmrb2", folder)
  for path in folder.glob("*.json"):
    for record in json.loads(path.read_text())["pairs"]:
      contents = [record[f"response_{one}"]["response_content"] for one in "ab"]
      for kind, name in sum(contents, record["prompt_content"]):
        if kind == "image":
          (folder / name).parent.mkdir(exist_ok=True)
          PIL.Image.new("RGB", (8, 8), "red").save(folder / name)
  return folder


@pytest.fixture
def warned(monkeypatch):
  """The lines that the log gets; a line that is due once comes each time."""
  lines = []
  monkeypatch.setattr(mmrb2.logging, "warning", lambda text, *args: lines.append(text % args))
  monkeypatch.setattr(mmrb2.logging, "log_first_n", lambda level, text, n: lines.append((text, n)))
  return lines


def names(pieces):
  """The texts of a mixture, and the names of its pictures."""
  return [p if isinstance(p, str) else p.source.rpartition("/")[2] for p in pieces]


def test_the_pairs_of_all_tasks_are_read_with_each_picture_in_its_place(root):
  found = {pair.extra["id"]: pair for pair in mmrb2.examples(root)}
  assert [pair.id.partition(":")[0] for pair in found.values()] == [
    task for task in mmrb2.TASKS for _ in range(2)
  ]
  assert [pair.gold for pair in found.values()] == [2, 1, 1, 2, 1, 2, 1, 2]
  kinds = {name: (pair.task, bool(pair.places)) for name, pair in found.items()}
  assert kinds["garden_001_p1_p2"] == ("image_generation", False)
  assert kinds["retouch_17_p1_p2"] == ("image_generation", True)
  assert kinds["manual_4_p1_p2"] == kinds["riddle_9_p1_p2"] == ("image_understanding", True)
  assert kinds["riddle_10_p1_p2"] == ("image_understanding", False)  # texts about a picture
  edit = found["retouch_18_p1_p2"]
  assert [names(pieces) for pieces in edit.pieces] == [
    [
      *("retouch_bench_17.jpg", "retouch_dog_2.jpg"),
      "Put the dog of the second image on the bench of the first.",
    ],
    ["retouch_18_0.jpg"],
    ["retouch_18_1.jpg"],
  ]
  story = found["manual_4_p1_p2"]
  assert [names(pieces) for pieces in story.pieces[1:]] == [
    ["Step 1: fold the sheet.\n", "manual_4_0.jpg", "\n\nStep 2: open it.\n", "manual_4_1.jpg"],
    ["manual_4_2.jpg", " A boat."],
  ]
  assert names(found["manual_5_p1_p2"].pieces[0]) == [
    *("Continue the story of ", "manual_cat.jpg", " with one picture.")
  ]
  assert story.extra == {
    "id": "manual_4_p1_p2",
    "task": "interleaved",
    "models": ["painter-1", "painter-2"],
    "prompt": "interleaved:manual:4",
  }


def test_every_pair_has_a_prompt_in_both_orders_and_r1_reward_takes_texts_alone(root):
  for pair in mmrb2.examples(root):
    for grammar in ("think", "direct", "brief"):
      for order in (pair, pair.swapped()):
        [turn] = prompts.get(grammar).render(order)
        shown = [part["image"] for part in turn["content"] if part["type"] == "image"]
        assert shown == [medium.source for medium in order.media]
    if pair.extra["id"] == "riddle_10_p1_p2":
      assert prompts.get("r1_reward").render(pair)
    else:
      with pytest.raises(schema.BadExample, match=f"{pair.id}': grammar 'r1_reward' compares"):
        prompts.get("r1_reward").render(pair)


def test_the_licence_and_what_is_missing_are_in_the_log(root, warned):
  assert len(mmrb2.examples(root)) == 8
  licence, *counts = warned
  assert "CC BY-NC 4.0" in licence[0] and "do not train" in licence[0] and licence[1] == 1
  line = "MMRB2, task {}: found 2 pairs; known are 1,000 (each task)"
  assert counts == [*map(line.format, mmrb2.TASKS)]
  (root / "edit.json").unlink()
  (root / "reasoning.json").unlink()
  warned.clear()
  assert len(mmrb2.examples(root)) == 4
  assert "no file of edit, reasoning in" in warned[-1]
  assert warned[-1].endswith("accuracies are over t2i, interleaved alone")
  assert [pair.extra["task"] for pair in mmrb2.examples(root / "t2i.json")] == ["t2i"] * 2


def test_files_without_prompts_or_of_no_task_are_named(root, tmp_path):
  with pytest.raises(FileNotFoundError, match="t2i.json, edit.json.*config.eval.data"):
    mmrb2.examples(tmp_path)
  other = root / "t2i_response_only.json"
  shutil.copy(root / "t2i.json", other)
  with pytest.raises(ValueError, match=r"t2i_response_only.json is of no task; .*build_from_hf.py"):
    list(mmrb2.examples(other))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"chosen": "C"}, "field 'chosen': must be 'A' or 'B', not 'C'"),
    (
      {"chosen": ...},
      "field 'chosen': must be 'A' or 'B', not None; the record has id, response_a",
    ),
    ({"id": ...}, "field 'pair_id': must be text, not None"),
    ({"id": "retouch_17_p1_p2"}, "has the id 'retouch_17_p1_p2', and so has .*, record 0"),
    ({"prompt_content": ...}, "field 'prompt_content': must be a list.*not None; its owners'"),
    ({"prompt_content": "Paint it."}, "field 'prompt_content': must be a list .* not 'Paint it.'"),
    ({"prompt_content": [["video", "a"]]}, r"'prompt_content', entry 0: must be \['text', text\]"),
    ({"prompt_content": [["image", "no.jpg"]]}, "entry 0: no such picture.*no.jpg"),
    ({"response_b": "b.jpg"}, "field 'response_b': must be an object, not 'b.jpg'"),
    (
      {"response_a": {"response_content": [["image", "images/gone.jpg"]]}},
      "'response_a', field 'response_content', entry 0: no such picture.*images/gone.jpg",
    ),
  ],
)
def test_a_changed_record_is_named_by_its_number_and_field(root, change, message):
  path = root / "edit.json"
  found = json.loads(path.read_text())
  found["pairs"][1] = {
    key: value for key, value in (found["pairs"][1] | change).items() if value is not ...
  }
  path.write_text(json.dumps(found))
  with pytest.raises(schema.BadExample, match=rf"edit.json, \w+ 1.*{message}"):
    list(mmrb2.examples(root))


def test_an_empty_response_is_left_to_the_judge_s_own_check(root):
  path = root / "interleaved.json"
  found = json.loads(path.read_text())
  found["pairs"][0]["response_b"]["response_content"] = []
  path.write_text(json.dumps(found))
  pair = mmrb2.examples(path)[0]
  with pytest.raises(schema.BadExample, match="interleaved:manual_4_p1_p2': response 2 is empty"):
    prompts.get("think").render(pair)


# Verdicts as given and exchanged of eight pairs, two of each task; None: no verdict.
GOLD = (2, 1, 1, 2, 1, 2, 1, 2)
GIVEN = (2, 1, 1, None, 1, 1, None, None)
SWAPPED = (1, 1, 2, 1, None, 2, None, None)


def judged(says):
  """The judgements of both orders."""
  tasks = [task for task in mmrb2.TASKS for _ in range(2)]
  rows = [
    schema.Example(f"e-{i}", "s", "image_understanding", "q", gold=gold, extra={"task": task})
    for i, (gold, task) in enumerate(zip(GOLD, tasks, strict=True))
  ]
  for row in rows:
    row.extra["prompt"] = row.id
  given = [says(row, answer) for row, answer in zip(rows, GIVEN, strict=True)]
  return given, [says(row.swapped(), answer) for row, answer in zip(rows, SWAPPED, strict=True)]


def test_a_miss_is_wrong_in_mode_both(says):
  """Right: t2i 3 of 4, edit 3 of 4, interleaved 1 of 4, reasoning 0 of 4."""
  found = mmrb2.score(*judged(says), mode="both")
  assert found["accuracy"] == found["accuracy_macro"] == pytest.approx(7 / 16)
  assert found["families"] == {"edit": 0.75, "interleaved": 0.25, "reasoning": 0, "t2i": 0.75}
  assert found["n"] == 8 and "left_out" not in found and found["parse_rate"] == 10 / 16


def test_a_miss_leaves_the_denominator_in_mode_official(says):
  """Right of those with a verdict: t2i 3 of 4, edit 3 of 3, interleaved 1 of 3; reasoning has none.

  The owners' overall accuracy is over all verdicts of all tasks: 7 of 10.
  """
  found = mmrb2.score(*judged(says), mode="official")
  assert found["accuracy"] == pytest.approx(0.7) and found["left_out"] == 6
  assert found["families"] == {"edit": 1, "interleaved": 0.333333, "t2i": 0.75}
  assert found["accuracy_macro"] == pytest.approx((1 + 1 / 3 + 0.75) / 3, abs=1e-6)
  assert found["definitions"]["accuracy_macro"]["n"] == 3
  assert "leave the denominator" in found["definitions"]["accuracy"]["what"]


def test_the_output_that_the_owners_print_for_their_sample_judgements_comes_out(says):
  """Their samples name response A in both orders: right where people chose A, in 532 pairs of t2i.

  README of facebookresearch/MMRB2: 53.20, 55.50, 57.50, 47.50, and 53.42 overall.
  """
  chosen_a = {"t2i": 532, "edit": 555, "interleaved": 575, "reasoning": 475}
  rows = [
    schema.Example(f"{task}:{i}", "s", "image_understanding", "q", gold=1 if i < count else 2)
    for task, count in chosen_a.items()
    for i in range(1000)
  ]
  for row in rows:
    row.extra.update(task=row.id.partition(":")[0], prompt=row.id)
  given = [says(row, 1) for row in rows]
  swapped = [says(row.swapped(), 2) for row in rows]
  found = mmrb2.score(given, swapped, mode="official")
  assert found["families"] == {
    "t2i": 0.532,
    "edit": 0.555,
    "interleaved": 0.575,
    "reasoning": 0.475,
  }
  assert f"{found['accuracy'] * 100:.2f}" == "53.42" and found["order_consistency"] == 1
