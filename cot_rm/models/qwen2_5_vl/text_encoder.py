"""Texts to token ids; control tokens inside a text are refused, or read as plain text.

T tokens.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from cot_rm import registry, schema
from cot_rm.models.qwen2_5_vl import token_kinds
from cot_rm.schema import BadExample

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerBase  # imported late, because it takes seconds

ControlTokens = Literal["refuse", "text"]
CONTROL_TOKENS: tuple[ControlTokens, ...] = get_args(ControlTokens)
# Where a text is cut before it is tokenized. Unicode keeps this character out of all texts.
CUT = "\ufdd0"


class TextEncoder:
  """The tokenizer of a checkpoint, and what becomes of control tokens such as <|im_end|> in texts.

  With control_tokens "text" such a token is cut behind its first character, and both sides are
  tokenized alone: the model reads its characters, and nothing ends the turn.
  """

  def __init__(
    self, tokenizer: "PreTrainedTokenizerBase", folder: str, control_tokens: ControlTokens
  ):
    """Raises ValueError for an unknown `control_tokens`; `folder` names the tokenizer in errors."""
    if control_tokens not in CONTROL_TOKENS:
      hint = registry.hint(control_tokens, CONTROL_TOKENS)
      raise ValueError(f"control_tokens is {control_tokens!r}; {hint}")
    self._tokenizer, self._folder, self._mode = tokenizer, folder, control_tokens
    self._control = token_kinds.pattern(token_kinds.control_tokens(tokenizer))

  def marked(self, run: Sequence[str], name: str) -> list[str]:
    """Texts that a template sets side by side, with a CUT in each control token.

    Args:
      run: the texts; a token may reach from one to the next.
      name: the sample's name in errors.

    Raises BadExample if there is a control token and they are refused, or half a character.
    """
    text = "".join(run)
    schema.check_text(text, name)
    if self._mode == "refuse":
      if found := self._control.search(text):
        raise BadExample(
          f"{name}: the text holds the control token {found[0]!r}, which would be read as "
          "structure; take it out, or set config.processor.control_tokens='text' to read it as "
          "plain text"
        )
      return [*run]
    if CUT in text:
      raise BadExample(f"{name}: the text holds the character U+FDD0, which is for internal use")
    cuts, found = [], self._control.search(text)
    while found:
      cuts.append(found.start() + 1)
      found = self._control.search(text, found.start() + 1)
    starts = itertools.accumulate(map(len, run), initial=0)
    return [_with_cuts(part, start, cuts) for part, start in zip(run, starts, strict=False)]

  def ids(self, text: str, name: str) -> list[int]:
    """Token ids of a text with its CUTs. Raises BadExample for characters not in the vocabulary."""
    ids = [
      token
      for piece in text.split(CUT)
      for token in self._tokenizer.encode(piece, add_special_tokens=False)
    ]
    unknown = self._tokenizer.unk_token_id
    if unknown is not None and unknown in ids:
      strange = sorted(
        {c for c in text if self._tokenizer.encode(c, add_special_tokens=False) == [unknown]}
      )
      raise BadExample(f"{name}: the vocabulary in {self._folder!r} lacks {strange}")
    return ids


def _with_cuts(part: str, start: int, cuts: Sequence[int]) -> str:
  """A part of a run, from character `start`, with the cuts inside it or at its end."""
  inside = [cut - start for cut in cuts if start < cut <= start + len(part)]
  edges = [0, *inside, len(part)]
  return CUT.join(part[a:b] for a, b in itertools.pairwise(edges))
