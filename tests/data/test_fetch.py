import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.data import fetch as module
from pipeline.data.fetch import fetch, local_name
from pipeline.errors import UserError

BODY = bytes(range(256)) * 3000
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A server on localhost whose behaviour each test sets; `log` has the path and Range of every request."""
    monkeypatch.setattr(module, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        log, body, tag, drops, status, ranges = [], BODY, '"v1"', 0, None, True

        def do_GET(self):
            cls = type(self)
            wish = self.headers.get("Range")
            cls.log.append((self.path, wish))
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "file:///etc/hostname")
                self.end_headers()
                return
            if cls.status:
                self.send_error(cls.status)
                return
            start = 0
            if wish and cls.ranges and self.headers.get("If-Range") == cls.tag:
                start = int(wish.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(cls.body) - 1}/{len(cls.body)}")
            else:
                self.send_response(200)
            if cls.tag:
                self.send_header("ETag", cls.tag)
            rest = cls.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if cls.drops > 0:
                cls.drops -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def log_message(self, *args):
            pass

    Handler.log = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    Handler.url = f"http://127.0.0.1:{running.server_port}"
    yield Handler
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.drops = 2
    seen = []
    path = fetch(f"{server.url}/a.fits", tmp_path, SUM, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    half, quarter = len(BODY) // 2, len(BODY) * 3 // 4
    assert [wish for _, wish in server.log] == [None, f"bytes={half}-", f"bytes={quarter}-"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [file.name for file in tmp_path.iterdir()] == [local_name(f"{server.url}/a.fits")]


def test_a_later_call_goes_on_and_a_finished_file_is_not_fetched_again(server, tmp_path):
    server.drops = 99
    with pytest.raises(UserError, match="after 5 attempts"):
        fetch(f"{server.url}/a.fits", tmp_path)
    server.drops = 0
    path = fetch(f"{server.url}/a.fits", tmp_path, SUM)
    assert path.read_bytes() == BODY
    assert server.log[-1][1] is not None
    count = len(server.log)
    assert fetch(f"{server.url}/a.fits", tmp_path, SUM) == path
    assert len(server.log) == count


@pytest.mark.parametrize("change", ["other file", "no tag", "no ranges"])
def test_parts_of_two_versions_are_never_joined(server, tmp_path, monkeypatch, change):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    server.drops = 1
    server.tag = "" if change == "no tag" else '"v1"'
    with pytest.raises(UserError):
        fetch(f"{server.url}/a.fits", tmp_path)
    if change == "other file":
        server.tag, server.body = '"v2"', BODY[::-1]
    server.ranges = change != "no ranges"
    assert fetch(f"{server.url}/a.fits", tmp_path).read_bytes() == server.body


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(UserError, match="has the sha256"):
        fetch(f"{server.url}/a.fits", tmp_path, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_on_disk_is_fetched_again(server, tmp_path):
    path = fetch(f"{server.url}/a.fits", tmp_path, SUM)
    path.write_bytes(b"damaged")
    assert fetch(f"{server.url}/a.fits", tmp_path, SUM).read_bytes() == BODY


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 5)])
def test_only_passing_errors_are_tried_again(server, tmp_path, status, requests):
    server.status = status
    with pytest.raises(UserError, match=str(status)):
        fetch(f"{server.url}/a.fits", tmp_path)
    assert len(server.log) == requests


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "a.fits", "http:///a"])
def test_only_http_is_fetched(tmp_path, url):
    with pytest.raises(UserError, match="not an http or https address"):
        fetch(url, tmp_path)


def test_a_redirect_to_a_local_file_is_refused(server, tmp_path):
    with pytest.raises(UserError, match=r"cannot be fetched|not http or https"):
        fetch(f"{server.url}/moved", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["../../etc/passwd", "%2e%2e%2fpasswd", "a/..", "", "x" * 400 + ".fits", ".hidden"])
def test_names_stay_in_the_folder(end):
    name = local_name(f"http://host/{end}")
    assert "/" not in name and not name.startswith(".") and len(name) < 120
    assert local_name("http://one/a.fits") != local_name("http://two/a.fits")


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(f"{server.url}/a.fits", tmp_path / "file")
