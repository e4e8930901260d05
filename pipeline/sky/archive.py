"""Where the bytes of an input come from: a plain file, a gzip file, or a member of a zip archive, never unpacked."""

import gzip
import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError

MEMBER_LIMIT = 2**31
_CACHE_LIMIT = 2**26
_GZIP = b"\x1f\x8b"
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


def split_source(source: str | os.PathLike) -> tuple[Path, str | None]:
    """The file to open and, when `source` goes through a zip archive, the member's name in it.

    `spectra.zip/libr18/t010.rbn` gives (`spectra.zip`, `libr18/t010.rbn`); a folder called `x.zip` is a folder.

    Raises
    ------
    UserError : the member's name climbs out of the archive by `..`.
    """
    path = Path(source)
    for parent in reversed(path.parents):
        if parent.suffix.lower() == ".zip" and parent.is_file():
            member = PurePosixPath(path.relative_to(parent).as_posix())
            if ".." in member.parts:
                raise UserError(source, 'leaves its archive by ".."', "name the member as the archive lists it")
            return parent, str(member)
    return path, None


def source_exists(source: str | os.PathLike) -> bool:
    """Whether `source` is a file, or a member of a readable zip archive."""
    path, member = split_source(source)
    if member is None:
        return path.is_file()
    try:
        return member in _archive(path).NameToInfo
    except UserError:
        return False


def open_source(source: str | os.PathLike) -> Path | bytes:
    """A plain file as its path, so that it can be read by section; a gzip file or zip member as its bytes.

    Raises
    ------
    UserError : absent, a folder, empty, unreadable, a damaged archive or gzip file, an absent or encrypted member.
    """
    path, member = split_source(source)
    if member is not None:
        return _unpacked(_member(path, member, source), source)
    check_file(path)
    if first_bytes(path, 2) != _GZIP:
        return path
    status = path.stat()
    return _gunzip_file(str(path), status.st_mtime_ns, status.st_size)


def read_source(source: str | os.PathLike) -> bytes:
    """All bytes of `source`, unpacked when it is a gzip file or a zip member; raises as `open_source`."""
    content = open_source(source)
    return content if isinstance(content, bytes) else content.read_bytes()


def first_bytes(source: str | os.PathLike, count: int = 64) -> bytes:
    """The first bytes of a plain file, as they are on the disk."""
    with open(source, "rb") as stream:
        return stream.read(count)


def check_file(path: Path) -> None:
    """Raise UserError when `path` is absent, a folder, empty, or may not be read."""
    if not path.exists():
        raise UserError(path, "does not exist", "check the path")
    if path.is_dir():
        raise UserError(path, "is a folder, not a file", "name a file in it")
    try:
        if not first_bytes(path, 1):
            raise UserError(path, "is empty", "fetch or write it again")
    except OSError as error:
        raise UserError(
            path, f"cannot be read ({os.strerror(error.errno).lower()})", "check its permissions"
        ) from error


def _gunzip_file(path: str, modified: int, size: int) -> bytes:
    # Picking the rows of a packed stack one after another must not unpack it each time.
    if size < _CACHE_LIMIT // 4:
        return _gunzip_small(path, modified, size)
    return _unpacked(Path(path).read_bytes(), path)


@lru_cache(maxsize=1)
def _gunzip_small(path: str, modified: int, size: int) -> bytes:
    return _unpacked(Path(path).read_bytes(), path)


def _unpacked(content: bytes, source: object) -> bytes:
    if not content:
        raise UserError(source, "is empty", "fetch or write it again")
    if not content.startswith(_GZIP):
        return content
    try:
        plain = gzip.decompress(content)
    except _DAMAGED as error:
        raise UserError(source, f"is a damaged gzip file ({error})", "fetch it again") from error
    if not plain:
        raise UserError(source, "is empty", "fetch or write it again")
    return plain


def _archive(path: Path) -> zipfile.ZipFile:
    status = path.stat()
    try:
        # A forked process would share the file position, so each process opens its own.
        return _open_archive(str(path), status.st_mtime_ns, status.st_size, os.getpid())
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(path, f"is not a readable zip archive ({error})".lower(), "fetch it again") from error


@lru_cache(maxsize=2)
def _open_archive(path: str, modified: int, size: int, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _member(path: Path, member: str, source: object) -> bytes:
    archive = _archive(path)
    entry = archive.NameToInfo.get(member)
    if entry is None:
        raise UserError(source, f'the archive {path.name} has no member "{member}"', "check the name in the archive")
    if entry.file_size > MEMBER_LIMIT:
        raise UserError(
            source, f"has {entry.file_size} bytes inside its archive", "unpack the archive and name the file"
        )
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(
            source, f"is damaged inside its archive ({error})".lower(), "fetch the archive again"
        ) from error
    except RuntimeError as error:
        raise UserError(
            source, "is encrypted or packed by an unknown method", "unpack the archive and name the file"
        ) from error
