"""A vote that is decided needs no more votes."""

import collections

from cot_rm import prompts


class Decided:
  """`enough` of the engine: whether the votes that are missing can change what a vote comes to.

  That is each prompt's majority, and where examples are asked in both orders also the majority of
  both. A vote that cannot be read is nobody's.
  """

  def __init__(self, examples, *, grammar, n, swapped=False):
    """
    Args:
      examples: in the order of the prompts.
      grammar: name of the grammar.
      n: votes of a prompt.
      swapped: the second half of the examples are the first, with their candidates exchanged.
    """
    self.examples, self.parse, self.n = examples, prompts.get(grammar).parse, n
    self.half = len(examples) // 2 if swapped else None
    self.texts = {}  # of a prompt, read so far

  def __call__(self, place, texts):
    """Whether prompt number `place` needs no more than the `texts` that it has."""
    self.texts[place] = texts
    lead, left = self._standing(place)
    if abs(lead) <= left:
      return False
    if self.half is None:
      return True
    other_lead, other_left = self._standing((place + self.half) % len(self.examples))
    # An exchanged candidate's vote is for the other one.
    return abs(lead - other_lead) > left + other_left

  def _standing(self, place):
    """(votes for 1 less votes for 2, votes that are missing)."""
    task, texts = self.examples[place].task, self.texts.get(place, ())
    counts = collections.Counter(self.parse(text, task).answer for text in texts)
    return counts[1] - counts[2], self.n - len(texts)
