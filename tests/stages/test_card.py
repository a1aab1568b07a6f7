"""The reproduction card says all that figures depend on, and changes with it."""

import json

from cot_rm import prompts
from cot_rm.prompts import template
from cot_rm.stages import card
from cot_rm.stages import eval as eval_stage
from tests.stages import answers_by_rule


def test_a_model_that_is_scored_has_a_card_in_its_folder_and_in_the_report(
  workdir, config, monkeypatch
):
  answers_by_rule.install(monkeypatch, lambda e: 1, "text")
  config.eval.blank_pairs = 0
  eval_stage.run(config, workdir, "eval")
  found = json.loads((workdir / "eval" / "sft" / "card.json").read_text())
  assert found["pairs"] == config.eval.pairs and found["not_judged"] == 0
  assert found["mode"] == "both" and found["reading"] == "grammar" and found["seed"] == config.seed
  assert found["model"] and found["processor"]["max_pixels"] == config.processor.max_pixels
  assert found["prompt"] == card.prompt_hash(prompts.get(config.grammar))
  page = (workdir / "report.html").read_text()
  assert "Reproduction cards" in page and found["prompt"] in page


def test_the_hash_of_a_prompt_is_that_of_its_words(monkeypatch):
  names = [*prompts.PROMPTS]
  hashes = {card.prompt_hash(prompts.get(name)) for name in names}
  assert len(hashes) == len(names)
  before = card.prompt_hash(prompts.get("think"))
  text = template.text
  for part in ("think_mixed", "think_video_generation"):
    changed = lambda name, part=part: text(name) + " " * (name == part)
    monkeypatch.setattr(template, "text", changed)
    assert card.prompt_hash(prompts.get("think")) != before
