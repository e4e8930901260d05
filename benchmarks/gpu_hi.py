"""How fast networks search HI cubes on a CUDA device, and what share of its limit that is.

    python benchmarks/gpu_hi.py

Two networks: that of config/models/hi.txt, and that of YOLO-CIANNA for the SKA Science Data Challenge 2 (Cornu et al.
2024), whose speed is published. Each is measured alone, on numbers that are on the device, in bf16, compiled and not;
and from a FITS file, cold on the disk and in the page cache. Fleming's detector is measured whole too: reading, noise
in every channel, network, suppression. Needs what gpu_detect.py needs. Writes results/gpu_hi.json; without a CUDA
device it stops and says so.
"""

import argparse
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from gpu_detect import PEAK, arithmetic, drop_cache, seconds_a_call, synchronise
from record import record
from throughput import matrix_gflops

from pipeline.data.cube_noise import measure_cube_noise
from pipeline.data.tiles import read_ahead
from pipeline.detect.head import Layout, channels
from pipeline.detect.inputs import network_input
from pipeline.detect.model import load
from pipeline.detect.predict import Search, deepest, plan_tiles
from pipeline.detect.train import Detector
from pipeline.files import atomic
from pipeline.hi.galaxies import NAMES
from pipeline.hi.practice import SkyGeometry
from pipeline.hi.stream import detect_cube
from pipeline.hi.task import RADIUS
from pipeline.nn.cost import describe, total
from pipeline.nn.network import Network, build
from pipeline.nn.notation import network_line
from pipeline.simulate.hi import cube_wcs
from pipeline.simulate.hi_settings import REST_HZ, HiSettings
from pipeline.sky.cube import CubeReader

MODELS = Path(__file__).parent.parent / "config" / "models"
CIANNA_PUBLISHED = 315.0  # Mvoxel/s of the network on an RTX 4090
_OUTPUTS = channels(3, len(NAMES.values), len(NAMES.classes))
_PRECISION = "bf16"
_CROP = (256, 128, 128)
_ON_DISK = (1024, 2048, 2048)
_CORES = ((256, 256, 256), (512, 512, 512), (1024, 512, 512))
_RMS = 3e-5  # of the noise on disk [Jy/beam]


@dataclass(frozen=True)
class Contender:
    """A network for cubes of one channel, by its file, and its outputs."""

    file: str
    outputs: int = _OUTPUTS

    @property
    def line(self) -> str:
        """The whole network."""
        return f"{network_line(str(MODELS / self.file))} C-{self.outputs}.1_linear_none"

    def build(self, crop: tuple[int, ...], device: torch.device) -> Network:
        """The network, untrained and ready to predict, its memory in the order of cubes."""
        torch.manual_seed(1)
        made = build(self.line, 3, (1, *crop)).to(device).eval()
        return made.to(memory_format=torch.channels_last_3d)

    def macs(self) -> float:
        """Multiply-adds a voxel."""
        return total(describe(self.line, 3, (1, *_CROP))).macs / prod(_CROP)


# The reference answers with 14 numbers a box: its position, size, and what it measures.
CONTENDERS = {"Fleming": Contender("hi.txt"), "YOLO-CIANNA SDC2": Contender("yolo-cianna-sdc2.txt", 14)}


def shares(mvoxel: float, macs: float, device: torch.device) -> dict[str, float | None]:
    """The achieved rate of a network of `macs` multiply-adds a voxel, and its share of the device's peak."""
    achieved = 2 * macs * mvoxel / 1e6
    known = device.type == "cuda" and any(kind in torch.cuda.get_device_name(device) for kind in ("H100", "H200"))
    return {
        "mvoxel_per_second": mvoxel,
        "tflops": achieved,
        "share_of_peak": achieved / PEAK[_PRECISION] if known else None,
        "ratio_to_published_cianna": mvoxel / CIANNA_PUBLISHED,
    }


def forward_speed(
    contender: Contender,
    crop: tuple[int, ...],
    batch: int,
    compiled: bool,
    device: torch.device,
    least: float = 0.5,
) -> dict[str, Any]:
    """The network alone, in bf16, on (batch, *crop) voxels that are on the device."""
    network: Any = contender.build(crop, device).to(torch.bfloat16)
    x = torch.randn(batch, 1, *crop, device=device, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    if compiled:
        network = torch.compile(network)
    with torch.inference_mode(), arithmetic(_PRECISION, device):
        took = seconds_a_call(lambda: network(x), device, least)
    case = {"crop": list(crop), "batch": batch, "compiled": compiled}
    return case | shares(batch * prod(crop) / took / 1e6, contender.macs(), device)


def make_cube(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A FITS cube of white noise with the WCS of the simulator's; its blocks of channels are two, in turns."""
    settings = HiSettings(shape=shape, lowest_hz=0.95e9)
    cube, rng, step = SkyGeometry(settings), np.random.default_rng(1), min(64, shape[0])
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3)])
    for axis, length in enumerate(shape[::-1], start=1):
        header[f"NAXIS{axis}"] = length
    header.extend(cube_wcs(settings).to_header())
    header["RESTFRQ"], header["BUNIT"] = REST_HZ, "Jy beam-1"
    header["BMAJ"], header["BMIN"], header["BPA"] = cube.beam.major, cube.beam.minor, cube.beam.pa
    blocks = [(_RMS * rng.standard_normal((step, *shape[1:]), np.float32)).astype(">f4") for _ in range(2)]
    path = folder / "cube.fits"
    with atomic(path) as beside, open(beside, "ab+") as file:
        stream = fits.StreamingHDU(file, header)
        for number, start in enumerate(range(0, shape[0], step)):
            stream.write(blocks[number % 2][: shape[0] - start])
        stream.close()
    return path


def bare_from_disk(contender: Contender, reader: CubeReader, device: torch.device, core: tuple[int, ...]) -> float:
    """Seconds from the file to the network's outputs on the device, chunk by chunk, and nothing else."""
    network = contender.build(_CROP, device).to(torch.bfloat16)
    plan, steps = plan_tiles(network, reader.shape, Search(radius=RADIUS, side=core)), deepest(network)
    told, scale = torch.zeros(1, 0, device=device), 1 / _RMS
    with torch.inference_mode(), arithmetic(_PRECISION, device):
        for size in {_whole(tile.size, steps) for tile in plan}:
            network(network_input(torch.zeros(1, *size, device=device), told).to(torch.bfloat16))
        synchronise(device)
        began = time.perf_counter()
        for tile, pixels in read_ahead(reader.read, plan):
            snr = torch.zeros(1, *_whole(tile.size, steps), device=device)
            snr[(0, *map(slice, tile.size))] = torch.from_numpy(pixels).to(device)
            network(network_input(snr * scale, told).to(torch.bfloat16))
        synchronise(device)
    return time.perf_counter() - began


def _whole(size: tuple[int, ...], steps: list[int]) -> tuple[int, ...]:
    """The sides of a window in whole cells."""
    return tuple(-(-side // step) * step for side, step in zip(size, steps, strict=True))


def whole_from_disk(
    path: Path, detector: Detector, device: torch.device, core: tuple[int, ...]
) -> tuple[float, float, int]:
    """Seconds to measure the noise of a cube, seconds to scan it, and how many detections there are."""
    reader = CubeReader(path)
    began = time.perf_counter()
    noise = measure_cube_noise(reader.read, reader.shape, where=path)
    measured = time.perf_counter() - began
    began = time.perf_counter()
    found = detect_cube(reader, noise, detector, Search(radius=RADIUS, side=core), progress=lambda progress: None)
    synchronise(device)
    return measured, time.perf_counter() - began, len(found)


def disk_speed(
    folder: Path, model: Path | None, device: torch.device, shape: tuple[int, int, int], cores: tuple[tuple, ...]
) -> dict[str, Any]:
    """Mvoxel/s from a FITS file: each network bare, and Fleming's detector whole; first from the cold file."""
    path = make_cube(folder, shape)
    reader, mvoxel, rows = CubeReader(path), prod(shape) / 1e6, []
    detector = _detector(model, device)
    for core, cold in itertools.product(cores, (True, False)):
        case = {"core": list(core), "cold": cold}
        for name, contender in CONTENDERS.items():
            if cold:
                drop_cache(path)
            took = bare_from_disk(contender, reader, device, core)
            rows.append({"what": f"{name}, network"} | case | shares(mvoxel / took, contender.macs(), device))
        if cold:
            drop_cache(path)
        noise, took, count = whole_from_disk(path, detector, device, core)
        row = {"what": "Fleming, detections", "noise_mvoxel_per_second": mvoxel / noise, "detections": count}
        rows.append(row | case | shares(mvoxel / took, CONTENDERS["Fleming"].macs(), device))
    trained = "untrained: hardly a detection to measure" if model is None else model.name
    return {"shape": list(shape), "gib": 4 * prod(shape) / 2**30, "model": trained, "rows": rows}


def _detector(model: Path | None, device: torch.device) -> Detector:
    if model is not None:
        return load(model, device).detector
    network, many = CONTENDERS["Fleming"].build(_CROP, device), 3 + len(NAMES.values)
    steps = tuple(int(step) for step in network.reduction)
    return Detector(network, Layout(NAMES.values, NAMES.classes, steps, (0.0,) * many, (1.0,) * many), NAMES)


def measure(model: Path | None, device: torch.device, shape: tuple[int, int, int] = _ON_DISK) -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {
        "networks": {name: {"line": one.line, "macs_per_voxel": one.macs()} for name, one in CONTENDERS.items()},
        "limits_mvoxel_per_second": {
            name: 1e6 * PEAK[_PRECISION] / (2 * one.macs()) for name, one in CONTENDERS.items()
        },
        "published_cianna_mvoxel_per_second": CIANNA_PUBLISHED,
        "matrix_gflops": {_PRECISION: matrix_gflops(device, _PRECISION, size=8192)},
        "forward": {},
    }
    for name, contender in CONTENDERS.items():
        rows = []
        for batch, compiled in itertools.product((1, 4, 16), (False, True)):
            rows.append(forward_speed(contender, _CROP, batch, compiled, device))
            print(f"{name}, batch {batch}, compiled {compiled}: {_said(rows[-1])}", flush=True)
        figures["forward"][name] = rows
    with tempfile.TemporaryDirectory() as scratch:
        figures["disk"] = disk_speed(
            Path(scratch), model, device, shape, ((256, 256, 256), (512, 512, 512), (1024, 512, 512))
        )
    for row in figures["disk"]["rows"]:
        print(f"{row['what']:26} core {row['core']}, {'cold' if row['cold'] else 'cached'}: {_said(row)}", flush=True)
    return figures


def _said(row: dict[str, Any]) -> str:
    share = row["share_of_peak"]
    return f"{row['mvoxel_per_second']:8.1f} Mvoxel/s" + ("" if share is None else f", {share:.1%} of the peak")


def shipped_model() -> Path | None:
    """The trained detector of galaxies in resources/, if it is there."""
    path = Path(__file__).parent.parent / "resources" / "hi.safetensors"
    return path if path.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=shipped_model(), help="a trained detector")
    parser.add_argument(
        "--shape", type=int, nargs=3, default=_ON_DISK, help="of the cube on disk, frequency y x [pixel]"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_hi.py: this machine has no CUDA device; run it where there is one.", file=sys.stderr)
        return 2
    record("gpu_hi", measure(options.model, torch.device("cuda"), tuple(options.shape)), "cuda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
