"""Texts with media between them: one text, the media, and the place of each medium in the text.

A place is the number of characters of the text that stand before the medium.
"""

from collections.abc import Iterable, Sequence

from cot_rm.schema.medium import Media

# A question or a candidate: a text, one medium, or a sequence of both in their order.
Mixture = str | Media | Sequence[str | Media]


def lay_out(mixture: Mixture) -> tuple[str, tuple[Media, ...], tuple[int, ...]]:
  """(text, media, places) of a mixture; a text of white space alone is none.

  Raises TypeError if something in it is neither a text nor Media.
  """
  pieces: Sequence[object] = [mixture]
  if isinstance(mixture, Iterable) and not isinstance(mixture, str):
    pieces = [*mixture]
  text, media, places = "", [], []
  for one in pieces:
    if isinstance(one, Media):
      media.append(one)
      places.append(len(text))
    elif isinstance(one, str):
      text += one
    else:
      raise TypeError(f"a mixture is of texts and Media, not of {type(one).__name__}")
  if not text.strip():
    text, places = "", [0] * len(media)
  return text, tuple(media), tuple(places)


def pieces_of(text: str, media: Sequence[Media], places: Sequence[int]) -> tuple[str | Media, ...]:
  """A text and its media in their order, each where it stands; no text is empty."""
  out: list[str | Media] = []
  start = 0
  for medium, place in zip(media, places, strict=True):
    out += [text[start:place], medium]
    start = place
  return tuple(one for one in (*out, text[start:]) if one != "")


def fault(texts: Sequence[str], places: Sequence[Sequence[int]], media: int) -> str | None:
  """What is wrong with the places of media in texts, in words; None: nothing is.

  Args:
    texts: of a question and of its two candidates.
    places: of each text's media.
    media: number of the media of all texts; 0: they are not kept, as in a log of answers.
  """
  if len(places) != len(texts):
    return f"places are of {len(texts)} texts: a question and two candidates; got {len(places)}"
  for text, of_text in zip(texts, places, strict=True):
    if [*of_text] != sorted(of_text) or any(not 0 <= place <= len(text) for place in of_text):
      return f"places {of_text} do not rise from 0 to the {len(text)} characters of their text"
  count = sum(map(len, places))
  if count == 0 or media not in (0, count):
    return f"{media} media, and {count} places for them"
  return None
