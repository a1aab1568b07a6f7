"""Plots as SVG data URLs. Their text stays text; the page inverts their colours in dark mode.

A share is a number between 0 and 1, shown in per cent.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.ticker
import numpy as np

COLORS = (  # of models and curves; distinguishable inverted, and for the colour-blind
  "#2f5fb3",
  "#d9822b",
  "#2a9d74",
  "#b3479a",
  "#7c8a2e",
  "#4a9fc9",
  "#7a5cc2",
  "#c0483e",
)
FAILED = "#c0483e"
INK, SOFT, FRAME = "#1f2733", "#5b6678", "#b9c1ce"  # text, secondary text, axes
GRID = {"color": "#8a94a6", "alpha": 0.22, "linewidth": 0.8}  # visible on light and on dark
NARROW, WIDE, FULL = 3.15, 4.6, 11.0  # widths in inches: in a grid, half a page, a page
MAX_MARKERS = 30  # a curve with fewer values shows each value as a marker
BINS = 100  # a longer curve shows the range of its values in this many bins
LOG_RATIO = 20  # an axis is logarithmic if its largest value is this many times its smallest
FLAT = 1e-3  # a curve is flat if it varies by less than this share of its values
ROUND_STEPS = (1, 2, 5, 10)  # between the ticks of an axis of shares
LONGEST_NAME = 18  # characters

Curve = tuple[Sequence[float], Sequence[float]]  # (steps, values)
Interval = Sequence[float]  # (low, high)
ForestRow = tuple[str, float, Interval | None, str]  # (name, share, its interval, colour)


def color(index: int) -> str:
  """The colour of the model or curve with this index; colours repeat."""
  return COLORS[index % len(COLORS)]


def ramp(count: int) -> list[str]:
  """`count` colours from light to dark, from easy to difficult."""
  shades = matplotlib.colormaps["viridis"](np.linspace(0.62, 0.12, count))
  return [matplotlib.colors.to_hex(shade) for shade in shades]


def curves(
  series: Sequence[Curve], *, log: bool = False, level: float | None = None, share: bool = False
) -> str:
  """Line plot over steps: a running mean, on a band that covers the range of the values.

  Args:
    series: curves of finite values; the colours are in their order.
    log: use a logarithmic axis if all values are positive and differ by LOG_RATIO.
    level: height of a dotted line.
    share: the values are shares, shown in per cent.

  Returns:
    A data URL of the SVG, as all plots of this module return it.
  """

  def draw(axes):
    for index, (steps, values) in enumerate(series):
      _draw_curve(axes, np.asarray(steps, float), np.asarray(values, float), color(index))
    low = min(min(values) for _, values in series)
    high = max(max(values) for _, values in series)
    if log and 0 < LOG_RATIO * low < high:
      set_log_axis(axes, high / low)
    else:
      axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
      widen_flat_axis(axes, low, high)
    if level is not None:
      axes.axhline(level, color=SOFT, linewidth=0.9, linestyle=":")
    if share:
      axes.yaxis.set_major_formatter(format_percent)
    set_step_axis(axes)

  return _data_url(draw, width=NARROW, height=1.75)


def widen_flat_axis(axes: matplotlib.axes.Axes, low: float, high: float) -> None:
  """Widens the y axis if the values, from `low` to `high`, are nearly equal: a flat line.

  matplotlib would label such an axis "1e-5+1".
  """
  middle, least = (low + high) / 2, FLAT * max(abs(low), abs(high))
  if high - low < least:
    axes.set_ylim(middle - least, middle + least)
    axes.ticklabel_format(axis="y", useOffset=False)


def set_log_axis(axes: matplotlib.axes.Axes, ratio: float) -> None:
  """Makes the y axis logarithmic; `ratio` is its largest value over its smallest."""
  axes.set_yscale("log")
  subs = (1, 3) if ratio < 1e3 else (1,)  # 0.1, 0.3, 1, ...
  axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs, numticks=6))
  axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
  axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _draw_curve(
  axes: matplotlib.axes.Axes, steps: np.ndarray, values: np.ndarray, colour: str
) -> None:
  if len(values) < MAX_MARKERS:
    axes.plot(steps, values, color=colour, linewidth=1.5, marker="o", markersize=2.8)
    return
  size = -(-len(values) // BINS)
  starts = np.arange(0, len(values), size)
  centres = np.minimum(starts + size // 2, len(values) - 1)
  low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
  mean = running_mean(values, window=max(len(values) // 20, 5))
  axes.fill_between(steps[centres], low, high, color=colour, alpha=0.16, linewidth=0)
  axes.plot(steps[centres], mean[centres], color=colour, linewidth=1.6)


def running_mean(values: np.ndarray, *, window: int) -> np.ndarray:
  """Centred mean of `values` (f[T]) over `window` values, over fewer at both ends; f[T]."""
  ones = np.ones(window)
  return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def stacked_areas(
  steps: Sequence[float], parts: Sequence[Sequence[float]], total: Sequence[float]
) -> str:
  """Stacked areas of the parts of a total over steps, and the total as a line.

  Args:
    steps: T numbers.
    parts: lists of T numbers; the colours are in their order.
    total: T numbers.
  """

  def draw(axes):
    # Medians: the first step compiles and takes many times as long as the others.
    size = -(-len(steps) // (BINS // 2))
    starts = range(0, len(steps), size)
    medians = lambda values: np.array([np.median(values[i : i + size]) for i in starts])
    colours = [color(index) for index in range(len(parts))]
    stack = [medians(part) for part in parts]
    axes.stackplot(medians(steps), stack, colors=colours, alpha=0.75, linewidth=0)
    axes.plot(medians(steps), medians(total), color=INK, linewidth=1.1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    set_step_axis(axes)

  return _data_url(draw, width=NARROW, height=1.75)


def forest(
  rows: Sequence[ForestRow],
  *,
  limits: tuple[float, float],
  level: float | None = None,
  width: float = NARROW,
  height: float | None = None,
) -> str:
  """Forest plot: a row for each model, with a marker at its share and a bar over its interval.

  Args:
    rows: (name, share, interval or None, colour) of each model.
    limits: (low, high) of the axis.
    level: share of a dotted line, drawn if it is between the limits.
    width, height: inches; height None: forest_height of the rows.
  """

  def draw(axes):
    for y, (_, value, interval, colour) in enumerate(rows):
      if interval:
        axes.plot(interval, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
      axes.plot([value], [y], color=colour, marker="o", markersize=5, clip_on=False)
      axes.text(
        1.03,
        y,
        f"{100 * value:.1f}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=SOFT,
      )
    if level is not None and limits[0] < level < limits[1]:
      axes.axvline(level, color=SOFT, linewidth=0.9, linestyle=":")
    axes.set_xlim(limits)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [_shorten(name) for name, *_ in rows], parse_math=False)
    axes.tick_params(axis="y", pad=6)  # a marker at the left limit reaches out of the axes
    axes.grid(axis="x", **GRID)
    axes.spines["left"].set_visible(False)
    # Long names leave less width for the tick labels.
    ticks = 5 if width > NARROW else 3 if max(len(name) for name, *_ in rows) > 10 else 4
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(ticks, steps=ROUND_STEPS))
    axes.xaxis.set_major_formatter(format_percent)

  return _data_url(draw, width=width, height=height or forest_height(len(rows)))


def forest_height(count: int) -> float:
  """Height in inches of a forest plot with `count` rows."""
  return 0.4 + 0.22 * count


def points_with_intervals(
  series: Sequence[tuple[Sequence[int], Sequence[float], Sequence[Interval], str]],
) -> str:
  """Plot of a share (y) over a count (x), such as accuracy over the number of votes.

  Args:
    series: a line per model: (counts, the share at each count, its interval (low, high), colour).
  """

  def draw(axes):
    ticks = sorted({number for numbers, *_ in series for number in numbers})
    shift = (ticks[-1] - ticks[0]) / 120  # so that the bars at one number are side by side
    for index, (numbers, shares, intervals, colour) in enumerate(series):
      x = np.asarray(numbers) + shift * (index - (len(series) - 1) / 2)
      low, high = np.asarray(intervals, float).T
      axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6)
      axes.plot(x, shares, color=colour, linewidth=1.4, marker="o", markersize=4)
    axes.set_xticks(ticks)
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=ROUND_STEPS))
    axes.yaxis.set_major_formatter(format_percent)
    axes.grid(axis="y", **GRID)

  return _data_url(draw, width=WIDE, height=2.4)


def reliability(series: Sequence[tuple[Sequence[Mapping[str, object]], str]]) -> str:
  """Reliability diagram: accuracy (y) over the mean probability of a bin (x), and the diagonal.

  The area of a marker grows with the number of forecasts in its bin.

  Args:
    series: (bins, colour) of each model; a bin has `probability`, `accuracy`, `interval` and `n`.
  """

  def draw(axes):
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=":")
    for bins, colour in series:
      x, y = ([one[name] for one in bins] for name in ("probability", "accuracy"))
      low, high = np.array([one["interval"] for one in bins]).T
      count = np.array([one["n"] for one in bins])
      axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6)
      axes.plot(x, y, color=colour, linewidth=1.1, alpha=0.7)
      axes.scatter(x, y, s=4 + 60 * count / count.max(), color=colour, linewidth=0, zorder=3)
    left = min(one["probability"] for bins, _ in series for one in bins)
    axes.set_xlim(min(left - 0.02, 0.48), 1.02)
    axes.set_ylim(-0.02, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=ROUND_STEPS))
      axis.set_major_formatter(format_percent)
    axes.grid(**GRID)

  return _data_url(draw, width=WIDE, height=2.6)


def lines(
  series: Sequence[tuple[Sequence[float], Sequence[float], str, str]], *, share: bool = True
) -> str:
  """Lines of shares (y) over numbers (x).

  Args:
    series: (x, y, colour, matplotlib's style) of each line.
    share: the numbers are shares, too.
  """

  def draw(axes):
    for x, y, colour, style in series:
      axes.plot(x, y, style, color=colour, linewidth=1.4, marker="o", markersize=3)
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=ROUND_STEPS))
      if share or axis is axes.yaxis:
        axis.set_major_formatter(format_percent)
    axes.grid(axis="y", **GRID)

  return _data_url(draw, width=WIDE, height=2.6)


def stacked_bars(rows: Sequence[tuple[str, Sequence[int]]], colours: Sequence[str]) -> str:
  """A horizontal bar for each row, divided into the shares of its counts.

  Counts are written into the parts that are wide enough.

  Args:
    rows: (name, counts) of each bar, equally many counts in each.
    colours: of the counts.
  """

  def draw(axes):
    for y, (_, counts) in enumerate(rows):
      total, left = max(sum(counts), 1), 0.0
      for count, colour in zip(counts, colours, strict=True):
        axes.barh(y, count / total, left=left, height=0.7, color=colour, linewidth=0)
        if count / total > 0.012 * len(f"{count:,}") * 8 / FULL:
          middle = left + count / total / 2
          axes.text(middle, y, f"{count:,}", ha="center", va="center", color="white")
        left += count / total
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_shorten(name, 40) for name, _ in rows], parse_math=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_formatter(format_percent)

  return _data_url(draw, width=FULL, height=0.3 + 0.25 * len(rows))


def _shorten(name: str, longest: int = LONGEST_NAME) -> str:
  """The beginning and the end of a name that is too long."""
  half = longest // 2
  return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def format_percent(value: float, _: int | None = None) -> str:
  """Formats a share in per cent; a formatter of matplotlib's axes."""
  return f"{100 * value:.3g} %"


def set_step_axis(axes: matplotlib.axes.Axes) -> None:
  """Formats the x axis of curves over steps: whole numbers, and horizontal grid lines."""
  axes.grid(axis="y", **GRID)
  axes.margins(x=0.01)
  locator = matplotlib.ticker.MaxNLocator(5, integer=True, min_n_ticks=1)
  axes.xaxis.set_major_locator(locator)


def set_plain_frame(axes: matplotlib.axes.Axes) -> None:
  """Removes the top and right spines and the tick marks, and draws the others in soft colours."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FRAME)
  axes.tick_params(which="both", colors=SOFT, length=0)
  axes.set_axisbelow(True)


def _data_url(draw: Callable[[matplotlib.axes.Axes], None], *, width: float, height: float) -> str:
  """Draws by `draw(axes)` on a figure of this size in inches; returns the SVG as a data URL."""
  settings = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 8.5}
  with matplotlib.rc_context(settings):
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    set_plain_frame(axes)
    draw(axes)
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
  return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()
