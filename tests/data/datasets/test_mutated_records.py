"""Records with any value in any place: a bad record or bad media, and no other error."""

import copy
import dataclasses
import json
import random

import pytest

from cot_rm import prompts
from cot_rm.data import datasets
from cot_rm.data.datasets import media_files, pair
from cot_rm.data.datasets import row as rows
from cot_rm.schema import BadExample, Example
from tests.published_sets import encoded

IMAGE = {"bytes": encoded(), "path": "a.jpg"}
ASKED = Example("", "", "image_understanding", "How many?", (), ("one", "two"))
PROMPT = prompts.get("r1_reward").render(ASKED)[0]["content"][0]["text"]
THOUGHT = "<think>so</think><answer>1</answer>"
TURN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}
SAID = {"role": "assistant", "content": [{"type": "text", "text": "one"}]}
RATING = {"Helpfulness": {"Rating": "5", "Rationale": "r"}}

RECORDS = {  # layout: valid records
  "cot_rm": [
    {"id": "1", "task": "image_understanding", "question": "?", "images": ["a.jpg"]}
    | {"responses": ["a", "b"], "gold": 1, "extra": {}, "attempts": 2}
  ],
  "rlaif_v": [
    {"ds_name": "R", "image": IMAGE, "question": "?", "chosen": "a", "rejected": "b", "idx": 3},
    {"ds_name": "R", "image": IMAGE, "text": json.dumps({"question": "?", "chosen": "a"})},
  ],
  "chosen_rejected": [
    {"id": "1", "image": "a.jpg", "prompt": "<image>?", "chosen": "a", "rejected": "b"},
    {"video": ["a.jpg", "b.jpg"], "question": "?", "chosen": "a", "rejected": "b"},
    {"caption": "?", "chosen": "a.mp4", "rejected": "b.mp4"},
  ],
  "trl": [
    {"images": ["a.jpg"], "prompt": [TURN], "chosen": [SAID], "rejected": [SAID]},
    {"chosen": [TURN, SAID], "rejected": [TURN, {**SAID, "content": "b"}], "images": ["a.jpg"]},
  ],
  "conversations": [
    {"messages": [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": THOUGHT}]}
    | {"images": [IMAGE]},
    {"conversations": [{"from": "human", "value": "?"}], "image": "a.jpg"}
    | {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}},
    {"messages": [TURN, SAID], "images": ["a.jpg"], "rejected_response": "b"},
    {"messages": [TURN, SAID], "images": ["a.jpg"], "rejected_messages": [TURN, SAID]},
    {"messages": [{"role": "user", "content": "Draw"}, {"role": "assistant", "content": "<image>"}]}
    | {"images": ["a.jpg"], "rejected_images": ["b.jpg"]},
  ],
  "prompted": [
    {"message": json.dumps([{"role": "user", "content": PROMPT}]), "image": "a.jpg"}
    | {"answer": ["<answer>1</answer>"], "question": "How many?"},
    {"prompt": [{"role": "user", "content": PROMPT}], "reward_model": {"ground_truth": "1"}}
    | {"images": [IMAGE], "extra_info": {"index": 1, "split": "train"}, "data_source": "r1"},
    {"problem": PROMPT, "solution": "1", "image": "a.jpg"},
    {"problem": "Text Caption: [x]", "solution": "Image 1 is better", "images": ["a.jpg", "b.jpg"]},
  ],
  "battles": [
    {"question_id": "1", "image": IMAGE, "winner": "model_a", "conversation_a": [TURN, SAID]}
    | {"conversation_b": [TURN, {**SAID, "content": "b"}]}
  ],
  "rapidata": [
    {"prompt": "?", "image1": IMAGE, "image2": IMAGE, "votes_image1": 3, "votes_image2": 5},
    {"prompt": "?", "video1": "a.mp4", "video2": "b.mp4", "weighted_results1_Preference": 0.7}
    | {"weighted_results2_Preference": 0.3},
  ],
  "evalmuse": [
    {"prompt_id": "1", "prompt": "?", "img_path": "a.jpg", "total_score": [1, 2]},
    {"prompt_id": "1", "prompt": "?", "img_path": "b.jpg", "total_score": "[3, 2.5]"},
  ],
  "pickapic": [{"caption": "?", "jpg_0": b"a", "jpg_1": "b.jpg", "label_0": 1.0, "label_1": 0.0}],
  "hpd": [
    {"prompt": "?", "image_path": ["a.jpg", "b.jpg"], "human_preference": [1, 0]},
    {"prompt": "?", "image_path": ["a.jpg", "b.jpg"], "rank": [1, 0]},
    {"path1": "a.jpg", "path2": "b.jpg", "prompt": "?", "confidence": 1.0},
  ],
  "genai_bench": [
    {"prompt": "?", "left_image": IMAGE, "right_image": IMAGE, "vote_type": "leftvote", "index": 1},
    {"prompt": "?", "video_left": "a.mp4", "video_right": "b.mp4", "vote_type": "rightvote"},
  ],
  "videogen_rewardbench": [
    {"path_A": "a.mp4", "path_B": "b.mp4", "prompt": "?", "Overall": "A", "A_model": "m"}
  ],
  "videodpo": [{"video1": 0, "video2": 1, "label": 0, "frame_caption": "?"}],
  "vlfeedback": [
    {"id": "1", "prompt": "?", "img_path": "a.jpg"}
    | {"completions": [{"annotations": RATING, "response": r} for r in "abc"]}
  ],
  "imagereward": [
    {"image_path": "a.jpg", "prompt_id": "p", "prompt": "?", "rank": 1},
    {"image_path": "b.jpg", "prompt_id": "p", "prompt": "?", "rank": 2},
    {"prompt": "?", "generations": ["a.jpg", "b.jpg"], "ranking": [1, 2]},
  ],
  "reward_benchmarks": [
    {"query": "?", "response": ["a", "b"], "human_ranking": [0, 1], "image": IMAGE, "id": "1"},
    {"ID": "1", "Text": "?", "Image": "a.jpg", "Output1": "a", "Output2": "b", "Better": "Output1"},
  ],
  "videofeedback": [{"text prompt": "?", "visual quality": 3, "images": ["a.jpg"]}],
}
VALUES = (None, 0, -1, 5, 2**70, 0.5, float("nan"), float("inf"), True, "", " ", "x", "\ud83d", "[")
VALUES += ("{", "1", "<image>", "a\0b", "x" * 5000, [], [None], ["x"], [[]], [{}], {}, {"x": 1})
VALUES += ({"role": "user", "content": 1}, {"bytes": None, "path": None}, {"bytes": 5}, b"", b"x")
VALUES += (
  [1, 2, 3],
  {"type": "image", "image": {}},
  {"from": [], "value": []},
  "1" * 5000,
  10**400,
)


def places(value, path=()):
  """Paths of all values in a record."""
  yield path
  if isinstance(value, dict):
    for key in value:
      yield from places(value[key], (*path, key))
  elif isinstance(value, list):
    for i in range(len(value)):
      yield from places(value[i], (*path, i))


def mutated(record, draw):
  """The record with another value in some places, or without them."""
  record = copy.deepcopy(record)
  for _ in range(draw.choice((1, 1, 2, 3))):
    path = draw.choice([path for path in places(record) if path])
    parent = record
    for key in path[:-1]:
      parent = parent[key]
    if draw.random() < 0.2:
      del parent[path[-1]]
    else:
      parent[path[-1]] = copy.deepcopy(draw.choice(VALUES))
    if not record:
      break
  return record


@pytest.mark.parametrize("layout", RECORDS)
def test_a_mutated_record_is_read_or_is_bad(tmp_path, layout):
  for name in ("a.jpg", "b.jpg", "a.mp4", "b.mp4"):
    (tmp_path / name).write_bytes(encoded())
  files = media_files.MediaFiles(tmp_path / "data.json")
  adapter, draw, good = datasets.ADAPTERS[layout], random.Random(layout), 0
  for number in range(300):
    record = mutated(draw.choice(RECORDS[layout]), draw)
    options = rows.Options(draw.choice(("drop", "keep")), draw.choice(("all", "best_worst")))
    looked_for = draw.choice((files, None))
    where, name = f"data.json, record {number}", f"data-{number}"
    row = rows.Row(record, where, name, tmp_path / "data.json", looked_for, options)
    others = [dataclasses.replace(row, record=other) for other in RECORDS[layout][1:]]
    row = dataclasses.replace(row, group=[row, *others])
    adapter.matches(record)
    try:
      if hasattr(adapter, "group"):
        hash(adapter.group(row))
      for found in adapter.pairs(row):
        if isinstance(found, pair.Pair):
          assert pair.to_example(found, "id", layout, 0, where).id == "id"
        good += not isinstance(found, pair.LeftOut)
    except BadExample as error:
      assert str(error).startswith(where), record
  assert good > 5 or layout == "videofeedback"  # the mutations leave something


def test_every_layout_has_its_records_here():
  modules = {id(datasets.ADAPTERS[layout]) for layout in RECORDS}
  assert modules == {id(module) for module in datasets.ADAPTERS.values()}
  for layout, records in RECORDS.items():
    for record in records:
      assert datasets.ADAPTERS[layout].matches(record), (layout, record)
