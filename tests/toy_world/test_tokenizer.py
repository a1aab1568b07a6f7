"""The trained tokenizer: nothing is lost, and it cuts as SentencePiece cuts."""

import json
import random
import re

import pytest
import sentencepiece
import transformers

from cot_rm.toy_world import tokenizer as toy_tokenizer

PHRASES = (
  "<think>\n",
  "</think>\n<answer>",
  "</answer>",
  "Total: Image ",
  " is better",
  "red cube",
)


def corpus(count=300, seed=0):
  draw = random.Random(seed)
  for _ in range(count):
    colour = draw.choice(["red", "blue", "green", "yellow"])
    shape = draw.choice(["star", "circle", "square"])
    yield (
      f"Caption: {draw.randint(1, 30)} {colour} {shape}\n<think>\n1. Meaning: Image 1 - "
      f"{colour} {shape} correct ({draw.randint(0, 10)}/10)\nTotal: Image 1: 9</think>\n"
      f"<answer>Image {draw.randint(1, 2)} is better</answer>"
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokenizer")
  ids = toy_tokenizer.train(corpus(), folder, vocab_size=256, phrases=PHRASES)
  return folder, ids, transformers.AutoTokenizer.from_pretrained(str(folder))


def pieces(tokenizer, text):
  return tokenizer.convert_ids_to_tokens(tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize(
  "text",
  [
    *corpus(20, seed=1),
    "",
    " ",
    "  two  spaces  ",
    "\n\n a\n",
    "12 345\n6",
    "<0x0A>",
    " !\"#$%&'()*+,-./0123456789:;<=>?@",
    "ABCXYZ[\\]^_`abcxyz{|}~",
    "A zebra, unseen before",
    "Image 1 is better is better<think>\n</think>",
  ],
)
def test_text_comes_back_whole(trained, text):
  _, _, tokenizer = trained
  ids = tokenizer.encode(text, add_special_tokens=False)
  assert tokenizer.decode(ids) == text
  assert tokenizer.unk_token_id not in ids


def test_a_phrase_is_one_token(trained):
  _, _, tokenizer = trained
  for phrase in PHRASES:
    assert pieces(tokenizer, phrase) == [phrase]
  assert "red cube" in pieces(tokenizer, "a red cube")
  assert pieces(tokenizer, "9</think>\n<answer>Image") == ["9", "</think>\n<answer>", "Image"]


def test_a_digit_and_a_newline_are_tokens_of_their_own(trained):
  _, _, tokenizer = trained
  assert pieces(tokenizer, "1207") == ["1", "2", "0", "7"]
  for digit in "0123456789":
    assert pieces(tokenizer, f" {digit}")[-1] == digit
  assert pieces(tokenizer, "\n\n") == ["\n", "\n"]
  assert not [
    token
    for token in tokenizer.get_vocab()
    if len(token) > 1 and re.search(r"\d", token) and token not in PHRASES
  ]


def test_whole_words_are_learnt(trained):
  _, _, tokenizer = trained
  assert pieces(tokenizer, "a yellow star correct") == ["a", " yellow", " star", " correct"]


def test_it_cuts_as_sentencepiece_does(trained):
  folder, _, tokenizer = trained
  model = json.loads((folder / "tokenizer.json").read_text())["model"]
  # SentencePiece's own format of the same pieces and scores, read by SentencePiece itself.
  proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto()
  fixed = len(toy_tokenizer.CONTROL) + 1
  for i, (piece, score) in enumerate(model["vocab"][fixed - 1 :]):
    kind = 2 if i == 0 else 1
    if piece not in (*PHRASES, "\n"):
      proto.pieces.add(piece=piece.replace(" ", "\u2581"), score=score, type=kind)
  proto.trainer_spec.model_type = 1
  proto.normalizer_spec.add_dummy_prefix = False
  proto.normalizer_spec.remove_extra_whitespaces = False
  proto.normalizer_spec.name = "identity"
  theirs = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
  cut = re.compile(
    "(" + "|".join(map(re.escape, sorted((*PHRASES, "\n"), key=len, reverse=True))) + ")"
  )
  for text in (*corpus(50, seed=2), "  unseen   words, 12 of them", "correctly starred circles"):
    want = []
    for chunk in cut.split(text):
      want += [chunk] if cut.fullmatch(chunk) else theirs.encode(chunk, out_type=str)
    assert pieces(tokenizer, text) == [piece.replace("\u2581", " ") for piece in want]


def test_the_table_is_no_longer_than_asked(trained):
  folder, ids, _ = trained
  model = json.loads((folder / "tokenizer.json").read_text())["model"]
  assert len(model["vocab"]) == ids["vocab_size"] <= 256
  assert model["vocab"][model["unk_id"]][0] == toy_tokenizer.UNKNOWN


def test_training_is_deterministic(trained, tmp_path):
  folder, ids, _ = trained
  again = toy_tokenizer.train(corpus(), tmp_path, vocab_size=256, phrases=PHRASES)
  assert again == ids
  for file in folder.iterdir():
    assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_control_tokens_have_the_ids_it_returns(trained):
  _, ids, tokenizer = trained
  assert ids["vocab_size"] == len(tokenizer)
  for token in ("image_pad", "video_pad"):
    assert tokenizer.convert_tokens_to_ids(f"<|{token}|>") == ids[f"{token[:5]}_token_id"]
  for token in ("vision_start", "vision_end"):
    assert tokenizer.convert_tokens_to_ids(f"<|{token}|>") == ids[f"{token}_token_id"]
  assert tokenizer.eos_token == "<|im_end|>"
  assert tokenizer.decode([*range(len(toy_tokenizer.CONTROL))], skip_special_tokens=True) == ""


def test_the_template_is_chatml_without_a_system_turn(trained):
  _, _, tokenizer = trained
  messages = [
    {
      "role": "user",
      "content": [
        {"type": "image"},
        {"type": "text", "text": " a\n"},
        {"type": "video"},
        {"type": "image_url"},
      ],
    },
    {"role": "assistant", "content": "b"},
  ]
  text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
  picture = "<|vision_start|><|{}_pad|><|vision_end|>".format
  assert text == (
    f"<|im_start|>user\n{picture('image')} a\n{picture('video')}{picture('image')}<|im_end|>\n"
    "<|im_start|>assistant\nb<|im_end|>\n<|im_start|>assistant\n"
  )
  bare = tokenizer.apply_chat_template(messages[1:], tokenize=False, add_generation_prompt=False)
  assert bare == "<|im_start|>assistant\nb<|im_end|>\n"


def test_characters_of_the_texts_are_covered(tmp_path):
  toy_tokenizer.train(["naïve ☂ x" for _ in range(3)], tmp_path, vocab_size=200)
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
  assert tokenizer.decode(tokenizer.encode("☂ï", add_special_tokens=False)) == "☂ï"


def test_a_table_too_small_says_by_how_much(tmp_path):
  with pytest.raises(ValueError, match="tokens too small for the 95 characters"):
    toy_tokenizer.train(["a b"], tmp_path, vocab_size=64)


def test_an_empty_phrase_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="a phrase is empty"):
    toy_tokenizer.train(["a"], tmp_path, vocab_size=200, phrases=[""])
