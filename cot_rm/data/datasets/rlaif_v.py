"""Layout `rlaif_v`: RLAIF-V (arXiv:2405.17220) and RLHF-V (arXiv:2312.00849).

A parquet row has ds_name, image, question, chosen, rejected, origin_dataset, origin_split, idx and
image_path; in RLHF-V's the question and the answers are JSON in the field `text`. Indices repeat.
"""

import json
from collections.abc import Iterator

from cot_rm.data.datasets import chosen_rejected
from cot_rm.data.datasets.pair import LeftOut, Pair
from cot_rm.data.datasets.row import Row
from cot_rm.records import Record


def matches(record: Record) -> bool:
  """Whether a record has the layout's fields."""
  known = bool({"ds_name", "origin_dataset", "origin_split"} & record.keys())
  return known and ({"question", "chosen", "rejected"} <= record.keys() or "text" in record)


def pairs(row: Row) -> Iterator[Pair | LeftOut]:
  """The pair of a record."""
  record = row.record
  if record.get("chosen") is None and (texts := record.get("text")) is not None:
    if isinstance(texts, str):
      try:
        texts = json.loads(texts, strict=False)
      except (ValueError, RecursionError) as error:
        row.fail(f"field 'text': no JSON: {error}")
    if not isinstance(texts, dict):
      row.fail(f"field 'text' must hold question, chosen and rejected, not {texts!r:.80}")
    record = {**record, **texts}
  if record.get("image") is None and record.get("image_path") is None:
    row.fail("field 'image' is missing")
  for name in ("question", "chosen", "rejected"):
    if not isinstance(record.get(name), str):
      row.fail(f"field {name!r} must be text, not {record.get(name)!r:.80}")
  name = "image" if record.get("image") is not None else "image_path"
  source = record.get("ds_name")
  yield from chosen_rejected.answers(
    row,
    record["question"],
    record["chosen"],
    record["rejected"],
    [row.image(record[name], name)],
    source if isinstance(source, str) else "",
  )
