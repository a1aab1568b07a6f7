"""Completions, log-probabilities, and the weights and devices of a policy."""

import base64
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import cot_rm
from configs import base
from cot_rm import sharding
from cot_rm.checkpoints import model_folder
from cot_rm.data import packing
from cot_rm.models import logprobs, qwen2_5_vl
from cot_rm.sampler.limits import Limits
from cot_rm.schema import Completion
from cot_rm.toy_world import tokenizer

BUCKETS = packing.Buckets(tokens=(64, 128), patches=(72, 144), answers=())


@pytest.fixture(scope="module")
def judge(tiny_folder):
  return cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4)


def picture(colour, size=(84, 84)):
  return Image.new("RGB", size, colour)


def chat(text, *pictures):
  return [
    {
      "role": "user",
      "content": [
        *({"type": "image", "image": p} for p in pictures),
        {"type": "text", "text": text},
      ],
    }
  ]


def test_log_probabilities_are_of_the_answer_and_see_the_picture(judge):
  text = "<think>\nImage 1 shows red star"
  red, blue = (judge.logps(chat("Caption: a red star", picture(c)), text) for c in ("red", "blue"))
  assert red.dtype == np.float32 and len(red) == len(judge.processor.encode(text))
  assert (red < 0).all() and np.abs(red - blue).max() > 1e-4


def test_matrix_products_may_have_a_smaller_dtype_than_parameters(judge, tiny_folder):
  mixed = cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4, compute_dtype="bfloat16")
  assert {x.dtype for x in jax.tree.leaves(mixed.params)} == {np.dtype(np.float32)}
  ask, text = chat("Caption: a red star", picture("red")), "<think>\nImage 1 shows red star"
  off = np.abs(mixed.logps(ask, text) - judge.logps(ask, text)).max()
  assert 1e-5 < off < 0.1


def test_a_completion_has_the_log_probabilities_of_the_distribution_sampled_from(judge):
  ask = [chat("Caption: a red star", picture("red"))]
  (warm,) = judge.complete(ask, n=1, temperature=0.5, max_tokens=6)[0]
  assert (
    warm.sampling_logps.shape == warm.logps.shape
    and (warm.sampling_logps > warm.logps).mean() > 0.5
  )
  (greedy,) = judge.complete(ask, n=1, max_tokens=6)[0]
  assert not greedy.sampling_logps.any()  # it could be nothing else


def test_complete_agrees_with_logps(judge):
  ask = chat("Caption: a red star", picture("red"))
  compared = 0
  for done in judge.complete([ask], n=16, temperature=1.0, max_tokens=4, seed=3)[0]:
    assert isinstance(done, Completion) and done.finish in ("stop", "length")
    words = done.tokens if done.finish == "length" else done.tokens[:-1]
    if judge.processor.encode(done.text) == list(words):  # else the text has another segmentation
      np.testing.assert_allclose(judge.logps(ask, done.text), done.logps[: len(words)], atol=2e-5)
      compared += 1
  assert compared > 0


def test_an_answer_is_streamed_and_ends_at_its_stop_string(judge):
  ask, how = chat("Caption: a red star", picture("red")), dict(n=2, temperature=1.0, max_tokens=40)
  whole = judge.complete([ask], **how)[0]
  stop = whole[0].text[5:7]
  said = {}
  cut = judge.complete(
    [ask],
    **how,
    stop=(stop,),
    stream=lambda place, g, text: said.__setitem__(g, said.get(g, "") + text),
  )[0]
  for g, (a, b) in enumerate(zip(whole, cut, strict=True)):
    assert b.text == said.get(g, "") == a.text.partition(stop)[0]
    np.testing.assert_array_equal(b.tokens, a.tokens[: len(b.tokens)])
  assert cut[0].finish == "stop"


def test_a_cancelled_answer_says_so(judge):
  ask, how = chat("Caption: a red star", picture("red")), dict(n=2, temperature=1.0, max_tokens=40)
  done = judge.complete([ask], **how, cancelled=lambda place, g: g == 1)[0]
  assert done[1].finish == "cancelled" and len(done[1].tokens) < 40
  assert done[0].finish != "cancelled"


def test_a_seed_gives_the_same_answers_and_another_does_not(judge):
  ask = [chat("Caption: a red star", picture("red")), chat("Caption: two cats")]
  how = dict(n=3, temperature=1.0, max_tokens=10)
  a, b, c = (judge.complete(ask, seed=seed, **how) for seed in (1, 1, 2))
  texts = lambda out: [[one.text for one in group] for group in out]
  assert texts(a) == texts(b) != texts(c)
  assert [len(group) for group in a] == [3, 3]


def test_an_answer_does_not_depend_on_the_other_chats(judge):
  ask = [chat(f"Caption: {n} red star", picture("red")) for n in ("a", "no", "one", "two", "three")]
  together = judge.complete(ask, temperature=1.0, max_tokens=10)
  alone = [judge.complete([one], temperature=1.0, max_tokens=10)[0] for one in ask]
  assert [g[0].text for g in together] == [g[0].text for g in alone]


def test_openai_parts_are_taken(judge):
  out = io.BytesIO()
  picture("green").save(out, "PNG")
  url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
  parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Caption: a"}]
  theirs = judge.logps([{"role": "user", "content": parts}], "red star")
  np.testing.assert_array_equal(
    theirs, judge.logps(chat("Caption: a", picture("green")), "red star")
  )


def test_too_long_says_how_long_and_which_knob(judge):
  with pytest.raises(ValueError, match=r"'0': \d+ tokens > 128.*config.buckets.tokens"):
    judge.complete([chat("Caption: " + "a red star " * 60)])


def test_a_group_of_none_is_refused(judge):
  with pytest.raises(ValueError, match="n is 0"):
    judge.complete([chat("Caption: a")], n=0)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_a_judge_samples_with_smaller_weights_and_its_own_log_probabilities_stay(
  judge, tiny_folder, weights
):
  small = cot_rm.load(tiny_folder, buckets=BUCKETS, max_prompts=4, sampler=Limits(weights=weights))
  ask = chat("Caption: a red star", picture("red"))
  done = small.complete([ask], temperature=1.0, max_tokens=12)[0][0]
  np.testing.assert_array_equal(small.logps(ask, "red star"), judge.logps(ask, "red star"))
  prompt = small.processor(ask, id="")
  batch = packing.pack([[packing.Item(prompt, done.tokens)]], BUCKETS, rows=1)
  exact = np.asarray(small._logps(small.params, batch))[0, len(prompt.tokens) :]
  assert 0 < np.abs(exact[: len(done.tokens)] - done.logps).max() < 0.1


@pytest.mark.slow
def test_a_judge_spread_over_eight_devices_says_the_same(judge, tiny_folder):
  mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
  rules = {"batch": ("data", "fsdp"), "embed": "fsdp", "vocab": "tensor", "heads": "tensor"}
  spread = cot_rm.load(
    tiny_folder, buckets=BUCKETS, max_prompts=4, mesh=mesh, rules=rules | {"mlp": "tensor"}
  )
  weight = spread.params["layers"]["mlp"]["up_proj"]["weight"].get_value()
  assert len({str(shard.index) for shard in weight.addressable_shards}) == 4
  asked = [chat("Caption: a red star", picture("red")), chat("Caption: two cats")]
  ours, theirs = (one.complete(asked, max_tokens=10) for one in (judge, spread))
  others = cot_rm.load(
    tiny_folder,
    buckets=BUCKETS,
    max_prompts=4,
    mesh=mesh,
    rules=rules,
    sample_mesh=sharding.make_mesh({"data": 1, "fsdp": 2, "tensor": 4}),
    sample_rules={"batch": ("data", "fsdp"), "heads": "tensor", "mlp": "tensor"},
  )
  third = others.complete(asked, max_tokens=10)
  for (a,), *more in zip(ours, theirs, third, strict=True):
    for (b,) in more:
      assert a.text == b.text
      np.testing.assert_allclose(a.logps, b.logps, atol=2e-5)


def test_other_weights_use_the_same_programs(judge):
  other = judge.using(jax.tree.map(lambda x: 0 * x, judge.params))
  assert other.engine is judge.engine
  flat = other.logps(chat("Caption: a"), "red star")
  np.testing.assert_allclose(flat, -np.log(judge.opened.config.vocab_size), rtol=1e-5)


def test_one_chat_in_place_of_a_list_of_chats_is_refused(judge):
  with pytest.raises(TypeError, match="list of chats; found one chat"):
    judge.complete(chat("Caption: a"))


def damaged(judge):
  """A judge whose second layer overflows."""
  params = jax.tree.map(lambda x: x, judge.params)
  for name in ("up_proj", "down_proj"):
    weight = params["layers"]["mlp"][name]["weight"]
    weight[...] = weight[...].at[1].multiply(1e30)
  return judge.using(params)


def test_logits_that_are_not_finite_name_sample_token_and_layer(judge):
  """Not an answer of exclamation marks, and a parse failure."""
  ask = [chat("Caption: a red star", picture("red"))]
  where = "example '0', sample 0: the logits of token 0 .* not finite; .* output of layer 1 of the"
  with pytest.raises(FloatingPointError, match=where):
    damaged(judge).complete(ask, max_tokens=4)
  with pytest.raises(FloatingPointError, match="of the text are not finite: .* output of layer 1"):
    damaged(judge).logps(ask[0], "<think>")


def test_of_several_prompts_the_one_that_is_not_finite_is_looked_into(judge):
  params = jax.tree.map(lambda x: x, judge.params)
  for name in ("fc1", "fc2"):
    weight = params["visual"]["merger"][name]["weight"]
    weight[...] = 1e30 * weight[...]
  asked = [chat("Caption: a"), chat("Caption: a", picture("red"))]
  with pytest.raises(FloatingPointError, match="example '1', .* not are those of the pictures"):
    judge.using(params).complete(asked, max_tokens=4)


@pytest.fixture
def opens_with_think(tiny_folder, tmp_path):
  """A judge whose chat template begins the answer, and whose release recommends a penalty."""
  folder = shutil.copytree(tiny_folder, tmp_path / "model")
  file = folder / "tokenizer_config.json"
  values = json.loads(file.read_text())
  values["chat_template"] = values["chat_template"].replace(
    "assistant\n{%", "assistant\n<think>\n{%"
  )
  file.write_text(json.dumps(values))
  (folder / "generation_config.json").write_text(
    json.dumps({"repetition_penalty": 1.05, "temperature": 1e-6})
  )
  return cot_rm.load(folder, buckets=BUCKETS, max_prompts=4)


def test_the_answer_of_a_template_that_opens_think_is_read_with_it(opens_with_think):
  judge, streamed = opens_with_think, []
  ask = chat("Caption: a red star", picture("red"))
  stream = lambda *part: streamed.append(part[-1])
  (done,) = judge.complete([ask], max_tokens=3, stream=stream)[0]
  assert done.text == "<think>\n" + judge.processor.decode(done.tokens) == "".join(streamed)
  np.testing.assert_array_equal(judge.logps(ask, "<think>\nred"), judge.logps(ask, "red"))


def test_the_sampling_that_a_checkpoint_recommends_is_said_and_can_be_taken(
  opens_with_think, caplog
):
  judge, ask = opens_with_think, [chat("Caption: a red star", picture("red"))]
  with caplog.at_level("INFO"):
    for _ in range(2):
      plain = judge.complete(ask, max_tokens=6)[0][0]
    own = judge.complete(ask, max_tokens=6, repetition_penalty=None)[0][0]
  said = [line for line in caplog.messages if line.startswith("generation_config.json says")]
  assert said == [
    "generation_config.json says temperature 1e-06, repetition_penalty 1.05; "
    f"this run uses temperature 0.0, repetition_penalty {penalty}"
    for penalty in (1.0, 1.05)
  ]
  again = judge.complete(ask, max_tokens=6, repetition_penalty=1.05)[0][0]
  np.testing.assert_array_equal(own.tokens, again.tokens)
  assert len(plain.tokens) == 6


ODD = dict(
  vocab_size=151, hidden_size=40, num_heads=2, num_kv_heads=1, head_dim=20, mrope_section=(4, 3, 3)
)


@pytest.fixture(scope="module")
def odd_folder(tiny_folder, tmp_path_factory):
  """A model of which no axis but the batch's is a multiple of the devices."""
  folder = tmp_path_factory.mktemp("odd")
  tiny = qwen2_5_vl.PRESETS["tiny"]
  vision = dataclasses.replace(
    tiny.vision, hidden_size=60, intermediate_size=171, num_heads=3, out_hidden_size=40
  )
  config = dataclasses.replace(tiny, vision=vision, intermediate_size=107, **ODD)
  params = nnx.state(qwen2_5_vl.Model(config, rngs=nnx.Rngs(0)))
  texts = ["Caption: a red star, user assistant system"] * 3
  tokenizer.train(texts, tmp := tmp_path_factory.mktemp("tokenizer"), vocab_size=150)
  model_folder.save_model(folder, params, family="qwen2_5_vl", config=config, processor_files=tmp)
  return folder


@pytest.mark.parametrize(
  "shape",
  [pytest.param(dict(fsdp=1, tensor=8), marks=pytest.mark.slow), dict(fsdp=4, tensor=2)],
  ids=str,
)
def test_sizes_that_do_not_divide_by_the_devices_give_equal_numbers(odd_folder, shape):
  rules = base.get_config().mesh.train_rules.to_dict()
  ask = [chat("Caption: a red star", picture("red"))] * 8
  text, numbers = "a red star", []
  for mesh in (None, sharding.make_mesh(dict(data=1, **shape))):
    on = dict(mesh=mesh, rules=rules if mesh else None)
    judge = cot_rm.load(odd_folder, buckets=BUCKETS, max_prompts=8, **on)
    if mesh:
      weight = judge.params["visual"]["blocks"]["mlp"]["up_proj"]["weight"].get_value()
      assert weight.shape[1] == 171 and weight.sharding.shard_shape(weight.shape)[1] == 171
    done = judge.complete(ask, temperature=1.0, max_tokens=5)[0][0]
    prompt = judge.processor(ask[0], id="a")
    item = packing.Item(prompt, np.asarray(judge.processor.encode(text), np.int32))
    batch = packing.pack([[item]] * 8, BUCKETS, rows=8)

    def loss(params, batch, judge=judge):
      return logprobs.batch_logps(nnx.merge(judge.graphdef, params), batch, masked=True).sum()

    with sharding.use(judge.mesh, judge.rules):
      grads = jax.jit(jax.grad(loss))(judge.params, batch)
    numbers.append((judge.logps(ask[0], text), done.tokens, done.logps, jax.device_get(grads)))
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-4), *numbers)
