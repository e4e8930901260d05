"""Fetching a file by http or https: resumed where it broke off, checked, and never half there."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from pipeline.errors import UserError
from pipeline.files import sha256 as file_sha256
from pipeline.files import write_error, write_text

Progress = Callable[[int, int | None], None]

ATTEMPTS = 5
TIMEOUT = 30.0  # seconds without a byte
PAUSE = 0.5  # seconds before the second attempt, doubled for each further one
_BLOCK = 1 << 18
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class _Broken(OSError):
    """The transfer stopped early; another attempt may go on from there."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme.lower() not in ("http", "https"):
            raise UserError(req.full_url, "redirects to an address that is not http or https", "fetch the file by hand")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # The default opener also reads file: and ftp: addresses, which a manifest from elsewhere must not reach.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def local_name(url: str) -> str:
    """The file name that `url` is kept under: 8 digits of its hash, then its own name made safe.

    Two addresses that end alike get two names, and the suffix, which tells the format, stays.
    """
    parts = urlsplit(url)
    name = unquote(parts.path).rsplit("/", 1)[-1]
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")[-100:] or "file"
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"


def fetch(url: str, folder: str | Path, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch `url` into `folder` unless it is there already, and return its path.

    A transfer that breaks off is tried again from the byte it reached, also by a later call: what came so far waits
    beside as ``NAME.part``, and is used only when the server says that the file has not changed since.

    Parameters
    ----------
    url : http or https address.
    folder : made when absent; the name inside is `local_name(url)`.
    sha256 : expected checksum, 64 hexadecimal digits; a file with another one is removed.
    progress : called with the bytes so far and the bytes in all (None when the server does not say).

    Raises
    ------
    UserError : not http(s), not found, no answer after several attempts, wrong checksum, or `folder` not writable.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        raise UserError(url, "is not an http or https address", "give an http(s) URL or a local path")
    target = Path(folder) / local_name(url)
    expected = sha256.lower() if sha256 else None
    if target.is_file() and expected in (None, file_sha256(target)):
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(target, error) from error
    _transfer(url, part, progress)
    found = file_sha256(part)
    if expected is not None and found != expected:
        _forget(part)
        what = f"has the sha256 {found}, not {expected}"
        raise UserError(url, what, "correct the sha256 in the manifest, or find out why the file changed")
    try:
        os.replace(part, target)
    except OSError as error:
        raise write_error(target, error) from error
    _forget(part)
    return target


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _attempt(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answers {error.code} {error.reason}"
            if error.code == 416:
                _forget(part)
            elif error.code not in _AGAIN:
                raise UserError(url, f"cannot be fetched, {reason}", "correct the address") from error
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (_Broken, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        except ValueError as error:
            raise UserError(url, f"is not an address ({error})", "correct the address") from error
    what = f"cannot be fetched after {ATTEMPTS} attempts ({reason})"
    raise UserError(url, what, "check the network and run again, the transfer goes on where it stopped")


def _attempt(url: str, part: Path, progress: Progress | None) -> None:
    have, tag = _so_far(part)
    request = urllib.request.Request(url, headers={"User-Agent": "fleming", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag)
    with _opener().open(request, timeout=TIMEOUT) as answer:
        if answer.status == 206 and not _continues(answer, have):
            _forget(part)
            raise _Broken("the server sent another part than was asked for")
        if answer.status == 200:
            have = 0
            _remember(part, answer)
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        _append(answer, part, have, total, progress)


def _continues(answer: http.client.HTTPResponse, have: int) -> bool:
    return have > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _append(
    answer: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: Progress | None
) -> None:
    with _open_part(part, have) as stream:
        stream.seek(have)
        while block := answer.read(_BLOCK):
            try:
                stream.write(block)
                stream.flush()
            except OSError as error:
                raise write_error(part, error) from error
            have += len(block)
            if progress is not None:
                progress(have, total)
    if total is not None and have != total:
        raise _Broken(f"the connection closed after {have} of {total} bytes")


def _open_part(part: Path, have: int) -> IO[bytes]:
    try:
        return part.open("r+b" if have else "wb")
    except OSError as error:
        raise write_error(part, error) from error


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + "-tag")


def _so_far(part: Path) -> tuple[int, str]:
    """Bytes that may be continued and the tag that proves them current; (0, "") to start again."""
    try:
        tag = _tag_file(part).read_text(encoding="utf-8")
        size = part.stat().st_size
    except OSError:
        return 0, ""
    return (size, tag) if tag else (0, "")


def _remember(part: Path, answer: http.client.HTTPResponse) -> None:
    # A weak tag only promises equal meaning, not equal bytes (RFC 9110, section 8.8.1).
    tag = answer.headers.get("ETag", "")
    tag = answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    part.unlink(missing_ok=True)
    write_text(_tag_file(part), tag)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
