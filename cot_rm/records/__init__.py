"""Random access to the records of data files as people have them: JSON, parquet, Arrow, CSV, YAML.

    records = records.open("train.jsonl")
    records[5], records.where(5)  # ({"question": ...}, "train.jsonl, line 6")

No file is held as a whole. A record that cannot be read raises schema.BadRecord when it is read,
and no other record suffers.
"""

from cot_rm.records.opening import find_files, no_split, open
from cot_rm.records.parts import Joined, Part, Record, Records

__all__ = ["Joined", "Part", "Record", "Records", "find_files", "no_split", "open"]
