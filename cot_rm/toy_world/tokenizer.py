"""Trains a small tokenizer on given texts and writes it as a Hugging Face folder.

A unigram model of SentencePiece; the fixed phrases of a grammar are one token each.
"""

import collections
import io
import json
import os
import pathlib
import re
import string
import tempfile
from collections.abc import Iterable, Mapping, Sequence

import sentencepiece
import tokenizers

from cot_rm import files

CONTROL = (
  "<|endoftext|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|vision_start|>",
  "<|vision_end|>",
  "<|image_pad|>",
  "<|video_pad|>",
)
UNKNOWN = "<unk>"
SPACE = "\u2581"  # stands for a space inside a piece of SentencePiece
LONGEST = 16  # characters of a piece, SentencePiece's own bound

TURNS = ("user\n", "assistant\n")  # begin a turn, after its control token

# ChatML as in Qwen2.5-VL, without its default system turn.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for part in message['content'] -%}
{%- if part['type'] in ('image', 'image_url') -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""

PREPROCESSOR = {
  "image_processor_type": "Qwen2VLImageProcessor",
  "processor_class": "Qwen2_5_VLProcessor",
  "min_pixels": 56 * 56,
  "max_pixels": 28 * 28 * 1280,
  "patch_size": 14,
  "merge_size": 2,
  "temporal_patch_size": 2,
  "image_mean": [0.48145466, 0.4578275, 0.40821073],
  "image_std": [0.26862954, 0.26130258, 0.27577711],
  "video": {"mode": "flat"},  # the built-in world's videos are smaller than Qwen's bounds
}


def train(
  texts: Iterable[str],
  folder: str | os.PathLike,
  *,
  vocab_size: int,
  phrases: Sequence[str] = (),
) -> dict[str, int]:
  """Trains on texts and writes the tokenizer and preprocessor files of a model folder.

  Any text of printable ASCII, newlines and the characters of `texts` decodes to itself. A digit and
  a newline are tokens of their own, unless part of a phrase; the head of a turn is one token.

  Args:
    texts: iterated once.
    folder: created if missing; gets every file but config.json.
    vocab_size: largest number of tokens, control tokens and phrases included; the texts may give
      fewer.
    phrases: strings that are always one token; the longest is taken if several match.

  Returns:
    {"vocab_size": number of tokens, "image_token_id": ..., and the other ids of a config.json}.

  Raises ValueError if vocab_size is too small for the characters and phrases alone.
  """
  if any(SPACE in phrase or not phrase for phrase in phrases):
    raise ValueError(f"a phrase is empty or contains {SPACE!r}: {phrases}")
  fixed = list(dict.fromkeys([*phrases, *TURNS, "\n"]))
  pieces = _learn(texts, vocab_size - len(CONTROL) - 1 - len(fixed), fixed)
  # A phrase never competes with pieces: it is matched before the model runs.
  vocab = [(token, 0.0) for token in (*CONTROL, UNKNOWN, *fixed)] + pieces
  tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=len(CONTROL)))
  tokenizer.decoder = tokenizers.decoders.Fuse()
  tokenizer.add_special_tokens(
    [tokenizers.AddedToken(token, normalized=False, special=True) for token in (*CONTROL, UNKNOWN)]
  )
  tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in fixed])

  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(folder / "tokenizer.json"))
  _write(
    folder / "tokenizer_config.json",
    {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "eos_token": "<|im_end|>",
      "pad_token": "<|endoftext|>",
      "unk_token": UNKNOWN,
      "additional_special_tokens": list(CONTROL),
      "clean_up_tokenization_spaces": False,
      "chat_template": CHAT_TEMPLATE,
    },
  )
  _write(folder / "preprocessor_config.json", PREPROCESSOR)
  return {
    "vocab_size": len(vocab),
    "image_token_id": CONTROL.index("<|image_pad|>"),
    "video_token_id": CONTROL.index("<|video_pad|>"),
    "vision_start_token_id": CONTROL.index("<|vision_start|>"),
    "vision_end_token_id": CONTROL.index("<|vision_end|>"),
  }


def _learn(texts: Iterable[str], max_pieces: int, fixed: Sequence[str]) -> list[tuple[str, float]]:
  """Pieces with their scores, learnt from the texts between the fixed phrases."""
  phrase = re.compile("|".join(map(re.escape, sorted(fixed, key=len, reverse=True))))
  words, sentences = collections.Counter(), []
  for text in texts:
    for line in filter(None, phrase.split(text)):
      sentences.append(line)
      words.update(
        f"{SPACE if space else ''}{word}" for space, word in re.findall(r"( ?)([^ ]+)", line)
      )
  characters = "".join(sorted(set(string.printable[:94]) | set("".join(words)) - {SPACE}))
  if max_pieces < len(characters) + 1:
    raise ValueError(
      f"vocab_size is {len(characters) + 1 - max_pieces} tokens too small for the "
      f"{len(characters) + 1} characters beside control tokens and phrases"
    )
  out = io.BytesIO()
  with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as seeds:
    seeds.writelines(f"{piece}\t{count}\n" for piece, count in _seeds(words))
    seeds.flush()
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(sentences),
      model_writer=out,
      model_type="unigram",
      vocab_size=max_pieces + 1,
      hard_vocab_limit=False,
      seed_sentencepieces_file=seeds.name,
      normalization_rule_name="identity",
      add_dummy_prefix=False,
      remove_extra_whitespaces=False,
      split_digits=True,
      character_coverage=1.0,
      required_chars=characters,
      unk_id=0,
      bos_id=-1,
      eos_id=-1,
      pad_id=-1,
      num_threads=1,
      minloglevel=2,
    )
  model = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
  return [
    (model.id_to_piece(i).replace(SPACE, " "), model.get_score(i))
    for i in range(1, model.vocab_size())
  ]


def _seeds(words: Mapping[str, int]) -> list[tuple[str, int]]:
  """Substrings and their frequencies, those that cover most characters first.

  By default SentencePiece counts substrings in the list of distinct words, so that it never
  considers a word that is part of no other: in a small world, most words.
  """
  counts = collections.Counter()
  for word, count in words.items():
    for start in range(len(word)):
      for end in range(start + 2, min(len(word), start + LONGEST) + 1):
        counts[word[start:end]] += count
  return sorted(counts.items(), key=lambda item: (-item[1] * len(item[0]), item[0]))


def _write(path: pathlib.Path, values: Mapping[str, object]) -> None:
  files.write_atomic(path, json.dumps(values, indent=2) + "\n")
