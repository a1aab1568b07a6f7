"""Nothing is fetched without the knob; with it within the limits."""

import http.server
import threading
import time

import numpy as np
import pytest
from PIL import Image

from cot_rm import media
from cot_rm.media import fetching
from cot_rm.models.qwen2_5_vl import config as config_lib
from cot_rm.models.qwen2_5_vl import settings as settings_lib
from cot_rm.models.qwen2_5_vl import visuals
from cot_rm.schema import BadMedia
from tests.media.media_files import NAME, colours, encoded

PIXELS = colours(20, 30)
DATA = encoded(Image.fromarray(PIXELS))


class Handler(http.server.BaseHTTPRequestHandler):
  asked = []  # paths, in their order

  def do_GET(self):
    self.asked.append(self.path)
    if self.path.startswith("/busy") and self.asked.count(self.path) < 3:
      self.send_error(503)
      return
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
    ("/page", {}, "/page is no readable picture: it is a web page"),
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


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, monkeypatch):
  monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01))
  Handler.asked.clear()
  options = media.Options(http=True)
  assert media.encoded_picture(f"{server}/busy.png", name=NAME, options=options) == DATA
  with pytest.raises(BadMedia, match="404"):
    media.picture(f"{server}/missing.png", name=NAME, options=options)
  with pytest.raises(BadMedia, match="cannot be fetched: the connection ended 9 bytes early"):
    media.picture(f"{server}/cut.png", name=NAME, options=options)
  assert Handler.asked == ["/busy.png"] * 3 + ["/missing.png"] + ["/cut.png"] * 3


def test_a_url_is_written_as_browsers_write_it(server):
  Handler.asked.clear()
  for path in ("/a b.png", "/a%20b.png", "/blå.png?q=ü&x=1"):
    media.picture(server + path, name=NAME, options=media.Options(http=True))
  assert Handler.asked == ["/a%20b.png", "/a%20b.png", "/bl%C3%A5.png?q=%C3%BC&x=1"]


def test_a_prompt_fetches_a_picture_once(server, monkeypatch):
  monkeypatch.setattr(Handler, "asked", [])
  settings = settings_lib.Settings(min_pixels=784, max_pixels=78_400)
  options = media.Options(http=True)
  for source in (f"{server}/a.png", {"url": f"{server}/a.png"}):
    part = {"type": "image", "image": source}
    shown = visuals.visual(part, config_lib.VisionConfig(), settings, options, NAME)
    assert [np.asarray(frame).shape for frame in shown.read()] == [(20, 30, 3)]
  assert Handler.asked == ["/a.png"] * 2
  part = {"type": "image", "image": f"{server}/page"}
  with pytest.raises(BadMedia, match=f"{NAME}: .*/page.*it is a web page"):
    visuals.visual(part, config_lib.VisionConfig(), settings, options, NAME)
