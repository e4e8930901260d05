"""Peak memory and speed of `fleming detect` on a frame as large as those of the SDC1.

    python benchmarks/detect_memory.py --image field.fits --work DIR [--side 32768]

The frame repeats an image over and over on disk. Writes benchmarks/results/detect_memory.json.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from record import record

from pipeline.sky.frame import read_frame


def enlarge(image: Path, out: Path, side: int) -> None:
    """Write a square frame of `side` pixels that repeats `image`, row by row; no more than one repetition in memory."""
    frame = read_frame(image, kind="image")
    header = frame.wcs.to_header()
    for key, value in (("BMAJ", frame.beam.major), ("BMIN", frame.beam.minor), ("BPA", frame.beam.pa)):
        header[key] = value
    header["BUNIT"], header["RESTFRQ"] = "Jy/beam", frame.header.get("RESTFRQ", 5.6e8)
    primary = fits.PrimaryHDU(np.zeros((1, 1), ">f4"), header).header
    primary["NAXIS1"], primary["NAXIS2"] = side, side
    rows, columns = frame.data.shape
    across = -(-side // columns)
    with open(out, "wb") as stream:
        stream.write(primary.tostring().encode("ascii"))
        for start in range(0, side, rows):
            band = np.tile(frame.data[: min(rows, side - start)], (1, across))[:, :side]
            stream.write(band.astype(">f4").tobytes())
        stream.write(b"\0" * (-(side * side * 4) % 2880))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=32768)
    told = parser.parse_args()
    big, out = told.work / "large.fits", told.work / "large-catalogue.fits"
    enlarge(told.image, big, told.side)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.cli", "detect", str(big), "--out", str(out)], check=True)
    took = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with fits.open(out) as hdus:
        sources = int(hdus[1].header["NAXIS2"])
    big.unlink()
    pixels = told.side**2 / 1e6
    found = {"side": told.side, "sources": sources, "peak_gigabytes": used.ru_maxrss * 1024 / 1e9, "seconds": took}
    record("detect_memory", found | {"mpix_per_cpu_second": pixels / (used.ru_utime + used.ru_stime)})


if __name__ == "__main__":
    main()
