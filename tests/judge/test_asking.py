"""What the stages build on: judgements with their completions and probabilities."""

import dataclasses
import types

import numpy as np
import pytest
import tokenizers

import cot_rm
from cot_rm import prompts
from cot_rm.candidates import Candidates
from cot_rm.data import packing
from cot_rm.judge import asking
from cot_rm.sampler import text_stops
from cot_rm.sampler.sampling import Sampling
from cot_rm.schema import BadExample, Completion, Media, Verdict
from cot_rm.toy_world import world

BUCKETS = packing.Buckets(tokens=(64, 128, 1024), patches=(72, 144), answers=(1024,))
SAMPLING = Sampling(temperature=1.0, max_tokens=8)


@pytest.fixture(scope="module")
def judge(tiny_folder):
  return cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4)


def test_the_probability_is_that_of_the_verdicts_digit(judge):
  text = "<think>\nx\n</think>\n<answer>Image 2 is better</answer>"
  tokens = np.array(judge.processor.encode(text), np.int32)
  at = text_stops.token_at(judge.processor.decode, tokens, text.index("2"))
  assert judge.processor.decode(tokens[at : at + 1]) == "2"
  label_logps = np.full((len(tokens), 2), -50.0)
  label_logps[at] = np.log([0.2, 0.6])
  done = Completion(text, tokens, None, "stop", label_logps)
  span = (text.index("2"), text.index("2") + 1)
  verdict = judge._with_probabilities(done, Verdict(2, span=span))
  assert verdict.probability == pytest.approx(0.75)
  assert judge._with_probabilities(done, Verdict(1, span=span)).probability == pytest.approx(0.25)
  assert verdict.label_mass == pytest.approx(0.8) and verdict.label_top is None
  for likeliest, is_label in ((0.6, True), (0.7, False)):
    seen = dataclasses.replace(done, top_logps=np.full(len(tokens), np.log(likeliest)))
    assert judge._with_probabilities(seen, verdict).label_top is is_label


TASKS = ("image_generation", "image_understanding", "video_understanding", "video_generation")


@pytest.fixture(scope="module")
def pairs():
  found = {pair.task: pair for pair in world.examples(world.World(), "check", count=60)}
  return [found[task] for task in TASKS]


@pytest.mark.parametrize("grammar", ["brief", "r1_reward"])
def test_a_direct_read_is_the_probability_of_the_digit_after_the_opening(judge, pairs, grammar):
  """Against the log-probabilities of whole answers, which are computed without the sampler."""
  words = prompts.get(grammar)
  pairs = [pair for pair in pairs if grammar == "brief" or not pair.generation][:3]
  judged = judge.judge(pairs, grammar=grammar, n=1, sampling=SAMPLING, seed=0, read="direct")
  for pair, one in zip(pairs, judged, strict=True):
    (completion,), (verdict,) = one.completions, one.verdicts
    opening = prompts.opening(words, pair.task)
    count = len(judge.processor.encode(opening))
    chat = words.render(pair)
    first, second = (judge.logps(chat, opening + digit)[count] for digit in "12")
    assert completion.label_logps[0] == pytest.approx([first, second], abs=1e-4)
    assert verdict.answer == (1 if first >= second else 2)
    assert verdict.probability == pytest.approx(1 / (1 + np.exp(-abs(first - second))), abs=1e-5)
    assert verdict.label_mass == pytest.approx(np.exp(first) + np.exp(second), abs=1e-5)
    assert completion.text == words.unreasoned(pair.task, verdict.answer)
    assert len(completion.tokens) == 1 and completion.finish == "stop"
    assert len(one.prompt.tokens) == len(judge.encode(pair, grammar=grammar).tokens) + count


def test_a_direct_read_of_both_orders_is_compared_scored_and_ranked(judge, pairs):
  how = dict(grammar="brief", read="direct")
  first, second = (
    judge.judge([one], n=1, sampling=SAMPLING, seed=0, **how)[0].verdicts[0]
    for one in (pairs[0], pairs[0].swapped())
  )
  odds = [np.log(v.probability / (1 - v.probability)) for v in (first, second)]
  signed = odds[0] * (1 if first.answer == 1 else -1), odds[1] * (1 if second.answer == 2 else -1)
  score = judge.score(pairs[0], **how)
  assert score.log_odds == pytest.approx(np.mean(signed), abs=1e-4)
  assert (score.readable, score.asked) == (2, 2)
  verdict = judge.compare(pairs[0], **how)
  assert sum(verdict.votes) == 2 and verdict.votes.unparsable == 0
  three = Candidates.images("a red star", [m.source for m in pairs[0].media] * 2)
  ranked = judge.rank(three, **how)
  assert ranked.unreadable == 0 and len(ranked.strengths) == 4


def test_an_example_that_cannot_be_read_leaves_the_others_their_direct_reads(judge, pairs):
  broken = dataclasses.replace(pairs[0], media=(pairs[0].media[0], Media("image", b"no picture")))
  found = judge.judge_usable(
    [broken, pairs[0]], grammar="brief", n=1, sampling=SAMPLING, seed=0, read="direct"
  )
  assert isinstance(found[0], BadExample) and found[1].verdicts[0].answer in (1, 2)


def test_what_a_direct_read_cannot_be_is_refused(judge, pairs, monkeypatch):
  how = dict(grammar="brief", sampling=SAMPLING, seed=0)
  with pytest.raises(ValueError, match="3 votes of a direct read would all be the same"):
    judge.judge(pairs[:1], n=3, read="direct", **how)
  with pytest.raises(ValueError, match="read.*'drect'.*direct"):
    judge.judge(pairs[:1], n=1, read="drect", **how)
  monkeypatch.setattr(judge.processor, "answer_prefix", "<reason>\n")
  with pytest.raises(ValueError, match="opens an answer with '<think>.*chat template.*'<reason>'"):
    judge.judge(pairs[:1], n=1, read="direct", **how)
  monkeypatch.undo()
  one = lambda text, **_: [7] if text.endswith("1") else [8, 9]  # "Image 1" is one token
  monkeypatch.setattr(judge.processor, "encode_answer", one)
  with pytest.raises(ValueError, match="needs '1' to be one token after '<think>"):
    judge.judge(pairs[:1], n=1, read="direct", **how)


def test_a_beginning_of_the_answer_that_the_chat_template_writes_is_not_written_again(
  judge, monkeypatch
):
  grammar = prompts.get("think")
  whole = asking.opening_tokens(judge.processor, grammar, "image_generation")
  monkeypatch.setattr(judge.processor, "answer_prefix", "<think>\n")
  rest = asking.opening_tokens(judge.processor, grammar, "image_generation")
  assert judge.processor.decode(whole) == "<think>\n</think>\n<answer>Image "
  assert judge.processor.decode(rest) == "</think>\n<answer>Image "


# Of the tokenizer.json of Qwen2.5-VL: how a text is split before bytes are merged.
QWEN = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize("name", prompts.PROMPTS)
def test_with_qwens_splits_the_digit_is_a_token_of_its_own_after_every_opening(name):
  splits = tokenizers.pre_tokenizers
  bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
  byte_level = splits.ByteLevel(add_prefix_space=False, use_regex=False)
  bpe.pre_tokenizer = splits.Sequence(
    [splits.Split(tokenizers.Regex(QWEN), "isolated"), byte_level]
  )
  grammar = prompts.get(name)
  answers = [grammar.unreasoned(task, choice) for task in TASKS for choice in (1, 2)]
  # Merges as greedy as they can be: every split of these answers becomes one token.
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=1000, initial_alphabet=splits.ByteLevel.alphabet(), show_progress=False
  )
  bpe.train_from_iterator(answers * 20, trainer)
  encode = lambda text: bpe.encode(text).ids
  processor = types.SimpleNamespace(answer_prefix="", encode=encode, encode_answer=encode)
  for task in TASKS:
    tokens = asking.opening_tokens(processor, grammar, task)
    assert tokens == encode(prompts.opening(grammar, task))
