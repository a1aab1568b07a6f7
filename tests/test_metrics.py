"""Metrics survive a kill and a resume; bars and tables show the newest values."""

import io
import json
import math

import jax.numpy as jnp
import pytest
import rich.console
from absl import logging
from tensorboardX.proto import event_pb2

from cot_rm import metrics


def lines(folder):
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_write_is_a_line_of_plain_numbers(tmp_path):
  with metrics.Writer(tmp_path / "sft") as writer:
    writer.write(jnp.int32(3), {"train/loss": jnp.float32(0.5), "train/tokens": 7})
  assert lines(tmp_path / "sft") == [{"step": 3, "train/loss": 0.5, "train/tokens": 7.0}]


def test_a_write_is_on_disk_before_the_writer_is_closed(tmp_path):
  writer = metrics.Writer(tmp_path)
  writer.write(1, {"a": 1})
  assert lines(tmp_path) == [{"step": 1, "a": 1.0}]
  writer.close()


def test_tensorboard_gets_the_same_numbers(tmp_path):
  with metrics.Writer(tmp_path) as writer:
    writer.write(5, {"train/loss": 0.25})
  (path,) = (tmp_path / "tb").glob("*tfevents*")
  data, found, at = path.read_bytes(), [], 0
  while at < len(data):  # a record: u64 length, u32 crc, the event, u32 crc
    size = int.from_bytes(data[at : at + 8], "little")
    event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
    found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    at += 16 + size
  assert found == [("train/loss", 5, 0.25)]


def test_a_value_that_is_not_finite_is_null_and_the_file_stays_json(tmp_path):
  with metrics.Writer(tmp_path) as writer:
    writer.write(1, {"train/loss": math.nan, "train/grad": math.inf, "ok": 1.0})
  assert lines(tmp_path) == [{"step": 1, "train/loss": None, "train/grad": None, "ok": 1.0}]
  assert metrics.read(tmp_path / "metrics.jsonl") == {"ok": ([1], [1.0])}


def test_a_half_line_of_a_killed_run_is_skipped(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a"')
  with metrics.Writer(tmp_path) as writer:
    writer.write(2, {"a": 5.0})
  assert metrics.read(tmp_path / "metrics.jsonl") == {"a": ([1, 2], [1.0, 5.0])}


def test_a_resumed_run_replaces_the_lines_after_its_checkpoint(tmp_path):
  for start, value in ((1, 1.0), (3, 2.0)):  # killed after step 4, resumed after step 2
    with metrics.Writer(tmp_path) as writer:
      for step in range(start, 5):
        writer.write(step, {"a": value})
  assert metrics.read(tmp_path / "metrics.jsonl") == {"a": ([1, 2, 3, 4], [1.0, 1.0, 2.0, 2.0])}


def test_two_writes_at_one_step_are_both_kept(tmp_path):
  with metrics.Writer(tmp_path) as writer:
    writer.write(1, {"train/loss": 1.0})
    writer.write(1, {"check/accuracy": 0.5})
  assert metrics.read(tmp_path / "metrics.jsonl") == {
    "train/loss": ([1], [1.0]),
    "check/accuracy": ([1], [0.5]),
  }


def test_samples_are_in_a_file_of_their_step(tmp_path):
  with metrics.Writer(tmp_path) as writer:
    writer.write_samples(40, [{"id": "a"}, {"id": "b"}])
  assert (tmp_path / "samples" / "000040.jsonl").read_text() == '{"id": "a"}\n{"id": "b"}\n'


def test_a_bar_on_a_terminal_shows_count_and_newest_values():
  out = io.StringIO()
  console = rich.console.Console(file=out, force_terminal=True, width=140)
  with metrics.Bar("SFT", 10, console=console, done=4) as bar:
    bar.advance(2, loss=0.5)
    bar.advance(4, loss=0.125, skipped=None)
  assert "10/10" in out.getvalue() and "loss 0.125" in out.getvalue()
  assert "skipped" not in out.getvalue()


def test_a_bar_without_a_terminal_logs_at_most_every_ten_seconds(monkeypatch):
  said, now = [], [100.0]
  monkeypatch.setattr(logging, "info", lambda text, *args: said.append(text % args))
  monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
  console = rich.console.Console(file=io.StringIO())
  with metrics.Bar("RL", 120, console=console, done=20) as bar:
    for _ in range(40):
      now[0] += 1
      bar.advance(reward=0.5)
  assert said[0] == "RL 30/120 in 10 s, 1 min 30 s left  reward 0.5"
  assert len(said) == 5  # four in 40 seconds, and one at the end


def test_a_table_has_a_column_for_each_model_and_a_row_for_each_figure(capsys):
  metrics.table(
    "Held out [x]",
    {
      "sft": {"accuracy": 0.75, "families": {"video_generation": 0.5}, "n": 1000},
      "rl": {"accuracy": 0.85, "seconds": 12.0},
    },
  )
  shown = capsys.readouterr().out
  assert shown.startswith("Held out [x]")
  assert [
    [text.strip() for text in line.split("│")[1:4]] for line in shown.splitlines() if "│" in line
  ] == [
    ["accuracy", "0.750", "0.850"],
    ["video generation", "0.500", "-"],
    ["n", "1000", "-"],
    ["seconds", "-", "12.0"],
  ]


@pytest.mark.parametrize(
  "seconds, text",
  [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599.6, "1 h 00 min"), (7800, "2 h 10 min")],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds, text):
  assert metrics.format_duration(seconds) == text


@pytest.mark.parametrize(
  "value, text",
  [(None, "-"), (math.nan, "-"), (0.85312, "0.853"), (41.26, "41.3"), (1000, "1000"), ("a", "a")],
)
def test_a_value_is_shown_with_about_three_digits(value, text):
  assert metrics.format_value(value) == text


def test_a_timer_is_set_even_if_the_block_fails(monkeypatch):
  now = iter([10.0, 12.5])
  monkeypatch.setattr(metrics.time, "monotonic", lambda: next(now))
  with pytest.raises(KeyError), metrics.timer() as timer:
    raise KeyError
  assert timer.seconds == 2.5


def test_the_time_left_follows_the_speed_of_late(monkeypatch):
  now, lines = [0.0], []
  monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
  monkeypatch.setattr(metrics.logging, "info", lambda text, *args: lines.append(text % args))
  bar = metrics.Bar("sft", 1000, console=rich.console.Console(file=io.StringIO()))
  now[0] = 100.0  # the first step compiled
  bar.advance(1)
  for _ in range(60):
    now[0] += 1.0
    bar.advance(5)
  assert "301/1000" in lines[-1] and "2 min 20 s left" in lines[-1]
