r"""Imports data sets as their owners publish them, into one data set of this package.

python -m cot_rm.main --config configs/import.py --config.import.source=rlaif_v:/data/RLAIF-V \
  --workdir runs/data
python -m cot_rm.main --config configs/sft.py --config.sft.data=runs/data/import/data ...

Reads one source or several, separated by commas: a path, or layout:path where the layout shall not
be guessed. Writes runs/data/import/data, with the splits "train" and "check" (validation pairs, one
in fifty; the pairs of one picture or caption are in one split). Pictures and video files are stored
as they are. An interrupted import continues with the same command.

Every example is checked on the way: a unique id, a gold answer, media that decode, and a reference,
where there is one, in the grammar and with the gold verdict. With --config.import.start=MODEL the
lengths of its prompts are checked, too. What cannot be used is counted by source and reason and
listed in skipped.jsonl; more than --config.data.max_bad of them end the import.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
  """The config."""
  c = base.get_config()
  c.stages = ("import",)
  return c
