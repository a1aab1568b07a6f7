"""The best sizes of blocks that a sweep found, by kernel, chip and length.

`python bench/kernels.py` sweeps; the rows that it prints at its end go into BEST.
"""

from jax.experimental.pallas import tpu as pltpu

# (kernel, chip): {up to so many positions: positions of a block}; beyond the last row as in it.
BEST = {
  ("flash_attention", "v5e"): {2048: 512, 8192: 512},
  ("flash_attention", "v5p"): {2048: 512, 8192: 512},
  ("flash_attention", "v6e"): {2048: 512, 8192: 1024},
}
USUAL = 512


def best(kernel, length):
  """Positions of a block for rows of this length, on the ambient mesh's chip."""
  rows = BEST.get((kernel, _chip()), {})
  fits = [block for most, block in rows.items() if length <= most]
  return fits[0] if fits else [USUAL, *rows.values()][-1]


def _chip():
  """The chip's name in chips.CHIPS; "" where there is no TPU, and a kernel is interpreted."""
  if not pltpu.is_tpu_device():
    return ""
  name = str(pltpu.get_tpu_info().chip_version)
  return f"tpu{name}" if name[0].isdigit() else name
