"""Nothing is fetched without the knob; with it within the limits."""

import http.server
import threading
import time

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.schema import BadMedia
from tests.media.media_files import NAME, colours, encoded

PIXELS = colours(20, 30)
DATA = encoded(Image.fromarray(PIXELS))


class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    if self.path == "/slow.png":
      time.sleep(1)
    if self.path == "/moved.png":
      self.send_response(302)
      self.send_header("Location", "/a.png")
      self.end_headers()
      return
    if self.path == "/missing.png":
      self.send_error(404)
      return
    data = b"<html>sorry</html>" if self.path == "/page" else DATA
    self.send_response(200)
    self.send_header("Content-Length", str(len(data) + 9 * (self.path == "/cut.png")))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *args):
    pass


@pytest.fixture(scope="module")
def server():
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


@pytest.mark.parametrize("path", ["/a.png", "/moved.png", "/a.png?size=3"])
def test_a_url_is_fetched_with_the_knob(server, path):
  options = media.Options(http=True)
  got = media.picture(server + path, name=NAME, options=options)
  np.testing.assert_array_equal(np.asarray(got), PIXELS)
  assert media.picture_size({"url": server + path}, name=NAME, options=options) == (30, 20)
  assert media.encoded_picture(server + path, name=NAME, options=options) == DATA


@pytest.mark.parametrize("url", ["http://a.invalid/a.png", "HTTPS://a.invalid/a.png"])
def test_without_the_knob_nothing_is_fetched_and_the_error_names_it(url):
  with pytest.raises(BadMedia, match=f"{NAME}: .*set config.data.http=True .*download it first"):
    media.picture(url, name=NAME)


@pytest.mark.parametrize(
  "path, settings, words",
  [
    ("/missing.png", {}, "cannot be fetched: 404 "),
    ("/a.png", {"http_bytes": 50}, "more than 50 bytes .config.data.http_bytes"),
    ("/slow.png", {"http_timeout": 0.2}, "not there after 0.2 s .config.data.http_timeout"),
    ("/cut.png", {}, "ended|IncompleteRead|early"),
    ("/page", {}, "no picture format begins with b'<html>"),
  ],
)
def test_what_cannot_be_fetched_is_bad_media(server, path, settings, words):
  with pytest.raises(BadMedia, match=words) as caught:
    media.picture(server + path, name=NAME, options=media.Options(http=True, **settings))
  assert NAME in str(caught.value)


def test_a_server_that_is_not_there_is_bad_media():
  with pytest.raises(BadMedia, match="cannot be fetched"):
    media.picture("http://127.0.0.1:9/a.png", name=NAME, options=media.Options(http=True))


def test_a_strange_url_is_bad_media():
  for url in ("http://", "http://a b/c", "http://[::1/x", "https://\x00"):
    with pytest.raises(BadMedia, match=NAME):
      media.picture(url, name=NAME, options=media.Options(http=True, http_timeout=1))
