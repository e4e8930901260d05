"""Where the numbers are crunched: which processor, how many threads, and its description for the report."""

import fcntl
import os
import platform
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import UserError

_claimed: dict[str, int] = {}


@dataclass(frozen=True)
class CudaDevice:
    """A visible CUDA device: its index in this process, its machine-wide identity, its free memory [byte]."""

    index: int
    uuid: str
    free: int


def pick_device(wish: str = "auto") -> torch.device:
    """The device to compute on.

    `auto` is the CUDA device with the most free memory that no other local process of this user has picked, or the
    CPU where there is none; under torchrun it is the device of the process's local rank. CUDA_VISIBLE_DEVICES is
    respected.

    Raises
    ------
    UserError : the wish is not a device, or this machine does not have it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, colon, number = wish.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and number.isdigit())):
        raise UserError(f'device "{wish}"', "is not a device", "choose auto, cpu, cuda or cuda:<number>")
    if kind == "cpu" or (kind == "auto" and count == 0):
        return torch.device("cpu")
    if count == 0:
        raise UserError(f'device "{wish}"', "this machine has no usable CUDA device", "choose auto or cpu")
    if colon:
        if int(number) >= count:
            last = f"cuda:{count - 1}"
            raise UserError(f'device "{wish}"', f"the last CUDA device is {last}", "choose auto or a smaller number")
        return torch.device("cuda", int(number))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % count)
    devices = list(_visible(count))
    if not devices:
        raise UserError(f'device "{wish}"', "every CUDA device is taken by another process", "wait, or choose cpu")
    return torch.device("cuda", claim(devices, Path(tempfile.gettempdir())).index)


def _visible(count: int) -> Iterable[CudaDevice]:
    for index in range(count):
        try:
            free, _ = torch.cuda.mem_get_info(index)
        except RuntimeError:
            # A device in exclusive-process mode refuses everyone but its owner.
            continue
        yield CudaDevice(index, str(torch.cuda.get_device_properties(index).uuid), free)


def claim(devices: Iterable[CudaDevice], folder: Path) -> CudaDevice:
    """The device with the most free memory whose lock file in `folder` is free; it stays locked until the process ends.

    Free memory alone would send processes that start together to the same device. When all are locked, the one with
    the most free memory is shared. The operating system drops the lock of a process that dies.
    """
    ranked = sorted(devices, key=lambda device: (-device.free, device.index))
    for device in ranked:
        path = str(folder / f"fleming-{os.getuid()}-{device.uuid}.lock")
        if path in _claimed:
            return device
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        _claimed[path] = handle
        return device
    return ranked[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_device(device: torch.device | str) -> dict[str, str | int | float]:
    """What the report says about a device: `kind`, `name`, `cores` (of the CPU), `threads`, `memory_gib`."""
    device = torch.device(device)
    common = {"cores": _cores(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    else:
        name, memory = _processor(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"kind": device.type, "name": name, **common, "memory_gib": round(memory / 2**30, 1)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
