"""Tags that are special tokens, tokens that nobody would see, templates that begin the answer."""

import json
import re

import pytest
import tokenizers

from cot_rm.models.qwen2_5_vl import processor as processor_lib
from cot_rm.models.qwen2_5_vl import token_kinds

ANSWER = "<think>which is better</think><answer>Image 1 is better</answer>"
CHAT = [{"role": "user", "content": "Which is better?"}]


@pytest.fixture
def broken(broken):
  """A copy to change, with a table of embeddings that is longer than the tokenizer."""
  file = broken / "config.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | {"vocab_size": 512}))
  return broken


def add_special(folder, *tokens):
  """Adds special tokens to a folder's tokenizer, as `add_special_tokens` writes them."""
  tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in tokens])
  tokenizer.save(str(folder / "tokenizer.json"))
  file = folder / "tokenizer_config.json"
  values = json.loads(file.read_text())
  values["additional_special_tokens"] += tokens
  file.write_text(json.dumps(values))


def test_tags_that_are_special_tokens_are_text(broken):
  add_special(broken, "<think>", "</think>", "<answer>", "</answer>")
  processor = processor_lib.Processor.load(broken)
  tokens = processor.encode(ANSWER)
  tag = processor._tokenizer.convert_tokens_to_ids("<answer>")
  assert tag in tokens and tag not in processor.banned_ids
  assert processor.decode([*tokens, processor.end_of_turn]) == ANSWER
  prompt = processor([{"role": "user", "content": f"Write {ANSWER}"}], id="t")
  assert tag in prompt.tokens


def test_a_control_token_stays_refused_and_hidden(broken):
  add_special(broken, "<think>", "<|tool|>")
  processor = processor_lib.Processor.load(broken)
  with pytest.raises(ValueError, match=r"control token '<\|tool\|>'"):
    processor.encode("a <|tool|> b")
  tool = processor._tokenizer.convert_tokens_to_ids("<|tool|>")
  assert tool in processor.banned_ids
  assert processor.decode([*processor.encode("better"), tool]) == "better"


def test_ids_without_a_token_are_never_sampled(broken):
  processor = processor_lib.Processor.load(broken)
  assert processor.config.vocab_size > processor.vocab_size
  extra = set(range(processor.vocab_size, processor.config.vocab_size))
  assert extra <= set(processor.banned_ids)
  assert not set(processor.stop_ids) & set(processor.banned_ids)


def test_gaps_between_added_tokens_are_never_sampled(broken):
  """The number of tokens is not the largest id where ids have gaps."""
  file = broken / "tokenizer.json"
  values = json.loads(file.read_text())
  values["added_tokens"].append(
    dict(
      id=500,
      content="<score>",
      special=False,
      single_word=False,
      lstrip=False,
      rstrip=False,
      normalized=False,
    )
  )
  file.write_text(json.dumps(values))
  processor = processor_lib.Processor.load(broken)
  (found,) = processor.encode("<score>")
  assert found not in processor.banned_ids and {499, 501} - {found} <= set(processor.banned_ids)


@pytest.mark.parametrize("prefix", ["<think>\n", "<think>", "<think>\n\n</think>\n\n"])
def test_a_template_that_begins_the_answer_is_told(broken, prefix):
  file = broken / "tokenizer_config.json"
  values = json.loads(file.read_text())
  head = "<|im_start|>assistant\n"
  assert values["chat_template"].count(head) == 1
  values["chat_template"] = values["chat_template"].replace(
    head + "{%", head + "{{ " + json.dumps(prefix) + " }}{%"
  )
  file.write_text(json.dumps(values))
  processor = processor_lib.Processor.load(broken)
  assert processor.answer_prefix == prefix
  assert processor.decode(processor(CHAT, id="t").tokens).endswith("assistant\n" + prefix)
  # What is learnt does not repeat the prefix.
  rest = processor.encode("which is better")
  for text in (prefix + "which is better", prefix.strip() + "which is better", "which is better"):
    assert processor.encode_answer(text) == rest


def test_a_usual_template_begins_no_answer(processor):
  assert processor.answer_prefix == ""
  assert processor.encode_answer("<think>\nbetter") == processor.encode("<think>\nbetter")


def test_the_sampling_of_generation_config_is_read(broken):
  assert processor_lib.Processor.load(broken).generation == {}
  (broken / "generation_config.json").write_text(
    json.dumps({"repetition_penalty": 1.05, "temperature": 1e-6, "top_p": None, "do_sample": True})
  )
  found = processor_lib.Processor.load(broken).generation
  assert found == {"repetition_penalty": 1.05, "temperature": 1e-6}


@pytest.mark.parametrize(
  "name, value, wanted",
  [
    ("repetition_penalty", "1.05", "a number"),
    ("eos_token_id", "<|im_end|>", "an id or a list of ids"),
    ("eos_token_id", [2, "7"], "an id or a list of ids"),
  ],
)
def test_a_wrong_value_in_generation_config_is_named(broken, name, value, wanted):
  (broken / "generation_config.json").write_text(json.dumps({name: value}))
  words = re.escape(f"generation_config.json': {name} is {value!r}; it must be {wanted}")
  with pytest.raises(ValueError, match=words):
    processor_lib.Processor.load(broken)


@pytest.mark.parametrize(
  "content, words",
  [
    ("version https://git-lfs.github.com/spec/v1\n", "tokenizer.json is a pointer of Git LFS"),
    ('{"version": "1.0"', "JSONDecodeError"),
  ],
)
def test_a_damaged_tokenizer_names_its_folder(broken, content, words):
  (broken / "tokenizer.json").write_text(content)
  with pytest.raises(ValueError, match=f"{broken}.*the tokenizer's files cannot be read: {words}"):
    processor_lib.Processor.load(broken)


def test_the_longest_token_is_matched_first():
  assert token_kinds.pattern(["<|a|>", "<|a|>b"]).search("x<|a|>b")[0] == "<|a|>b"
