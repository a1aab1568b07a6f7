"""Plots as data URLs of SVGs; their text stays text, and the page inverts them where it is dark."""

import base64
import io

import matplotlib
import matplotlib.colors
import matplotlib.figure
import matplotlib.ticker
import numpy as np

COLORS = (  # of stages, and of the curves of one plot; told apart inverted and by the colour-blind
  "#2f5fb3",
  "#d9822b",
  "#2a9d74",
  "#b3479a",
  "#7c8a2e",
  "#4a9fc9",
  "#7a5cc2",
  "#c0483e",
)
LOST = "#c0483e"  # of what failed
INK, SOFT, FRAME = "#1f2733", "#5b6678", "#b9c1ce"
GRID = {"color": "#8a94a6", "alpha": 0.22, "linewidth": 0.8}  # seen on light and on dark
NARROW, WIDE, WHOLE = 3.15, 4.6, 11.0  # inches that a plot is wide: in a grid, a half, the page
FEW = 30  # values of a curve that are shown one by one
BINS = 100  # into which the values of a longer one fall
FAR = 20  # times that the largest value is the smallest one, where an axis is logarithmic
ALIKE = 1e-3  # of a value: what lies closer together makes no difference on an axis
ROUND = (1, 2, 5, 10)  # steps of an axis of shares
LONGEST = 18  # letters of a name


def color(place):
  return COLORS[place % len(COLORS)]


def ramp(count):
  """`count` colours from an easy one to a hard one."""
  shades = matplotlib.colormaps["viridis"](np.linspace(0.62, 0.12, count))
  return [matplotlib.colors.to_hex(shade) for shade in shades]


def curves(series, *, log=False, level=None, share=False):
  """Curves over steps: the mean over some neighbours, and the range of all values faintly behind.

  Args:
    series: [(steps, values)], coloured in their order; values are finite.
    log: a logarithmic axis, where every value is positive and they lie far apart.
    level: a dotted line at this height.
    share: the values are shares: the axis is in per cent.
  """

  def draw(axes):
    for place, (steps, values) in enumerate(series):
      _curve(axes, np.asarray(steps, float), np.asarray(values, float), color(place))
    low, high = (end(end(values) for _, values in series) for end in (min, max))
    if log and 0 < FAR * low < high:
      logarithmic(axes, high / low)
    else:
      axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
      level_off(axes, low, high)
    if level is not None:
      axes.axhline(level, color=SOFT, linewidth=0.9, linestyle=":")
    if share:
      axes.yaxis.set_major_formatter(percent)
    by_step(axes)

  return _drawn(draw, width=NARROW, height=1.75)


def level_off(axes, low, high):
  """Values that hardly differ look alike, where an axis of their own would write "1e-5+1"."""
  middle, least = (low + high) / 2, ALIKE * max(abs(low), abs(high))
  if high - low < least:
    axes.set_ylim(middle - least, middle + least)
    axes.ticklabel_format(axis="y", useOffset=False)


def logarithmic(axes, span):
  """A logarithmic axis of values of which the largest is `span` times the smallest."""
  axes.set_yscale("log")
  subs = (1, 3) if span < 1e3 else (1,)  # 0.1, 0.3, 1, ...
  axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs, numticks=6))
  axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
  axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def _curve(axes, steps, values, colour):
  if len(values) < FEW:
    axes.plot(steps, values, color=colour, linewidth=1.5, marker="o", markersize=2.8)
    return
  size = -(-len(values) // BINS)
  starts = np.arange(0, len(values), size)
  middle = steps[np.minimum(starts + size // 2, len(values) - 1)]
  low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
  mean = smooth(values, window=max(len(values) // 20, 5))
  axes.fill_between(middle, low, high, color=colour, alpha=0.16, linewidth=0)
  axes.plot(middle, mean[np.minimum(starts + size // 2, len(values) - 1)], color=colour, lw=1.6)


def smooth(values, *, window):
  """The centred mean over `window` values, over fewer at the ends."""
  ones = np.ones(window)
  return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def areas(steps, parts, total):
  """Parts of a whole over steps, one upon the other, and what it came to in all as a line.

  Args:
    steps: T numbers.
    parts: lists of T numbers, coloured in their order.
    total: T numbers.
  """

  def draw(axes):
    # Medians: the first step compiles, and would leave the others at the bottom.
    size = -(-len(steps) // (BINS // 2))
    starts = range(0, len(steps), size)
    medians = lambda values: np.array([np.median(values[at : at + size]) for at in starts])
    parted = [medians(part) for part in parts]
    colours = [color(place) for place in range(len(parts))]
    axes.stackplot(medians(steps), parted, colors=colours, alpha=0.75, linewidth=0)
    axes.plot(medians(steps), medians(total), color=INK, linewidth=1.1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    by_step(axes)

  return _drawn(draw, width=NARROW, height=1.75)


def forest(rows, *, limits, level=None, width=NARROW, height=None):
  """A line a stage: a dot at its share, a bar over its interval, and the share in per cent.

  Args:
    rows: [(name, share, [low, high] or None, colour)].
    limits: (low, high) of the axis.
    level: a dotted line at this share, where it is inside.
    width, height: inches; as high as its lines want where it is not said.
  """

  def draw(axes):
    for y, (_, value, bounds, colour) in enumerate(rows):
      if bounds:
        axes.plot(bounds, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
      axes.plot([value], [y], color=colour, marker="o", markersize=5)
      axes.text(
        1.02,
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
    axes.set_yticks(range(len(rows)), [_short(name) for name, *_ in rows], parse_math=False)
    axes.grid(axis="x", **GRID)
    axes.spines["left"].set_visible(False)
    # Long names leave less room, which a label must not fill.
    labels = 5 if width > NARROW else 3 if max(len(name) for name, *_ in rows) > 10 else 4
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(labels, steps=ROUND))
    axes.xaxis.set_major_formatter(percent)

  return _drawn(draw, width=width, height=height or natural(len(rows)))


def natural(count):
  """Inches that a forest of `count` lines is high."""
  return 0.4 + 0.22 * count


def steps_of(series):
  """Shares at a few numbers, such as of votes: a line each, its intervals as bars.

  Args:
    series: [(numbers, shares, [[low, high]], colour)].
  """

  def draw(axes):
    numbers = sorted({number for at, *_ in series for number in at})
    apart = (numbers[-1] - numbers[0]) / 120  # so that bars of one number stand side by side
    for place, (at, values, bounds, colour) in enumerate(series):
      x = np.asarray(at) + apart * (place - (len(series) - 1) / 2)
      low, high = np.asarray(bounds, float).T
      axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6)
      axes.plot(x, values, color=colour, linewidth=1.4, marker="o", markersize=4)
    axes.set_xticks(numbers)
    axes.yaxis.set_major_formatter(percent)
    axes.grid(axis="y", **GRID)

  return _drawn(draw, width=WIDE, height=2.4)


def stacks(rows, colours):
  """A bar a row, cut into shares of its whole; the counts stand in the pieces that have room.

  Args:
    rows: [(name, counts)], equally many counts each.
    colours: of the counts.
  """

  def draw(axes):
    for y, (_, counts) in enumerate(rows):
      total, left = max(sum(counts), 1), 0.0
      for count, colour in zip(counts, colours, strict=True):
        axes.barh(y, count / total, left=left, height=0.7, color=colour, linewidth=0)
        if count / total > 0.012 * len(f"{count:,}") * 8 / WHOLE:
          middle = left + count / total / 2
          axes.text(middle, y, f"{count:,}", ha="center", va="center", color="white")
        left += count / total
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_short(name, 40) for name, _ in rows], parse_math=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_formatter(percent)

  return _drawn(draw, width=WHOLE, height=0.3 + 0.25 * len(rows))


def _short(name, longest=LONGEST):
  """A name that leaves room for the plot: of a long one, its beginning and its end."""
  half = longest // 2
  return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def percent(value, _):
  """A share as a formatter of axes writes it."""
  return f"{100 * value:.3g} %"


def by_step(axes):
  """Of curves over steps: lines across, and few whole numbers below."""
  axes.grid(axis="y", **GRID)
  axes.margins(x=0.01)
  axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))


def quiet(axes):
  """Takes from a frame what draws the eye off the curves."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(FRAME)
  axes.tick_params(which="both", colors=SOFT, length=0)
  axes.set_axisbelow(True)


def _drawn(draw, *, width, height):
  """The data URL of what `draw(axes)` draws; sizes in inches."""
  settings = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 8.5}
  with matplotlib.rc_context(settings):
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    quiet(axes)
    draw(axes)
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
  return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()
