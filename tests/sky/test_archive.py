"""Sources: a file, the same file packed, and the same file in an archive are the same bytes."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.sky.archive import open_source, read_source, source_exists, split_source

TEXT = b"4000 1\n4001 2\n"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "spectra.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("libr18/a.rbn", TEXT)
        made.writestr("a.gz", gzip.compress(TEXT))
        made.writestr("empty", b"")
    return path


def test_every_way_gives_the_same_bytes(tmp_path, archive):
    (tmp_path / "a.rbn").write_bytes(TEXT)
    (tmp_path / "a.gz").write_bytes(gzip.compress(TEXT))
    sources = [tmp_path / "a.rbn", tmp_path / "a.gz", archive / "libr18/a.rbn", str(archive / "a.gz")]
    assert [read_source(source) for source in sources] == [TEXT] * 4
    assert all(source_exists(source) for source in sources)
    assert open_source(tmp_path / "a.rbn") == tmp_path / "a.rbn"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "a.rbn", "spectra.zip"]


def test_a_folder_called_zip_is_a_folder(tmp_path):
    (tmp_path / "odd.zip").mkdir()
    (tmp_path / "odd.zip" / "a").write_bytes(TEXT)
    assert split_source(tmp_path / "odd.zip" / "a") == (tmp_path / "odd.zip" / "a", None)
    assert read_source(tmp_path / "odd.zip" / "a") == TEXT


def test_a_changed_archive_or_gzip_file_is_read_anew(tmp_path, archive):
    packed = tmp_path / "a.gz"
    for content in (TEXT, b"other and longer"):
        packed.write_bytes(gzip.compress(content))
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("x", content)
        assert read_source(packed) == content
        assert read_source(archive / "x") == content


@pytest.mark.parametrize("member", ["nope", "libr18", "libr18/a.rbn/x"])
def test_absent_member(archive, member):
    assert not source_exists(archive / member)
    with pytest.raises(UserError, match="has no member"):
        open_source(archive / member)


def test_a_member_cannot_leave_its_archive(archive):
    for function in (open_source, split_source):
        with pytest.raises(UserError, match="leaves its archive"):
            function(archive / ".." / "secret")


def test_a_member_that_unpacks_to_too_much(archive, monkeypatch):
    monkeypatch.setattr("pipeline.sky.archive.MEMBER_LIMIT", 3)
    with pytest.raises(UserError, match="bytes inside its archive"):
        open_source(archive / "libr18/a.rbn")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(TEXT)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        open_source(path)


def test_absent_things_do_not_exist(tmp_path, archive):
    (tmp_path / "bad.zip").write_bytes(b"PK no")
    assert not any(source_exists(Path(tmp_path, name)) for name in ("nope", "bad.zip/x", "."))
