import collections

import pytest

from cot_rm.toy_world import language, scenes
from cot_rm.toy_world import world as toy_world


def _things(picture):
  return [tuple(record[key] for key in ("colour", "shape", "how")) for record in picture["objects"]]


@pytest.mark.parametrize("split", ["train", "hard"])
def test_one_candidate_shows_what_is_asked_and_the_other_does_not(split):
  world = toy_world.World(image_understanding=0, video_understanding=0)
  for index in range(800):
    plan = scenes.plan(world, split, index, 0)
    asked = {tuple(record.values()) for record in plan.scene["asked"]}
    right, wrong = plan.scene["pictures"][:: 1 if plan.gold == 1 else -1]
    assert {*_things(right)} == asked
    assert {*_things(wrong)} != asked
    assert plan.question == language.caption(
      [language.Thing(**record) for record in plan.scene["asked"]]
    )
    for picture in (right, wrong):
      assert len({thing[:2] for thing in _things(picture)}) == len(picture["objects"])


@pytest.mark.parametrize("split", ["train", "hard"])
def test_the_right_answer_follows_from_the_objects(split):
  world = toy_world.World(image_generation=0, video_generation=0)
  kinds = collections.Counter()
  for index in range(1500):
    plan = scenes.plan(world, split, index, 0)
    things, kind, words = _things(plan.scene["pictures"][0]), plan.scene["kind"], plan.question
    asked = words.rstrip("?").split()
    if plan.task == "image_understanding":
      if kind == "count":
        wanted = asked[2].removesuffix("s") if asked[3] != "shapes" else asked[2]
        truth = language.NUMBERS[sum(wanted in thing for thing in things)]
      elif kind == "colour":
        (truth,) = (colour for colour, shape, _ in things if shape == asked[-1])
      elif kind == "shape":
        (truth,) = (shape for colour, shape, _ in things if colour == asked[-2])
      else:
        how = next(how for colour, shape, how in things if [colour, shape] == asked[2:4])
        truth = "yes" if how == asked[4] else "no"
    elif kind == "order":
      truth = next(f"{colour} {shape}" for colour, shape, how in things if how == "first")
    else:
      colour, shape, how = next(thing for thing in things if thing[2].startswith("moves"))
      truth = {"colour": colour, "shape": shape, "direction": how.split()[-1]}[kind]
    kinds[plan.task, kind] += 1
    assert truth == plan.scene["truth"]
    right, wrong = plan.responses[:: 1 if plan.gold == 1 else -1]
    assert language.without_hedge(right) == truth != language.without_hedge(wrong)
  assert len(kinds) == 8


def test_the_hard_split_has_more_objects_and_swaps():
  world = toy_world.World(image_understanding=0, video_understanding=0, video_generation=0)
  counts = {split: collections.Counter() for split in ("train", "hard")}
  swaps = 0
  for split, index in ((split, index) for split in counts for index in range(400)):
    plan = scenes.plan(world, split, index, 0)
    counts[split][len(plan.scene["asked"])] += 1
    one, two = (sorted(_things(picture)) for picture in plan.scene["pictures"])
    swaps += (
      split == "hard"
      and one != two
      and sorted(c for c, _, _ in one) == sorted(c for c, _, _ in two)
      and sorted(s for _, s, _ in one) == sorted(s for _, s, _ in two)
    )
  assert {*counts["train"]} == {1, 2} and {*counts["hard"]} == {2, 3}
  assert swaps > 40
