"""Small examples with one picture or video, as tests of the store write them."""

from PIL import Image

from cot_rm import schema
from tests.media import media_files


def png(colour):
  """A small picture file of one colour."""
  return media_files.encoded(Image.new("RGB", (4, 6), colour))


def example(example_id, source, kind="image"):
  """A question about one medium."""
  return schema.Example(
    example_id,
    "test",
    "image_understanding",
    "what?",
    media=(schema.Media(kind, source),),
    responses=("a", "b"),
  )
