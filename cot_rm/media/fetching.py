"""Fetches a media file by http, within limits of time and size"""

import http.client
import string
import time
import urllib.error
import urllib.parse
import urllib.request

from cot_rm.media import machine_errors
from cot_rm.media.options import Options
from cot_rm.schema import BadMedia

CHUNK = 2**16  # bytes
PAUSES = (0.5, 2.0)  # seconds before another try, where a server is busy or a connection is lost
BUSY = (408, 425, 429, 500, 502, 503, 504)  # what such a server answers


def fetch(url: str, *, name: str, options: Options) -> bytes:
  """The bytes at an http:// or https:// URL.

  A request is made again, twice at most, where the server is busy or the connection is lost.

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
  end = time.monotonic() + options.http_timeout
  try:
    for pause in PAUSES:
      try:
        return _read(url, end, label, options)
      except (OSError, http.client.HTTPException) as error:
        if not _passing(error) or time.monotonic() + pause > end:
          raise
      time.sleep(pause)
    return _read(url, end, label, options)
  except TimeoutError as error:
    raise BadMedia(
      f"{label}: not there after {options.http_timeout:g} s (config.data.http_timeout)"
    ) from error
  except (OSError, http.client.HTTPException, ValueError) as error:
    if isinstance(error, BadMedia) or machine_errors.is_of_machine(error):
      raise
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
      reason = f"not there after {options.http_timeout:g} s (config.data.http_timeout)"
    code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    raise BadMedia(f"{label} cannot be fetched: {code}{reason}") from error


def _read(url: str, end: float, label: str, options: Options) -> bytes:
  """One try, until the moment `end` of the monotonic clock."""
  got = bytearray()
  request = urllib.request.Request(_ascii(url), headers={"User-Agent": "cot_rm"})
  seconds = max(end - time.monotonic(), 0.001)
  with urllib.request.urlopen(request, timeout=seconds) as reply:
    while chunk := reply.read1(CHUNK):
      got += chunk
      if len(got) > options.http_bytes:
        raise BadMedia(f"{label}: more than {options.http_bytes:,} bytes (config.data.http_bytes)")
      if time.monotonic() > end:
        raise TimeoutError("timed out")
    if reply.length:  # as the header says, less what came
      raise ConnectionError(f"the connection ended {reply.length:,} bytes early")
  return bytes(got)


def _ascii(url: str) -> str:
  """The URL in the form of a request, as browsers make it: blanks and accents in %XX."""
  parts = urllib.parse.urlsplit(url.strip())
  host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
  return urllib.parse.quote(parts._replace(netloc=host).geturl(), safe=string.punctuation)


def _passing(error: Exception) -> bool:
  """Whether the same request may succeed a moment later."""
  if isinstance(error, urllib.error.HTTPError):
    return error.code in BUSY
  reason = getattr(error, "reason", error)
  return isinstance(reason, ConnectionError | http.client.HTTPException)
