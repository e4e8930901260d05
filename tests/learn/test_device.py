import subprocess
import sys

import pytest
import torch

from pipeline.errors import UserError
from pipeline.learn import device as room
from pipeline.learn.device import CudaDevice, claim, describe_device, pick_device

DEVICES = [CudaDevice(0, "a", 10), CudaDevice(1, "b", 30), CudaDevice(2, "c", 20)]


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Claims end with the process; here they end with the test."""
    monkeypatch.setattr(room, "_claimed", {})
    yield
    for handle in room._claimed.values():
        room.os.close(handle)


@pytest.fixture
def cuda(monkeypatch, tmp_path):
    """A machine with three CUDA devices, of which the second has most free memory."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(room, "_visible", lambda count: DEVICES[:count])
    monkeypatch.setattr(room.tempfile, "gettempdir", lambda: str(tmp_path))


def test_cpu_is_there_always():
    assert pick_device("cpu") == torch.device("cpu")


def test_auto_without_cuda_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="no usable CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize("wish", ["gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", ""])
def test_what_is_not_a_device_is_refused(wish):
    with pytest.raises(UserError, match="is not a device"):
        pick_device(wish)


def test_auto_takes_the_emptiest_and_a_number_what_it_says(cuda):
    assert pick_device("auto") == torch.device("cuda", 1)
    assert pick_device("cuda") == torch.device("cuda", 1)
    assert pick_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(UserError, match="the last CUDA device is cuda:2"):
        pick_device("cuda:3")


def test_torchrun_gives_each_process_its_own(cuda, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert pick_device("auto") == torch.device("cuda", 2)


def test_the_lock_of_another_process_counts_until_it_dies(tmp_path):
    assert claim(DEVICES, tmp_path).uuid == "b"
    (path,) = tmp_path.iterdir()
    room.os.close(room._claimed.popitem()[1])
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert claim(DEVICES, tmp_path).uuid == "c"
        other.kill()
    assert claim(DEVICES, tmp_path).uuid == "b"


def test_a_process_keeps_its_device_and_the_last_ones_share(tmp_path):
    assert claim(DEVICES, tmp_path).uuid == "b"
    assert claim(DEVICES, tmp_path).uuid == "b"
    for uuid in ("c", "a", "b"):
        room._claimed, held = {}, room._claimed
        assert claim(DEVICES, tmp_path).uuid == uuid
        room._claimed = {**held, **room._claimed}


def test_description():
    about = describe_device("cpu")
    assert about["kind"] == "cpu" and about["name"] and about["cores"] >= 1 and about["memory_gib"] > 0
