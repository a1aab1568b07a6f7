"""Kinds of tokens: control tokens, those that are never sampled, and the text before an answer."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cot_rm.models.qwen2_5_vl.config import Config

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerBase  # imported late, because it takes seconds

ASSISTANT = "<|im_start|>assistant\n"  # begins the turn that a generation prompt opens
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
  """{token: id} of the tokens that a chat's structure is made of.

  These are `<|...|>` and the tokenizer's tokens with a role (eos, pad, unknown). Other added
  tokens, special ones too, are text with an id of its own: `<think>`, `<answer>`, `<tool_call>`.
  """
  roles = {str(getattr(tokenizer, role, None)) for role in _ROLES}
  return {
    str(token): id
    for id, token in tokenizer.added_tokens_decoder.items()
    if str(token).startswith("<|") or str(token) in roles
  }


def hidden_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
  """Control tokens that are no part of a decoded text."""
  control = set(control_tokens(tokenizer).values())
  added = tokenizer.added_tokens_decoder
  return sorted(id for id in control if added[id].special)


def banned_ids(
  tokenizer: "PreTrainedTokenizerBase", config: Config, stop_ids: Iterable[int]
) -> tuple[int, ...]:
  """Tokens that are never sampled: no reader of the answer's text would see them.

  All ids that the tokenizer has no token for (a table of embeddings is often padded), and all
  control tokens that do not end an answer, those of pictures among them.
  """
  known = set(tokenizer.get_vocab().values())
  unknown = set(range(config.vocab_size)) - known
  media = {
    config.image_token_id,
    config.video_token_id,
    config.vision_start_token_id,
    config.vision_end_token_id,
  }
  control = set(control_tokens(tokenizer).values())
  return tuple(sorted((unknown | control | media) - set(stop_ids)))


def pattern(tokens: Iterable[str]) -> re.Pattern[str]:
  """Matches any of the tokens in a text, the longest first."""
  return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))


def answer_prefix(tokenizer: "PreTrainedTokenizerBase") -> str:
  """The text that a chat template puts at the start of the answer, such as "<think>\\n"; or ""."""
  turns = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
  text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
  _, turn, prefix = text.rpartition(ASSISTANT)
  return prefix if turn and prefix.strip() else ""
