"""Order, packing, limits and resumption of the input pipelines."""

import itertools
import json

import numpy as np
import pytest

from cot_rm.batch import Encoded
from cot_rm.data import array_record, bad_examples, packing, pipeline
from cot_rm.schema import BadMedia
from cot_rm.toy_world import world

IDS = list(range(23))  # any sequence will do for a source


def as_is(example):
  return example


def _item(number):
  """An item of 4 + number % 5 tokens in all and 4 patches if its number is odd."""
  count = 2 + number % 5
  visual = np.full(count, -1, np.int32)
  visual[0] = 0 if number % 2 else -1
  prompt = Encoded(
    id=str(number),
    tokens=np.full(count, number, np.int32),
    positions=np.zeros((count, 3), np.int32),
    visual=visual,
    next_position=count,
    patches_per_token=4,
    patches=np.zeros((4 * (number % 2), 6), np.float32),
    hw=np.zeros((4 * (number % 2), 2), np.int32),
    windows=np.ones(4 * (number % 2), np.int32),
    frames=np.ones(4 * (number % 2), np.int32),
  )
  return packing.Item(prompt=prompt, answer=np.zeros(2, np.int32))


def _batches(source=tuple(IDS), **changes):
  settings = {"seed": 0, "rows": 3, "tokens": 12, "patches": 8} | changes
  return pipeline.packed_batches(source, _item, **settings)


def _ids(batch):
  return [[int(item.prompt.id) for item in row] for row in batch]


def test_an_epoch_has_every_example_once_in_another_order():
  lists = list(pipeline.prompt_batches(IDS, as_is, seed=0, batch=5, epochs=2))
  flat = list(itertools.chain(*lists))
  assert [len(one) for one in lists] == [5] * 9 + [1]
  assert sorted(flat[:23]) == sorted(flat[23:]) == IDS
  assert flat[:23] != flat[23:] and flat[:23] != IDS


def test_the_order_follows_from_the_seed():
  first, same, other = (
    list(pipeline.prompt_batches(IDS, as_is, seed=seed, batch=5, epochs=1)) for seed in (0, 0, 1)
  )
  assert first == same != other


def test_processes_get_disjoint_parts_of_equal_size():
  parts = [
    list(
      itertools.chain(
        *pipeline.prompt_batches(
          IDS, as_is, seed=0, batch=2, epochs=1, process_index=index, process_count=4
        )
      )
    )
    for index in range(4)
  ]
  assert [len(part) for part in parts] == [5] * 4
  assert len({*itertools.chain(*parts)}) == 20


def test_the_examples_left_out_differ_from_epoch_to_epoch():
  epochs = 12
  parts = [
    list(
      itertools.chain(
        *pipeline.prompt_batches(
          IDS, as_is, seed=0, batch=1, epochs=epochs, process_index=index, process_count=4
        )
      )
    )
    for index in range(4)
  ]
  assert {*itertools.chain(*parts)} == {*IDS}


def test_prompts_are_transformed():
  lists = list(pipeline.prompt_batches(IDS, lambda i: -i, seed=None, batch=20, epochs=1))
  assert lists == [[-i for i in IDS[:20]], [-i for i in IDS[20:]]]


def test_too_few_examples_for_the_processes_raise():
  with pytest.raises(ValueError, match="3 examples cannot be shared by 4 processes"):
    pipeline.prompt_batches(IDS[:3], as_is, seed=0, batch=1, process_count=4)


def assert_continues(make, taken):
  """Whether an iterator that got the state of one that gave `taken` elements goes on like it."""
  iterator = make()
  for _ in range(taken):
    next(iterator)
  state = json.loads(json.dumps(iterator.get_state()))
  expected = [next(iterator) for _ in range(9)]
  resumed = make()
  resumed.set_state(state)
  assert [next(resumed) for _ in range(9)] == expected


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_prompt_batches_continue_exactly_from_a_state(taken):
  make = lambda: pipeline.prompt_batches(
    IDS, as_is, seed=3, batch=4, process_index=1, process_count=2
  )
  assert_continues(make, taken)


def test_batches_hold_every_example_once_and_keep_the_limits():
  batches = list(_batches(epochs=1))
  assert sorted(itertools.chain(*itertools.chain(*map(_ids, batches)))) == IDS
  for batch in batches:
    assert 1 <= len(batch) <= 3
    for row in batch:
      assert row
      assert sum(len(item.prompt.tokens) + len(item.answer) for item in row) <= 12
      assert sum(len(item.prompt.patches) for item in row) <= 8


@pytest.mark.parametrize(
  "cache_bytes, least, most", [(1 << 20, 23, 23), (0, 46, 46), (250, 40, 45)]
)
def test_items_that_fit_into_memory_are_encoded_once(cache_bytes, least, most):
  encoded = []

  def encode(number):
    encoded.append(number)
    return _item(number)

  how = dict(seed=0, rows=3, tokens=12, patches=8, epochs=2, threads=1)
  batches = list(pipeline.packed_batches(IDS, encode, **how, cache_bytes=cache_bytes))
  assert least <= len(encoded) <= most
  uncached = list(_batches(epochs=2))
  assert list(map(_ids, batches)) == list(map(_ids, uncached))


def test_packing_is_first_fit():
  order = list(itertools.chain(*pipeline.prompt_batches(IDS, as_is, seed=0, batch=1, epochs=1)))
  expected, batch, used = [], [], []
  for number in order:
    tokens, patches = 4 + number % 5, 4 * (number % 2)
    for at, (had_tokens, had_patches) in enumerate(used):
      if had_tokens + tokens <= 12 and had_patches + patches <= 8:
        batch[at].append(number)
        used[at] = (had_tokens + tokens, had_patches + patches)
        break
    else:
      if len(batch) == 3:
        expected.append(batch)
        batch, used = [], []
      batch.append([number])
      used.append((tokens, patches))
  assert [_ids(batch) for batch in _batches(epochs=1)] == [*expected, batch]


@pytest.mark.parametrize("most", [1, 4, 5])
def test_a_batch_holds_at_most_max_items_and_their_order_is_unchanged(most):
  roomy = dict(epochs=2, rows=most)  # one fits into any row: so many find room
  batches = [_ids(batch) for batch in _batches(**roomy, max_items=most)]
  sizes = [sum(map(len, batch)) for batch in batches]
  assert sizes == [most] * (46 // most) + [46 % most] * (46 % most > 0)
  flat = lambda some: [sorted(itertools.chain(*batch)) for batch in some]
  due = list(itertools.chain(*pipeline.prompt_batches(IDS, as_is, seed=0, batch=1, epochs=2)))
  assert flat(batches) == [sorted(due[at : at + most]) for at in range(0, 46, most)]


def test_rows_that_are_full_end_a_batch_before_its_examples_do():
  whole, capped = (list(map(_ids, _batches(epochs=1, max_items=most))) for most in (0, 100))
  assert capped == whole


@pytest.mark.parametrize("examples", [0, 1, 4, 5])  # 5: at times rows end a batch
@pytest.mark.parametrize("taken", range(7))
def test_batches_go_on_without_losing_or_repeating_an_example(taken, examples):
  make = lambda: _batches(seed=5, epochs=3, max_items=examples)
  iterator = make()
  for _ in range(taken):
    next(iterator)
  state = json.loads(json.dumps(iterator.get_state()))
  expected = [_ids(batch) for batch in iterator]
  resumed = make()
  next(resumed)  # whatever it held before is forgotten
  resumed.set_state(state)
  assert [_ids(batch) for batch in resumed] == expected


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      {"tokens": 7},
      r"example '\d+': 8 tokens of prompt and answer > 7 in a row; raise "
      r"tokens",
    ),
    ({"patches": 3}, r"example '\d+': 4 patches > 3 in a row; raise patches"),
  ],
)
def test_an_example_longer_than_a_row_names_itself_and_the_knob(changes, message):
  with pytest.raises(ValueError, match=message):
    list(_batches(epochs=1, **changes))


def test_batches_are_what_packing_takes():
  batch = next(_batches())
  packed = packing.pack(batch, packing.Buckets(tokens=(12,), patches=(8,), answers=()), rows=3)
  assert packed.tokens.shape == (3, 12)
  assert {*np.unique(packed.tokens)} - {0} == {*itertools.chain(*_ids(batch))} - {0}


def test_a_stored_split_is_a_source(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(world.World(), "train", count=8)})
  lists = list(
    pipeline.prompt_batches(
      array_record.open(tmp_path / "set", "train"), as_is, seed=0, batch=4, epochs=1
    )
  )
  assert {one.id for one in itertools.chain(*lists)} == {
    f"shapes-train-0-{index}" for index in range(8)
  }


def _bad(*numbers):
  """A transform to which these numbers are bad examples."""

  def transform(number):
    if number in numbers:
      raise BadMedia(f"example '{number}': no picture")
    return number

  return transform


def _skips(tmp_path, limit=10):
  return bad_examples.Skips(tmp_path, limit=limit)


def test_bad_examples_are_left_out_of_lists_and_the_others_keep_their_order(tmp_path):
  settings = dict(seed=0, batch=4, epochs=2)
  every = itertools.chain(*pipeline.prompt_batches(IDS, as_is, **settings))
  skips = _skips(tmp_path)
  left = list(pipeline.prompt_batches(IDS, _bad(3, 17), **settings, skips=skips))
  assert list(itertools.chain(*left)) == [i for i in every if i not in (3, 17)]
  assert [len(one) for one in left] == [4] * 10 + [2]
  assert len(skips) == 2 and skips.kinds == {"media": 2}
  assert [json.loads(line)["id"] for line in skips.path.read_text().splitlines()]


def test_a_bad_example_is_counted_when_the_reader_gets_to_it_and_not_when_it_is_read_ahead(
  tmp_path,
):
  skips = _skips(tmp_path)
  data = pipeline.prompt_batches(IDS, _bad(22), seed=None, batch=4, skips=skips)
  for _ in range(5):
    next(data)
  assert len(skips) == 0
  assert next(data) == [20, 21, 0, 1] and len(skips) == 1


def test_lists_without_bad_examples_continue_from_a_state(tmp_path):
  make = lambda: pipeline.prompt_batches(
    IDS, _bad(3, 4, 5, 17), seed=0, batch=4, skips=_skips(tmp_path)
  )
  assert_continues(make, 7)


def test_a_state_of_an_older_version_which_counted_lists_continues_at_the_same_example():
  make = lambda: pipeline.prompt_batches(IDS, as_is, seed=0, batch=4)
  data = make()
  for _ in range(3):
    next(data)
  again = make()
  again.set_state({"next_index": 3})
  assert next(again) == next(data)


def test_one_bad_example_too_many_ends_the_run(tmp_path):
  data = pipeline.prompt_batches(IDS, _bad(3, 5), seed=0, batch=4, skips=_skips(tmp_path, limit=1))
  with pytest.raises(bad_examples.TooManyBad, match="config.data.max_bad=2"):
    for _ in range(6):
      next(data)


def test_without_skips_the_error_of_a_bad_example_is_raised():
  with pytest.raises(BadMedia, match="example '3'"):
    list(pipeline.prompt_batches(IDS, _bad(3), seed=0, batch=4, epochs=1))


def test_an_epoch_of_bad_examples_alone_ends_and_does_not_turn_for_ever(tmp_path):
  data = pipeline.prompt_batches(
    IDS, _bad(*IDS), seed=0, batch=4, skips=_skips(tmp_path, limit=100)
  )
  with pytest.raises(ValueError, match="none of 23 examples can be used"):
    next(data)


def test_rows_are_packed_without_bad_and_without_oversized_items_and_resume(tmp_path):
  def encode(number):
    if number == 11:
      raise BadMedia("example '11': no picture")
    return _item(number)

  def make():
    return pipeline.packed_batches(
      IDS, encode, seed=0, rows=3, tokens=7, patches=8, skips=_skips(tmp_path)
    )

  data = make()
  head = [next(data) for _ in range(4)]
  state = json.loads(json.dumps(data.get_state()))
  tail = [next(data) for _ in range(20)]
  seen = {i for batch in head + tail for row in _ids(batch) for i in row}
  too_long = {i for i in IDS if i % 5 == 4}  # of 8 tokens
  assert seen == set(IDS) - {11} - too_long
  again = make()
  again.set_state(state)
  assert [_ids(next(again)) for _ in range(20)] == [*map(_ids, tail)]


def test_each_process_leaves_out_the_bad_examples_of_its_own_part(tmp_path):
  parts = []
  for index in range(2):
    skips = bad_examples.Skips(tmp_path, limit=5, process_index=index)
    data = pipeline.prompt_batches(
      IDS,
      _bad(1, 2),
      seed=None,
      batch=3,
      epochs=1,
      process_index=index,
      process_count=2,
      skips=skips,
    )
    parts.append(list(itertools.chain(*data)))
    assert len(skips) == 1
  assert parts == [[*range(0, 22, 2)][:1] + [*range(4, 22, 2)], [*range(3, 22, 2)]]
