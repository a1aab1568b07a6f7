"""Fetches a media file by http, within limits of time and size"""

import http.client
import time
import urllib.error
import urllib.request

from cot_rm.media.options import Options
from cot_rm.schema import BadMedia

CHUNK = 2**16  # bytes


def fetch(url: str, *, name: str, options: Options) -> bytes:
  """The bytes at an http:// or https:// URL.

  Args:
    url: redirects are followed.
    name: the sample's name in errors.
    options: whether anything is fetched, and the limits.

  Raises BadMedia if nothing may be fetched, if there is nothing, or if it is too large or too slow.
  """
  label = f"{name}: {url[:200]!r}"
  if not options.http:
    raise BadMedia(
      f"{label} is on the network, from which nothing is fetched; set config.data.http=True "
      "(media.Options(http=True)), or download it first"
    )
  end, got = time.monotonic() + options.http_timeout, bytearray()
  try:
    request = urllib.request.Request(url, headers={"User-Agent": "cot_rm"})
    with urllib.request.urlopen(request, timeout=options.http_timeout) as reply:
      while chunk := reply.read1(CHUNK):
        got += chunk
        if len(got) > options.http_bytes:
          raise BadMedia(
            f"{label}: more than {options.http_bytes:,} bytes (config.data.http_bytes)"
          )
        if time.monotonic() > end:
          raise TimeoutError("timed out")
      if reply.length:  # as the header says, less what came
        raise BadMedia(f"{label}: the connection ended {reply.length:,} bytes early")
  except TimeoutError as error:
    raise BadMedia(
      f"{label}: not there after {options.http_timeout:g} s (config.data.http_timeout)"
    ) from error
  except (OSError, http.client.HTTPException, ValueError) as error:
    if isinstance(error, BadMedia):
      raise
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
      reason = f"not there after {options.http_timeout:g} s (config.data.http_timeout)"
    code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    raise BadMedia(f"{label} cannot be fetched: {code}{reason}") from error
  return bytes(got)
