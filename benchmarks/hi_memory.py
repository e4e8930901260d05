"""Memory, speed and resumption of `fleming detect` on a cube that is larger than the memory that it may take.

    python benchmarks/hi_memory.py --cube simulated/test-0/cube.fits --work DIR [--repeat 2 3]

The cube is repeated on the sky, on disk. It is searched once, and again by a run that is killed without warning when
half of its chunks are done and started anew, whose catalogue must be the same. It writes hi_memory.json.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from record import record


def enlarge(cube: Path, out: Path, rows: int, columns: int) -> tuple[int, ...]:
    """Write `cube` (f, y, x) repeated on the sky, channel by channel; the shape of the result."""
    with fits.open(cube, memmap=True) as hdus:
        header, data = hdus[0].header.copy(), hdus[0].data
        shape = (len(data), rows * data.shape[1], columns * data.shape[2])
        header["NAXIS2"], header["NAXIS1"] = shape[1:]
        with open(out, "wb") as stream:
            stream.write(header.tostring().encode("ascii"))
            for plane in data:
                stream.write(np.tile(plane, (rows, columns)).astype(">f4").tobytes())
            stream.write(b"\0" * (-int(np.prod(shape, dtype=np.int64)) * 4 % 2880))
    return shape


def start(cube: Path, out: Path, memory: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "detect", str(cube), "--out", str(out), "--memory", str(memory),
         "--chunks", f"{out}.kept"]
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[float, float]:
    """Peak memory [GB] and processor time [s] of a run, which must end well."""
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the search ended with {status}")
    return used.ru_maxrss * 1024 / 1e9, used.ru_utime + used.ru_stime


def chunks(out: Path) -> int:
    """How many chunks, of voxels and of candidates, a search has kept."""
    return len(list(Path(f"{out}.kept").glob("*/chunk_*.npz")))


def kill_half_way(process: subprocess.Popen, out: Path, done: int) -> None:
    """Kill a search without warning when it has kept so many chunks, which it must not outlive."""
    while chunks(out) < done:
        if process.poll() is not None:
            raise SystemExit("the search ended before it could be killed")
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


def rows(path: Path) -> bytes:
    with fits.open(path) as hdus:
        return hdus[1].data.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cube", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeat", type=int, nargs=2, default=(2, 3), help="times along y and x")
    parser.add_argument("--memory", type=float, default=4.0, help="that the search may take [GB]")
    told = parser.parse_args()
    big, one, other = (told.work / name for name in ("large.fits", "whole.fits", "resumed.fits"))
    shape = enlarge(told.cube, big, *told.repeat)
    began = time.perf_counter()
    peak, burnt = finish(start(big, one, told.memory))
    took = time.perf_counter() - began
    kill_half_way(start(big, other, told.memory), other, chunks(one) // 2)
    began = time.perf_counter()
    again, _ = finish(start(big, other, told.memory))
    figures = {
        "shape": list(shape),
        "gigabytes": big.stat().st_size / 1e9,
        "allowed_gigabytes": told.memory,
        "peak_gigabytes": max(peak, again),
        "seconds": took,
        "seconds_after_the_kill": time.perf_counter() - began,
        "mvoxel_per_cpu_second": float(np.prod(shape, dtype=np.int64)) / 1e6 / burnt,
        "galaxies": len(fits.getdata(one)),
        "same_catalogue": rows(one) == rows(other),
    }
    for path in (big, one, other):
        path.unlink()
        shutil.rmtree(f"{path}.kept", ignore_errors=True)
    record("hi_memory", figures)


if __name__ == "__main__":
    main()
