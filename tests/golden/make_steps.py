"""Writes steps.json: loss, gradient norm and sizes of parameters after one SFT and one GRPO step.

Run from the root of the repository: python -m tests.golden.make_steps
"""

import json

from tests import conftest, test_train

if __name__ == "__main__":
  del conftest  # imported for its settings: devices, precision
  pinned = {name: test_train.pins(test_train.alone(name)) for name in test_train.OBJECTIVES}
  test_train.GOLDEN.write_text(json.dumps(pinned, indent=2) + "\n")
