"""Writing whole or not at all."""

import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from pipeline.errors import UserError, UserErrors
from pipeline.files import atomic, read_json, sha256, write_json, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["result.txt"]


def test_a_whole_write_replaces_the_file_with_the_usual_permissions(tmp_path):
    path = tmp_path / "new" / "folder" / "result.txt"
    with atomic(path) as beside:
        assert beside.suffix == ".txt"
        assert not path.exists()
        beside.write_text("whole")
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    assert path.read_text() == "whole"
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(os.stat(plain).st_mode)


def test_the_litter_of_a_killed_writer_is_removed_by_the_next_and_that_of_a_living_one_stays(tmp_path):
    path = tmp_path / "big.h5"
    code = f"import os, signal\nfrom pipeline.files import atomic\nwith atomic({str(path)!r}) as beside:\n"
    code += "    beside.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (litter,) = tmp_path.iterdir()
    with atomic(path) as mine:
        assert not litter.exists()
        write_text(path, "other")
        assert mine.parent.exists()
        mine.write_text("whole")
    assert path.read_text() == "whole"
    assert [item.name for item in tmp_path.iterdir()] == ["big.h5"]


def test_a_file_among_the_parents_is_the_users_problem(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "file" / "result.txt", "x")
    with pytest.raises(UserError, match="name a file, not a folder"):
        write_text(tmp_path, "x")


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5, None, "text"]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"x": None, "y": [None, 1.5, None, "text"]}
    assert read_json(tmp_path / "a.json")["y"][1] == 1.5


def test_json_that_is_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "b.json")


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_errors_keep_every_problem():
    one, two = UserError("a", "is wrong", "mend it"), UserError("b", "is bad", "drop it")
    both = UserErrors([one, UserErrors([two])])
    assert both.problems == [one, two]
    assert str(both) == "a: is wrong; mend it.\nb: is bad; drop it."
