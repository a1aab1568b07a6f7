import pytest

from cot_rm import files
from cot_rm.data import array_record, import_checks, import_seen


def test_validation_pairs_are_a_share_or_a_number_of_whole_groups():
  def drawn(val, groups, seed=0):
    validation = import_seen.Validation(val, total=len(groups), seed=seed)
    return [validation(group) for group in groups]

  each = list(range(1000))
  assert sum(drawn(0.02, each)) == 20
  assert sum(drawn(64, each)) == pytest.approx(64, abs=3)
  assert sum(drawn(0, each)) == 0
  assert sum(drawn(0.02, list(range(5)))) == 1  # a small set has one, too
  assert drawn(0.1, each) == drawn(0.1, each) != drawn(0.1, each, seed=1)
  pairs = [group // 2 for group in each]
  found = drawn(0.1, pairs)
  assert found[::2] == found[1::2] and 0.05 < sum(found) / 1000 < 0.15
  with pytest.raises(ValueError, match="val is 1000; it must be"):
    import_seen.Validation(1000, total=1000, seed=0)


def _taken(id, content="", group="a"):
  mark = files.digest(id.encode(), content.encode())
  return import_checks.Taken(id, files.digest(group.encode()), array_record.Stored(mark, b""))


def test_what_has_been_seen_is_known_again_from_the_file(tmp_path):
  path = tmp_path / "seen.bin"
  make = lambda count: import_seen.Seen(path, count, import_seen.Validation(0.5, total=100, seed=0))
  first = make(0)
  groups = [str(i % 7) for i in range(10)]
  chosen = [first.add(_taken(str(i), group=groups[i])) for i in range(10)]
  assert first.has_id("3") and first.has_example(_taken("3").stored)
  assert first.has_id("3") and not first.has_example(_taken("3", "other").stored)
  assert not first.has_id("10")
  first.save()
  first.add(_taken("10"))
  first.save()  # and killed before the commit that would have counted it
  again = make(10)
  assert again.has_id("9") and not again.has_id("10")
  assert [again.add(_taken(f"new {i}", group=groups[i])) for i in range(10)] == chosen
  with pytest.raises(ValueError, match="is damaged"):
    make(11)


def test_a_free_id_is_one_that_no_example_has(tmp_path):
  seen = import_seen.Seen(tmp_path / "seen.bin", 0, import_seen.Validation(0, total=9, seed=0))
  for id in ("a", "a#2"):
    seen.add(_taken(id))
  assert [seen.free_id("a"), seen.free_id("a")] == ["a#3", "a#4"]
