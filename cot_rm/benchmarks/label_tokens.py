"""How sure a model is that a verdict's digit comes where it writes one.

A verdict's probability is divided among the tokens "1" and "2" alone. Where they have little of the
model's probability, it says little.
"""

import numpy as np

from cot_rm.benchmarks import answers
from cot_rm.benchmarks.definitions import Number


def measure(table: answers.Answers) -> dict[str, Number]:
  """Figures of the parsed verdicts that have them; logs of older versions do not.

  label_mass: mean probability of both tokens together, of the whole vocabulary.
  label_top: share of verdicts at whose digit one of the two is the likeliest token.
  """
  verdicts = [j.verdicts[0] for j in table.judged]
  found: dict[str, list[float]] = {
    "label_mass": [v.label_mass for v in verdicts if v.label_mass is not None],
    "label_top": [v.label_top for v in verdicts if v.label_top is not None],
  }
  return {name: Number(np.mean(values), len(values)) for name, values in found.items() if values}
