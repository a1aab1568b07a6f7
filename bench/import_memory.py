"""Peak memory and speed of the stage import, by the size and the format of its source.

  python bench/import_memory.py [--quick]

Makes sets of pairs with pictures of 400 kB, 2 GB each (--quick: 0.1 GB): JSON lines with the
pictures by path and inside the record, and parquet in the layout of RLAIF-V, in row groups of 100
and of 500 pairs. Imports each with
configs/import.py in a process of its own, which decodes every picture. Peak resident memory is that
of the whole process, interpreter and libraries included; "over empty" is without that of an import
of ten pairs.
"""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import isolated
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PICTURE = 400_000  # bytes, about
SOURCES = ("paths", "inside", "parquet_100", "parquet_500")


def pictures(count: int) -> Iterator[bytes]:
  """JPEG files of about PICTURE bytes; all differ, of a few drawn ones."""
  rng = np.random.default_rng(0)
  drawn = []
  for _ in range(8):
    small = rng.integers(0, 255, (180, 180, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((720, 720)).save(out, "JPEG", quality=92)
    drawn.append(out.getvalue())
  for number in range(count):
    picture = drawn[number % len(drawn)]
    # Bytes behind the end of a picture, which readers ignore, tell it from the others.
    yield picture + rng.bytes(PICTURE - len(picture))


def make(folder: Path, source: str, count: int) -> str:
  """Writes a set of pairs; returns its path."""
  folder.mkdir(parents=True)
  if source.startswith("parquet"):
    return _parquet(folder, count, rows_of_group=int(source.removeprefix("parquet_")))
  with (folder / "pairs.jsonl").open("w") as file:
    for number, picture in enumerate(pictures(count)):
      if source == "paths":
        (folder / f"{number}.jpg").write_bytes(picture)
        image = {"path": f"{number}.jpg"}
      else:
        image = {"base64": base64.b64encode(picture).decode()}
      record = {
        "id": f"pair-{number}",
        "task": "image_understanding",
        "question": f"How many of kind {number}?",
        "media": [{"kind": "image", **image}],
        "responses": ["two", "three"],
        "gold": number % 2 + 1,
      }
      file.write(json.dumps(record) + "\n")
  return str(folder / "pairs.jsonl")


def _parquet(folder: Path, count: int, *, rows_of_group: int) -> str:
  import pyarrow as pa
  from pyarrow import parquet

  rows, writer = [], None
  for number, picture in enumerate(pictures(count)):
    text = {
      "question": f"How many of kind {number}?",
      "chosen": "two",
      "rejected": "three",
      "origin_dataset": "made",
      "idx": number,
    }
    rows.append(
      {
        "ds_name": "made",
        "image": {"bytes": picture, "path": f"{number}.jpg"},
        **text,
        "image_path": f"{number}.jpg",
        "origin_split": "{}",
      }
    )
    # 100 is what the library datasets takes for pictures; other writers take more.
    if len(rows) == rows_of_group or number + 1 == count:
      table = pa.Table.from_pylist(rows)
      path = folder / "RLAIF-V-Dataset_000.parquet"
      writer = writer or parquet.ParquetWriter(path, table.schema)
      writer.write_table(table)
      rows = []
  writer.close()
  return f"rlaif_v:{folder}"


def measure(source: str, workdir: Path) -> dict[str, float]:
  """Seconds and peak bytes of an import."""
  command = [sys.executable, "-m", "cot_rm.main", "--config", "configs/import.py"]
  command += [f"--config.import.source={source}", "--workdir", str(workdir)]
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
  began = time.monotonic()
  with (workdir.parent / "log").open("w+") as log:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
      log.seek(0)
      raise RuntimeError(f"{' '.join(command)} failed:\n{log.read()[-4000:]}")
  return {"seconds": time.monotonic() - began, "peak": usage.ru_maxrss * 1024}


def made(folder: Path, source: str, count: int) -> str:
  """`make` in a process of its own: a process begins with the peak of the one that starts it."""
  out = isolated.call(__file__, "--one", f"{source} {count}", "--folder", str(folder))
  return out["path"]


def main() -> None:
  args = isolated.parser(__doc__, "0.1 GB instead of 2 GB").parse_args()
  say = lambda line: sys.stdout.write(line + "\n")
  if args.one:
    source, number = args.one.split()
    say(json.dumps({"path": make(Path(args.folder), source, int(number))}))
    return
  count = (100_000_000 if args.quick else 2_000_000_000) // PICTURE
  say(f"{count:,} pairs, {count * PICTURE / 1e9:.1f} GB of pictures, {os.cpu_count()} cores")
  say(f"{'':<12}{'seconds':>10}{'MB / s':>10}{'peak, MB':>12}{'over empty, MB':>16}")
  out = {}
  for source in SOURCES:
    with tempfile.TemporaryDirectory() as name:
      folder = Path(name)
      empty = measure(made(folder / "few", source, 10), folder / "empty")
      found = measure(made(folder / "all", source, count), folder / "run")
      shutil.rmtree(folder / "all")
    over = found["peak"] - empty["peak"]
    rate = count * PICTURE / (found["seconds"] - empty["seconds"])
    say(
      f"{source:<12}{found['seconds']:>10.1f}{rate / 1e6:>10.1f}{found['peak'] / 1e6:>12.0f}"
      f"{over / 1e6:>16.0f}"
    )
    out |= {f"{source}_peak_mb": round(found["peak"] / 1e6), f"{source}_mb_s": round(rate / 1e6, 1)}
  say(json.dumps(out))


if __name__ == "__main__":
  main()
