import dataclasses

import pytest
import tensorflow_datasets as tfds

from cot_rm.data import array_record, example_rows, identity
from cot_rm.toy_world import world
from tests.stored_examples import example, png

WORLD = world.World()


def test_what_is_written_is_read_back_whole(tmp_path):
  given = {split: list(world.examples(WORLD, split, count=40)) for split in ("train", "heldout")}
  assert array_record.write(tmp_path / "set", given) == {"train": 40, "heldout": 40}
  for split, examples in given.items():
    found = array_record.open(tmp_path / "set", split)
    assert len(found) == 40
    assert [found[at] for at in range(40)] == examples  # in the given order


def test_examples_are_read_in_any_order_and_again(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=9)})
  found = array_record.open(tmp_path / "set", "train")
  forwards = [found[at] for at in range(9)]
  assert [found[at] for at in reversed(range(9))] == forwards[::-1]
  assert list(found) == forwards


@pytest.mark.parametrize("source, kind", [("clip.mp4", "video"), (7, "image"), (7, "video")])
def test_media_that_cannot_be_stored_name_the_example(tmp_path, source, kind):
  with pytest.raises(ValueError, match="example 'bad-1'"):
    array_record.write(tmp_path / "set", {"some": [example("bad-1", source, kind)]})
  assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_split_are_bounded_and_read_as_one(tmp_path):
  given = list(world.examples(WORLD, "train", count=30))
  rows = [array_record.serialize(example) for example in given]
  size = sum(len(row.data) for row in rows)
  with array_record.Writer(tmp_path / "set", shard_bytes=size // 5) as writer:
    for row in rows:
      writer.add("train", row)
      if writer.full:
        writer.commit()
    writer.finish()
  files = sorted((tmp_path / "set").glob("*.array_record-*"))
  assert 4 <= len(files) <= 6
  assert list(array_record.open(tmp_path / "set", "train")) == given
  assert writer.sizes == {"train": (30, size)}


def test_a_writer_continues_behind_the_last_commit(tmp_path):
  given = list(world.examples(WORLD, "train", count=12))
  rows = [array_record.serialize(example) for example in given]
  with array_record.Writer(tmp_path / "set") as writer:
    for row in rows[:5]:
      writer.add("train", row)
    writer.commit({"next": 5})
    for row in rows[5:8]:  # lost: no commit follows
      writer.add("train", row)
  assert not (tmp_path / "set").exists()
  with array_record.Writer(tmp_path / "set") as writer:
    assert writer.state == {"next": 5}
    for row in rows[5:]:
      writer.add("train", row)
    writer.finish()
  assert list(array_record.open(tmp_path / "set", "train")) == given
  assert [path.name for path in tmp_path.iterdir()] == ["set"]
  array_record.write(tmp_path / "at once", {"train": given})
  continued, at_once = (array_record.open(tmp_path / name, "train") for name in ("set", "at once"))
  assert identity.source_hash(continued) == identity.source_hash(at_once)


def test_the_identity_of_a_split_is_that_of_its_examples_and_their_order(tmp_path):
  given = list(world.examples(WORLD, "train", count=3))
  other = [given[0], given[1], dataclasses.replace(given[2], gold=3 - given[2].gold)]
  again = [dataclasses.replace(e, media=e.media) for e in given]
  for name, examples in (("a", given), ("b", again), ("c", other), ("d", given[::-1])):
    array_record.write(tmp_path / name, {"train": examples})
  a, b, c, d = (identity.source_hash(array_record.open(tmp_path / n, "train")) for n in "abcd")
  assert a == b and len({a, c, d}) == 3
  rows = tfds.builder_from_directory(tmp_path / "a").as_data_source("train")
  assert [row["hash"].decode() for row in rows] == [identity.example_hash(e) for e in given]


def test_a_shuffled_split_has_the_same_examples_in_another_order(tmp_path):
  given = list(world.examples(WORLD, "train", count=40))
  with array_record.Writer(tmp_path / "set") as writer:
    for i, example in enumerate(given):
      writer.add("drawn", array_record.serialize(example))
      if i == 20:
        writer.commit()
    writer.commit()
    writer.shuffle("drawn", "check", seed=1)
    writer.finish()
  found = list(array_record.open(tmp_path / "set", "check"))
  assert found != given and sorted(found, key=lambda one: one.id) == sorted(
    given, key=lambda one: one.id
  )
  assert {path.name for path in (tmp_path / "set").glob("*drawn*")} == set()


def test_tfds_reads_what_is_written(tmp_path):
  given = list(world.examples(WORLD, "train", count=3))
  array_record.write(tmp_path / "set", {"train": given})
  builder = tfds.builder_from_directory(tmp_path / "set")
  assert builder.info.splits["train"].num_examples == 3
  assert [row["id"].decode() for row in builder.as_data_source("train")] == [e.id for e in given]


def test_a_store_that_tfds_wrote_without_forms_and_hashes_is_read(tmp_path):
  older = tfds.features.FeaturesDict(
    {
      name: feature
      for name, feature in example_rows.FEATURES.items()
      if name not in ("hash", "media_form")
    }
  )
  picture = example("picture", png("red"))
  clip = example("clip", (png("red"),), "video")
  rows = [{k: v for k, v in example_rows.to_row(e).items() if k in older} for e in (picture, clip)]

  class Older(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=older)

    def _split_generators(self, dl_manager):
      return {"train": enumerate(rows)}

    def _generate_examples(self):
      raise NotImplementedError

  builder = Older(data_dir=tmp_path, file_format="array_record")
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  found = {one.id: one for one in array_record.open(builder.data_dir, "train")}
  assert found == {"picture": picture, "clip": clip}


def test_an_interrupted_writing_leaves_nothing_that_can_be_read(tmp_path):
  def breaks():
    yield from world.examples(WORLD, "train", count=5)
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    array_record.write(
      tmp_path / "set", {"heldout": world.examples(WORLD, "heldout", count=5), "train": breaks()}
    )
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(FileNotFoundError, match="holds no data set"):
    array_record.open(tmp_path / "set", "heldout")


def test_writing_again_after_an_interruption_works(tmp_path):
  (tmp_path / ".set.unfinished" / "examples").mkdir(parents=True)  # of a run that was killed
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  assert len(array_record.open(tmp_path / "set", "train")) == 3
  assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_data_set_is_never_written_over(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  with pytest.raises(FileExistsError, match="already holds a data set"):
    array_record.write(tmp_path / "set", {"train": []})
  assert len(array_record.open(tmp_path / "set", "train")) == 3


def test_an_id_that_comes_twice_is_named(tmp_path):
  twice = [example("same", png("red"))] * 2
  with pytest.raises(ValueError, match="example 'same' comes twice in split 'some'"):
    array_record.write(tmp_path / "set", {"some": twice})


def test_an_unknown_split_names_those_there_are(tmp_path):
  array_record.write(tmp_path / "set", {"train": world.examples(WORLD, "train", count=3)})
  with pytest.raises(ValueError, match="no split 'test'; it has train"):
    array_record.open(tmp_path / "set", "test")
