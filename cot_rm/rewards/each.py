"""One sample at a time: a sample that breaks a reward does not take the others with it."""

from absl import logging


def values(one, completions, examples, grammar):
  """[one(completion, example, grammar)] of samples in step; the error in words where it raises.

  Raises what `one` raised if it raises on every sample: then no sample is to blame.
  """
  out, errors = [], []
  for completion, example in zip(completions, examples, strict=True):
    try:
      out.append(one(completion, example, grammar))
    except Exception as error:  # logged, counted by its words, raised if it is all of them
      logging.warning("%s failed on example %r: %r", one.__module__, example.id, error)
      out.append(repr(error))
      errors.append(error)
  if errors and len(errors) == len(out):
    raise errors[-1]
  return out
