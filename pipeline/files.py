"""Writing files whole or not at all: write beside, then rename."""

import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

_HOST = socket.gethostname().split(".")[0]
_REMEDIES = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EDQUOT: "free some of your quota or write to another disk",
    errno.EFBIG: "raise the file-size limit (ulimit -f) or write to another disk",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on a writable disk",
    errno.ENOTDIR: "choose a path whose parents are folders",
    errno.EEXIST: "choose a path whose parents are folders",
    errno.EISDIR: "name a file, not a folder",
    errno.ENXIO: "name a file, not a device or a pipe",
}


def write_error(path: str | os.PathLike, error: OSError) -> UserError:
    """The sentence for an operating-system error met while writing `path`."""
    number = _number(error)
    reason = (os.strerror(number) if number else str(error)).lower()
    remedy = _REMEDIES.get(number, "check the disk and the path, then run again")
    return UserError(path, f"cannot be written ({reason})", remedy)


def _number(error: BaseException | None) -> int | None:
    """The number of the system's error; astropy raises it again without, as the context of its own."""
    if error is None:
        return None
    return getattr(error, "errno", None) or _number(error.__cause__ or error.__context__)


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` only when the block succeeds.

    The temporary file keeps the suffixes of `path`, because writers choose a format by them.
    Parent folders are made. Whatever goes wrong, `path` is either the old file or the whole new one.

    Raises
    ------
    UserError : `path` cannot be written (no permission, disk full, parent is a file, ...).
    """
    path = Path(path)
    try:
        _check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.{_HOST}.{os.getpid()}.", dir=path.parent))
    except OSError as error:
        raise write_error(path, error) from error
    try:
        beside = folder / path.name
        yield beside
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tidy(path: Path) -> None:
    """Remove what a process of this machine that was killed while writing `path` left beside it."""
    for litter in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(_HOST)}.*.*"):
        owner = litter.name.split(".")[-2]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(litter, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def check_output(path: str | os.PathLike) -> None:
    """Find out now, without a trace, what would stop a file from being written to `path` after hours of work.

    Raises
    ------
    UserError : `path` is a folder or a device, a parent is a file, or its folder may not be written to.
    """
    path = Path(path)
    try:
        _check_place(path)
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise _problem(errno.ENOTDIR)
        # Permission bits do not bind every user and do not tell of a read-only disk: only trying does.
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=folder).cleanup()
    except OSError as error:
        raise write_error(path, error) from error


def check_distinct(outputs: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike] = ()) -> None:
    """Find out before anything is written whether one file would replace another that is still wanted.

    Raises
    ------
    UserError : an output is one of the inputs, or two outputs are one file.
    """
    known = {os.path.realpath(path): "is read by this command, and would be lost" for path in inputs}
    for path in outputs:
        place = os.path.realpath(path)
        if place in known:
            raise UserError(path, known[place], "give the output a name of its own")
        known[place] = "is named as an output twice"


def _check_place(path: Path) -> None:
    # Renaming onto a device such as /dev/null would remove it for everyone.
    if path.exists() and not path.is_file():
        raise _problem(errno.EISDIR if path.is_dir() else errno.ENXIO)


def _problem(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def scratch(folder: str | os.PathLike) -> Iterator[Path]:
    """A folder that is gone before and afterwards, however it went; what writes into it makes it."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 `text` to `path`, whole or not at all."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity become null, which is what JSON can hold."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON from `path`.

    Raises
    ------
    UserError : the file is absent or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(path, "does not exist", "run the stage that writes it first") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            path, f"is not valid JSON ({error})", "delete it and run the stage that writes it again"
        ) from error


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal text."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
