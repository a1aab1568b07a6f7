"""How media are opened: what may be fetched, and how pictures of all kinds become 8-bit RGB."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Options:
  """How media are opened. Raises ValueError on a value out of range.

  The knobs of the same names are in config.data.
  """

  http: bool = False  # fetch http:// and https:// URLs, again at each use; False: refuse them
  http_timeout: float = 60.0  # seconds for a whole file
  http_bytes: int = 256 * 2**20  # largest file that is fetched
  # Turn pictures upright by their EXIF orientation, as transformers' load_image does; False: show
  # them as they are stored, as qwen-vl-utils does.
  turn_exif: bool = True
  # Transparent pixels over white, as transformers' image processor and qwen-vl-utils do; False:
  # transparency is dropped, as transformers' load_image does.
  over_white: bool = True
  # Pictures of 16 or 32 bits or of floats are scaled to 8 bits, see depth.py; False: values are
  # clipped at 255, as Pillow, transformers and qwen-vl-utils do: most become white or black.
  scale_depth: bool = True
  # Largest picture file that is decoded. Pillow refuses larger ones, as they may be bombs.
  max_file_pixels: int = 178_956_970  # decoded: 0.7 GB, and 2.9 GB while transparency is removed

  def __post_init__(self) -> None:
    for name in ("http_timeout", "http_bytes", "max_file_pixels"):
      if not getattr(self, name) > 0:
        raise ValueError(f"config.data.{name} is {getattr(self, name)}; it must be above 0")


DEFAULT = Options()
