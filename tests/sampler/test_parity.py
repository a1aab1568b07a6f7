"""What the judge says, token for token, against transformers' torch model with the same weights.

The torch side gets its prompt from transformers alone: template, picture processor, positions.
"""

import dataclasses

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl

import cot_rm
from cot_rm import sharding
from cot_rm.data import packing
from cot_rm.schema import Verdict
from cot_rm.toy_world import tokenizer as toy_tokenizer
from tests.models.qwen2_5_vl import oracle

TEXTS = ["Which answer is better? Describe the picture first. 12 red stars, user assistant system"]
TOKENS = 64
# Weights whose greedy answers do not end within the 64 tokens; the two likeliest allowed tokens are
# nowhere nearer than 5e-4, a hundred times what the two sides differ by.
SEED = 3


def picture(height, width, seed):
  """Noise in squares of 7 pixels: resizing changes it, and no two look alike."""
  small = np.random.default_rng(seed).integers(0, 256, (height // 7 + 1, width // 7 + 1, 3))
  return Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.NEAREST)


PICTURES = [picture(70, 111, 1), picture(140, 60, 2), picture(91, 93, 3)]
FRAMES = np.stack([np.asarray(picture(84, 112, seed)) for seed in range(4, 10)])
FPS = 1.5
CHATS = {
  "text": ["Describe 12 stars"],
  "one picture": [PICTURES[0], "Which is better?"],
  "three pictures": [PICTURES[0], "user", PICTURES[1], PICTURES[2], "Which is better?"],
  "video": ["first", FRAMES, "Which answer is better?"],
}


def parts(chat):
  """Content parts as a client of the judge writes them."""
  for part in chat:
    if isinstance(part, str):
      yield {"type": "text", "text": part}
    elif isinstance(part, Image.Image):
      yield {"type": "image", "image": part}
    else:
      yield {"type": "video", "video": part, "fps": FPS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("checkpoint")
  ids = toy_tokenizer.train(TEXTS * 3, folder, vocab_size=160)
  model = oracle.make(dataclasses.replace(oracle.CONFIG, **ids), seed=SEED)
  model.save_pretrained(folder)
  return folder


@pytest.fixture(scope="module")
def judge(folder):
  return cot_rm.load(
    folder,
    buckets=packing.Buckets(tokens=(256,), patches=(320,), answers=()),
    max_prompts=len(CHATS),
    mrope="hf5",
    fps=FPS,  # positions as this transformers counts them
  )


@pytest.fixture(scope="module")
def theirs(folder):
  """(torch model, tokenizer)."""
  model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
    folder, attn_implementation="eager", dtype=torch.float32
  )
  return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def messages(chat):
  return [{"role": "user", "content": list(parts(chat))}]


def inputs(chat, theirs):
  """What torch's model takes, made by transformers from a chat."""
  model, tokenizer = theirs
  see = image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
    min_pixels=toy_tokenizer.PREPROCESSOR["min_pixels"],
    max_pixels=toy_tokenizer.PREPROCESSOR["max_pixels"],
  )
  out, spelt = {}, ""
  for part in chat:
    if isinstance(part, str):
      spelt += part
      continue
    still = isinstance(part, Image.Image)
    pictures = [part] if still else [Image.fromarray(frame) for frame in part]
    seen = [see(images=[one], return_tensors="np") for one in pictures]
    pixels, grid = seen[0]["pixel_values"], seen[0]["image_grid_thw"]
    if not still:  # a frame alone is doubled to a pair; here two frames make one
      halves = [one["pixel_values"].reshape(-1, 3, 2, 14 * 14)[:, :, 0] for one in seen]
      pairs = [np.stack(halves[i : i + 2], axis=2) for i in range(0, len(halves), 2)]
      pixels = np.concatenate(pairs).reshape(-1, pixels.shape[1])
      grid = np.array([[len(pairs), *grid[0, 1:]]])
      out["second_per_grid_ts"] = [torch.tensor([2 / FPS])]
    names = (
      ("pixel_values", "image_grid_thw") if still else ("pixel_values_videos", "video_grid_thw")
    )
    for name, value in zip(names, (pixels, grid), strict=True):
      out.setdefault(name, []).append(torch.tensor(value))
    pad = "<|image_pad|>" if still else "<|video_pad|>"
    spelt += f"<|vision_start|>{pad * (int(grid.prod()) // 4)}<|vision_end|>"
  out = {name: torch.cat(values) for name, values in out.items()}
  prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": spelt}], tokenize=False, add_generation_prompt=True
  )
  out["input_ids"] = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
  return extended(out, [], model)


def extended(out, tokens, model):
  """The inputs with an answer behind them."""
  ids = torch.cat([out["input_ids"], torch.tensor([tokens], dtype=torch.long)], dim=1)
  kinds = (ids == model.config.image_token_id) + 2 * (ids == model.config.video_token_id)
  return out | {
    "input_ids": ids,
    "attention_mask": torch.ones_like(ids),
    "mm_token_type_ids": kinds.long(),
  }


def their_logps(chat, tokens, theirs):
  """f32[T, V] of torch: log-probabilities at the places of `tokens` as the answer to a chat."""
  model, _ = theirs
  with torch.no_grad():
    logits = model(**extended(inputs(chat, theirs), list(tokens), model)).logits[0]
  return torch.log_softmax(logits[-len(tokens) - 1 : -1].float(), -1).numpy()


@pytest.fixture(scope="module")
def greedy(judge):
  out = judge.complete([messages(chat) for chat in CHATS.values()], max_tokens=TOKENS)
  return {name: group[0] for name, group in zip(CHATS, out, strict=True)}


@pytest.mark.parametrize(
  "name",
  ["text", "one picture", *(pytest.param(n, marks=pytest.mark.slow) for n in list(CHATS)[2:])],
)
def test_greedy_text_is_torchs_token_for_token(name, greedy, judge, theirs):
  model, tokenizer = theirs
  given = inputs(CHATS[name], theirs)
  with torch.no_grad():
    out = model.generate(
      **given,
      do_sample=False,
      max_new_tokens=TOKENS,
      suppress_tokens=list(judge.processor.banned_ids),
      eos_token_id=list(judge.processor.stop_ids),
      pad_token_id=0,
    )
  wanted = out[0, given["input_ids"].shape[1] :].tolist()
  assert len(wanted) == TOKENS and greedy[name].finish == "length"
  assert greedy[name].tokens.tolist() == wanted
  assert greedy[name].text == tokenizer.decode(wanted, skip_special_tokens=True)


@pytest.mark.parametrize("name", ["one picture"])
def test_greedy_text_with_a_repetition_penalty_is_torchs(name, greedy, judge, theirs):
  """Over prompt and answer, pictures included, as `generate` does."""
  model, _ = theirs
  given = inputs(CHATS[name], theirs)
  with torch.no_grad():
    out = model.generate(
      **given,
      do_sample=False,
      max_new_tokens=24,
      repetition_penalty=1.3,
      suppress_tokens=list(judge.processor.banned_ids),
      eos_token_id=list(judge.processor.stop_ids),
      pad_token_id=0,
    )
  chats = [messages(chat) for chat in CHATS.values()]
  ours = judge.complete(chats, max_tokens=24, repetition_penalty=1.3)[list(CHATS).index(name)][0]
  assert ours.tokens.tolist() == out[0, given["input_ids"].shape[1] :].tolist()
  assert ours.tokens.tolist() != greedy[name].tokens[:24].tolist()
  full = their_logps(CHATS[name], ours.tokens, theirs)
  np.testing.assert_allclose(
    ours.logps, full[np.arange(len(ours.tokens)), ours.tokens], rtol=0, atol=1e-4
  )


@pytest.mark.parametrize("name", CHATS)
def test_log_probabilities_of_samples_are_torchs(name, judge, theirs):
  chats = [messages(chat) for chat in CHATS.values()]
  group = judge.complete(chats, n=2, temperature=1.3, max_tokens=12)[list(CHATS).index(name)]
  for done in group:
    full = their_logps(CHATS[name], done.tokens, theirs)
    np.testing.assert_allclose(
      done.logps, full[np.arange(len(done.tokens)), done.tokens], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(done.label_logps, full[:, list(judge.label_ids)], rtol=0, atol=1e-4)
    np.testing.assert_allclose(done.top_logps, full.max(-1), rtol=0, atol=1e-4)
  assert group[0].tokens.tolist() != group[1].tokens.tolist()


@pytest.mark.parametrize("name", CHATS)
def test_the_log_probability_of_a_given_text_is_torchs(name, judge, theirs):
  text = "Image 2 is better"
  tokens = judge.processor.encode(text)
  full = their_logps(CHATS[name], tokens, theirs)
  found = judge.logps(messages(CHATS[name]), text)
  np.testing.assert_allclose(found, full[np.arange(len(tokens)), tokens], rtol=0, atol=1e-4)


def test_the_probability_of_a_verdict_is_torchs(greedy, judge, theirs):
  one, two = judge.label_ids
  for name, done in greedy.items():
    # These weights write no verdict: any token may stand for its digit.
    length = lambda t, done=done: len(judge.processor.decode(done.tokens[:t]))
    t = next(
      t for t in range(9, len(done.tokens)) if length(t + 1) > length(t)
    )  # not a control token
    place = length(t)
    full = their_logps(CHATS[name], done.tokens[: t + 1], theirs)[t]
    wanted = np.exp(full[one]) / (np.exp(full[one]) + np.exp(full[two]))
    for answer, p in ((1, wanted), (2, 1 - wanted)):
      verdict = Verdict(answer, span=(place, place + 1))
      found = judge._with_probabilities(done, verdict)
      assert found.probability == pytest.approx(p, abs=1e-4)
      assert found.label_mass == pytest.approx(np.exp(full[one]) + np.exp(full[two]), rel=1e-3)
      assert found.label_top == (full.argmax() in (one, two))


# The time of this video, 27 steps a frame pair, runs far past the text behind it.
LONG_VIDEO = {"type": "video", "video": np.tile(FRAMES, (3, 1, 1, 1)), "fps": 0.15}
LONG_CHAT = [
  {"role": "user", "content": [LONG_VIDEO, {"type": "text", "text": "Which is better?"}]}
]


@pytest.mark.parametrize("mode", ["hf4_49", "hf4", "hf5"])
def test_behind_a_long_video_the_sampler_is_the_trainer(mode, folder):
  judge = cot_rm.load(
    folder,
    buckets=packing.Buckets(tokens=(256,), patches=(512,), answers=()),
    max_prompts=1,
    mrope=mode,
    fps=0.15,
  )
  [[done]] = judge.complete([LONG_CHAT], max_tokens=8)
  prompt = judge.processor(LONG_CHAT, id="long")
  assert prompt.positions[:, 0].max() > 200
  batch = packing.pack([[packing.Item(prompt, done.tokens)]], judge.buckets, rows=1)
  with sharding.use(judge.mesh, judge.rules):
    logps_BT = np.asarray(judge._logps(judge.params, batch))
  first = len(prompt.tokens)
  np.testing.assert_allclose(
    done.logps, logps_BT[0, first : first + len(done.tokens)], rtol=0, atol=1e-4
  )


def test_behind_a_long_video_an_answer_is_torchs(folder, theirs):
  model, _ = theirs
  judge = cot_rm.load(
    folder,
    buckets=packing.Buckets(tokens=(256,), patches=(512,), answers=()),
    max_prompts=1,
    mrope="hf5",
    fps=0.15,
  )
  prompt = judge.processor(LONG_CHAT, id="long")
  tokens = judge.processor.encode("Image 2 is better")
  given = inputs([LONG_VIDEO["video"], "Which is better?"], theirs)
  given["second_per_grid_ts"] = torch.tensor([2 / 0.15])
  assert given["input_ids"][0].tolist() == prompt.tokens.tolist()
  with torch.no_grad():
    logits = model(**extended(given, tokens, model)).logits[0]
  full = torch.log_softmax(logits[-len(tokens) - 1 : -1].float(), -1).numpy()
  found = judge.logps(LONG_CHAT, "Image 2 is better")
  np.testing.assert_allclose(found, full[np.arange(len(tokens)), tokens], rtol=0, atol=1e-4)
