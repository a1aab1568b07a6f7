"""Picture files of all formats and modes, made by tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.media.media_files import encoded

HEIGHT, WIDTH = 30, 44
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
ADAM7 = (*ADAM7, (1, 0, 2, 1))
MODES = (
  *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
  *("I", "I;16", "I;16B", "F"),
)
LENGTHS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\x40\0", b"\0\0\0\1")


def pixels(channels=4, seed=0):
  """A smooth picture with noise, u8[H, W, channels], with every alpha."""
  rng = np.random.default_rng(seed)
  rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
  planes = [rows * 8, columns * 5, (rows + columns) * 3, columns * 255 // (WIDTH - 1)][:channels]
  noisy = np.stack(planes, -1) + rng.integers(0, 12, (HEIGHT, WIDTH, channels))
  return noisy.clip(0, 255).astype(np.uint8)


def of_mode(mode):
  """A picture of a mode; the deep ones use all their range."""
  grey = pixels()[..., 0].astype(np.int32)
  if mode in ("I;16", "I;16B"):
    return Image.fromarray((grey * 257).astype("<u2" if mode == "I;16" else ">u2"))
  if mode == "I":
    return Image.fromarray(grey * 257)
  if mode == "F":
    return Image.fromarray(grey.astype(np.float32))
  image = Image.fromarray(pixels())
  if mode in ("RGBA", "RGBa"):
    return image.convert(mode)
  if mode == "LA":
    return image.convert("LA")
  if mode == "La":
    return image.convert("LA").convert("La")
  if mode == "PA":
    return image.convert("RGB").convert("P").convert("PA")
  if mode == "LAB":
    return Image.frombytes("LAB", image.size, image.convert("RGB").tobytes())
  return image.convert("RGB").convert(mode)


def png(array, colour, depth=8, interlaced=False):
  """A PNG file of any colour type and depth, whose bytes Pillow cannot write."""
  array = array.astype(">u2" if depth == 16 else "u1")

  def rows(part):
    return b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""

  parts = [array[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [array]
  header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, colour, 0, 0, interlaced)
  data = zlib.compress(b"".join(map(rows, parts)))
  chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks))


def chunk(named):
  kind, data = named
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_orientation(number, kind="JPEG", **settings):
  exif = Image.Exif()
  exif[0x0112] = number
  return encoded(Image.fromarray(pixels(3)), kind, exif=exif, **settings)


def files():
  """{name: bytes} of pictures of 8 bits."""
  rgb, rgba = Image.fromarray(pixels(3)), Image.fromarray(pixels())
  grey, small = rgb.convert("L"), rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
  other = Image.fromarray(pixels(3, seed=1)[::-1])
  one = Image.fromarray(pixels(3)[:1, :1])
  wide = Image.fromarray(np.tile(pixels(3)[:4], (1, 20, 1)))
  out = {
    "rgb.png": encoded(rgb),
    "rgba.png": encoded(rgba),
    "grey.png": encoded(grey),
    "la.png": encoded(rgba.convert("LA")),
    "one_bit.png": encoded(rgb.convert("1")),
    "palette.png": encoded(small),
    "palette_transparent_index.png": encoded(small, transparency=3),
    "palette_transparent_bytes.png": encoded(small, transparency=bytes(range(0, 256, 16))),
    "rgb_transparent_colour.png": encoded(rgb, transparency=rgb.getpixel((3, 3))),
    "grey_transparent_level.png": encoded(grey, transparency=grey.getpixel((3, 3))),
    "interlaced.png": png(pixels(3), 2, interlaced=True),
    "interlaced_alpha.png": png(pixels(), 6, interlaced=True),
    "animated.png": encoded(rgb, save_all=True, append_images=[other]),
    "rgb16.png": png(pixels(3).astype(int) * 257, 2, 16),
    "rgba16.png": png(pixels().astype(int) * 257, 6, 16),
    "la16.png": png(pixels()[..., [0, 3]].astype(int) * 257, 4, 16),
    "one_pixel.png": encoded(one),
    "wide.png": encoded(wide),
    "rgb.jpg": encoded(rgb, "JPEG"),
    "grey.jpg": encoded(grey, "JPEG"),
    "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
    "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
    "full_colour.jpg": encoded(rgb, "JPEG", quality=98, subsampling=0),
    "comment.jpg": encoded(rgb, "JPEG", comment=b"hello"),
    "lossy.webp": encoded(rgb, "WEBP"),
    "lossless.webp": encoded(rgb, "WEBP", lossless=True),
    "alpha.webp": encoded(rgba, "WEBP", lossless=True),
    "animated.webp": encoded(rgb, "WEBP", save_all=True, append_images=[other], lossless=True),
    "still.gif": encoded(small, "GIF"),
    "transparent.gif": encoded(small, "GIF", transparency=2),
    "animated.gif": encoded(rgb, "GIF", save_all=True, append_images=[other]),
    "rgb.tif": encoded(rgb, "TIFF"),
    "lzw.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
    "deflate.tif": encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
    "cmyk.tif": encoded(rgb.convert("CMYK"), "TIFF"),
    "rgba.tif": encoded(rgba, "TIFF"),
    "pages.tif": encoded(rgb, "TIFF", save_all=True, append_images=[other]),
    "lab.tif": encoded(of_mode("LAB"), "TIFF"),
    "rgb.bmp": encoded(rgb, "BMP"),
    "palette.bmp": encoded(small, "BMP"),
    "rgba.bmp": encoded(rgba, "BMP"),
    "rgba.ico": encoded(rgba, "ICO", sizes=[(32, 32), (16, 16)]),
    "rgb.ppm": encoded(rgb, "PPM"),
    "grey.pgm": encoded(grey, "PPM"),
    "one_bit.pbm": encoded(rgb.convert("1"), "PPM"),
    "rgb.avif": encoded(rgb, "AVIF"),
    "rgba.avif": encoded(rgba, "AVIF"),
    "rgb.jp2": encoded(rgb, "JPEG2000"),
    "rgba.jp2": encoded(rgba, "JPEG2000"),
    "rgb.tga": encoded(rgb, "TGA"),
    "rgb.pcx": encoded(rgb, "PCX"),
    "rgb.sgi": encoded(rgb, "SGI"),
    "rgba.dds": encoded(rgba, "DDS"),
    "rgba.qoi": encoded(rgba, "QOI"),
  }
  for number in range(1, 9):
    out[f"turned_{number}.jpg"] = with_orientation(number)
  for kind in ("PNG", "WEBP", "TIFF", "AVIF"):
    out[f"turned_6.{kind.lower()}"] = with_orientation(6, kind)
  return out


def deep_files():
  """{name: (bytes, the 8-bit values that it shows, as Pillow's mode L)} of more than 8 bits."""
  grey = pixels()[..., 0]
  wide, floats = Image.fromarray(grey.astype(np.uint16) * 257), grey.astype(np.float32)
  return {
    "grey16.png": (encoded(wide), grey),
    "grey16.tif": (encoded(wide, "TIFF"), grey),
    "big_endian.tif": (encoded(of_mode("I;16B"), "TIFF"), grey),
    "grey16.pgm": (encoded(wide, "PPM"), grey),
    "int32.tif": (encoded(Image.fromarray(grey.astype(np.int32) * 257), "TIFF"), grey),
    "float_255.tif": (encoded(Image.fromarray(floats), "TIFF"), grey),
    "float_1.tif": (encoded(Image.fromarray(floats / 255), "TIFF"), grey),
    "int32_8.tif": (encoded(Image.fromarray(grey.astype(np.int32)), "TIFF"), grey),
  }


def opened(data):
  image = Image.open(io.BytesIO(data))
  image.load()
  return image


def heic(array):
  """A HEIC file of u8[H, W, 3]; raises ImportError without the extra."""
  import pillow_heif

  out = io.BytesIO()
  pillow_heif.from_bytes("RGB", array.shape[1::-1], array.tobytes()).save(out)
  return out.getvalue()


def all_files():
  """{name: bytes} of all formats that can be made here."""
  deep = {name: data for name, (data, _) in deep_files().items()}
  try:
    return {**files(), **deep, "rgb.heic": heic(pixels(3))}
  except ImportError:  # an extra
    return {**files(), **deep}


def mutated(rng, files, name):
  """A damaged copy of a file."""
  data = bytearray(files[name])
  at = rng.integers(len(data))
  kind = rng.integers(6)
  if kind == 0:
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
      data[at] ^= 1 << rng.integers(8)
  elif kind == 1:
    del data[at:]
  elif kind == 2:  # goes on as another file
    other = [*files.values()][rng.integers(len(files))]
    data[at:] = other[rng.integers(len(other)) :]
  elif kind == 3:  # sizes and lengths in the header
    at = rng.integers(min(len(data), 120))
    data[at : at + 4] = LENGTHS[rng.integers(len(LENGTHS))]
  elif kind == 4:
    data[at : at + rng.integers(1, 40)] = rng.bytes(rng.integers(1, 40))
  else:
    data[at : at + 200] = bytes(len(data[at : at + 200]))
  return bytes(data)
