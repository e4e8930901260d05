"""How fast detectors search and learn on a CUDA device, and what share of its limit that is.

    python benchmarks/gpu_detect.py --model resources/continuum.safetensors

Two networks: Fleming's, and the backbone of YOLO-CIANNA for the SKA Science Data Challenge 1 (Cornu et al. 2024), whose
speed is published. Each is measured alone, on numbers that are on the device, in every precision, order of memory and
batch, compiled and not; and from a FITS file, cold on the disk and in the page cache. Fleming's detector is measured
whole too: reading, noise, network, suppression; and its training, from crops to the step. Needs all of Fleming's
dependencies but Snakemake and matplotlib. Writes results/gpu_detect.json; without a CUDA device it stops and says so.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record
from throughput import matrix_gflops

from pipeline.data.background import measure_background
from pipeline.data.tiles import read_ahead, tiles
from pipeline.detect.continuum import NAMES
from pipeline.detect.crops import Crops, LabelledField
from pipeline.detect.head import Layout, channels
from pipeline.detect.image import ContinuumImage
from pipeline.detect.inputs import input_channels, network_input
from pipeline.detect.model import load
from pipeline.detect.practice import Practice, practise
from pipeline.detect.predict import Search, detect
from pipeline.detect.settings import NETWORK, DetectorSettings
from pipeline.detect.train import batch_loss, fast_precision
from pipeline.learn.loop import fit
from pipeline.learn.settings import TrainSettings
from pipeline.nn.cost import describe, total
from pipeline.nn.network import Network, build
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.sky.frame import write_frame

# 17 convolutions, 12,622,909 parameters: their group norm has 1,536 fewer, one pair a group instead of one a channel.
YOLO_CIANNA = (
    "act=leaky0.05 C-32.5_p2 C-16.2_s2_p0 C-24.3 C-32.3 C-64.2_s2_p0 C-128.1 C-192.3 C-128.2_s2_p0 C-192.1 C-384.3 "
    "C-256.1 C-384.3 C-512.2_s2_p0 C-768.1 C-1024.3 N-group256 C-2048.1_d0.25 C-117.1_linear"
)
CIANNA_PUBLISHED = 131.0  # Mpix/s on an RTX 4090 in fp16 (CIANNA's own benchmark)
# Dense peak of an H100 or H200 SXM [TFLOP/s], by its data sheet.
PEAK = {"fp32": 67.0, "tf32": 494.5, "fp16": 989.5, "bf16": 989.5, "bf16 autocast": 989.5}
DTYPE = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Contender:
    """A network, the channels of its input, and how many numbers of an image it is told."""

    line: str
    inputs: int
    conditions: int

    def build(self, side: int, device: torch.device) -> Network:
        """The network, untrained and ready to predict."""
        torch.manual_seed(1)
        return build(self.line, 2, (self.inputs, side, side)).to(device).eval()

    def macs(self) -> float:
        """Multiply-adds a pixel."""
        return total(describe(self.line, 2, (self.inputs, 512, 512))).macs / 512**2

    def see(self, snr: torch.Tensor) -> torch.Tensor:
        """(b, y, x) signal-to-noise ratio to the network's input; the beam is a round one of typical size."""
        if not self.conditions:
            return snr[:, None].contiguous(memory_format=torch.channels_last)
        return network_input(snr, snr.new_zeros(len(snr), self.conditions))


_OUTPUTS = channels(2, len(NAMES.values), len(NAMES.classes))
_TOLD = len(NAMES.conditions)
FLEMING = Contender(f"{NETWORK} C-{_OUTPUTS}.1_linear_none", input_channels(_TOLD), _TOLD)
CONTENDERS = {"Fleming": FLEMING, "YOLO-CIANNA SDC1": Contender(YOLO_CIANNA, 1, 0)}


def synchronise(device: torch.device) -> None:
    """Wait for what the device was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_call(call: Callable[[], Any], device: torch.device, least: float) -> float:
    """The best of three runs of at least `least` seconds each, after warming up."""
    for _ in range(3):
        call()
    synchronise(device)
    count, best = 1, float("inf")
    for _ in range(3):
        while True:
            began = time.perf_counter()
            for _ in range(count):
                call()
            synchronise(device)
            took = time.perf_counter() - began
            if took >= least:
                break
            count = max(count + 1, int(1.2 * count * least / max(took, 1e-6)))
        best = min(best, took / count)
    return best


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """The precision that is set around a network: TF32 allowed only where it is meant, autocast where asked."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16 autocast"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def shares(mpix: float, macs: float, precision: str, device: torch.device) -> dict[str, float | None]:
    """The achieved rate of a network of `macs` multiply-adds a pixel, and its share of the device's peak."""
    achieved = 2 * macs * mpix / 1e6
    known = device.type == "cuda" and any(kind in torch.cuda.get_device_name(device) for kind in ("H100", "H200"))
    return {
        "mpix_per_second": mpix,
        "tflops": achieved,
        "share_of_peak": achieved / PEAK[precision] if known else None,
        "ratio_to_published_cianna": mpix / CIANNA_PUBLISHED,
    }


def forward_speed(
    contender: Contender,
    side: int,
    batch: int,
    precision: str,
    last: bool,
    compiled: bool,
    device: torch.device,
    least: float = 0.5,
) -> dict[str, Any]:
    """The network alone on (batch, side, side) pixels; `last` is the order of memory with the channels last."""
    order = torch.channels_last if last else torch.contiguous_format
    dtype = DTYPE.get(precision, torch.float32)
    network: Any = contender.build(side, device).to(dtype).to(memory_format=order)
    x = torch.randn(batch, contender.inputs, side, side, device=device, dtype=dtype).contiguous(memory_format=order)
    if compiled:
        network = torch.compile(network)
    with torch.inference_mode(), arithmetic(precision, device):
        took = seconds_a_call(lambda: network(x), device, least)
    case = {"side": side, "batch": batch, "precision": precision, "channels_last": last, "compiled": compiled}
    return case | shares(batch * side**2 / took / 1e6, contender.macs(), precision, device)


def forward_cases(batches: tuple[int, ...]) -> list[tuple[int, str, bool, bool]]:
    """What to measure (batch, precision, channels last, compiled); compiling takes long, so only what may win."""
    plain = [(*case, False) for case in itertools.product(batches, PEAK, (True, False))]
    return plain + [(batch, precision, True, True) for batch in batches[-2:] for precision in ("fp16", "bf16")]


def make_image(folder: Path, side: int, tile: int = 1024) -> Path:
    """A FITS image (side, side) that repeats one simulated field (tile, tile)."""
    frame = simulate(ContinuumSettings(shape=(tile, tile)), seed=1).frame
    repeats = -(-side // tile)
    path = folder / "image.fits"
    write_frame(path, replace(frame, data=np.tile(frame.data, (repeats, repeats))[:side, :side]))
    return path


def drop_cache(path: Path) -> None:
    """Let the next reading of a file come from the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bare_from_disk(
    contender: Contender, image: ContinuumImage, device: torch.device, core: int, precision: str = "bf16"
) -> float:
    """Seconds from the file to the network's outputs on the device, tile by tile, and nothing else."""
    dtype = DTYPE.get(precision, torch.float32)
    network = contender.build(core, device).to(dtype)
    halo, multiple = int(max(network.field)) // 2 + 1, int(max(network.reduction))
    scale = float(1 / image.background.summary()["median_rms"])
    plan = tiles(image.shape, core=core, halo=halo, multiple=multiple)
    with torch.inference_mode(), arithmetic(precision, device):
        network(contender.see(torch.zeros(1, *plan[0].size, device=device)).to(dtype))
        synchronise(device)
        began = time.perf_counter()
        for _, pixels in read_ahead(image.reader.read, plan, fill=0.0):
            snr = torch.from_numpy(pixels)[None].to(device) * scale
            network(contender.see(snr).to(dtype))
        synchronise(device)
    return time.perf_counter() - began


def whole_from_disk(
    image: ContinuumImage, network: Network, layout: Layout, device: torch.device, core: int
) -> tuple[float, float, int]:
    """Seconds to measure the noise of an image, seconds to detect in it, and how many detections there are."""
    network = network.to(device).eval()
    began = time.perf_counter()
    background = measure_background(image.reader.read, image.shape)
    noise = time.perf_counter() - began
    began = time.perf_counter()
    found = detect(
        network, layout, image.reader.read, background, image.beam.conditions, NAMES.conditions, Search(side=core)
    )
    synchronise(device)
    return noise, time.perf_counter() - began, len(found)


def disk_speed(
    folder: Path, model: Path | None, device: torch.device, side: int, cores: tuple[int, ...], tile: int = 1024
) -> dict[str, Any]:
    """Mpix/s from a FITS file: each network bare, and Fleming's detector whole; first from the cold file."""
    path = make_image(folder, side, tile)
    image, mpix, rows = ContinuumImage.open(path), side**2 / 1e6, []
    network, layout = _detector(model, device)
    whole_from_disk(ContinuumImage.open(path), network, layout, device, cores[0])
    for core, cold in itertools.product(cores, (True, False)):
        case = {"core": core, "cold": cold}
        for name, contender in CONTENDERS.items():
            if cold:
                drop_cache(path)
            took = bare_from_disk(contender, image, device, core)
            rows.append({"what": f"{name}, network"} | case | shares(mpix / took, contender.macs(), "bf16", device))
        if cold:
            drop_cache(path)
        noise, took, count = whole_from_disk(image, network, layout, device, core)
        row = {"what": "Fleming, detections", "noise_mpix_per_second": mpix / noise, "detections": count}
        rows.append(row | case | shares(mpix / took, FLEMING.macs(), "bf16", device))
    trained = "untrained: hardly a detection to measure" if model is None else model.name
    return {"side": side, "gib": 4 * side**2 / 2**30, "model": trained, "rows": rows}


def _detector(model: Path | None, device: torch.device) -> tuple[Network, Layout]:
    if model is not None:
        detector = load(model, device).detector
        return detector.network, detector.layout
    network = FLEMING.build(512, device)
    many = 2 + len(NAMES.values)
    steps = tuple(int(step) for step in network.reduction)
    return network, Layout(NAMES.values, NAMES.classes, steps, (0.0,) * many, (1.0,) * many)


def training_speed(
    folder: Path, device: torch.device, batch: int, crop: int = 128, steps: int = 100, tile: int = 1024, epochs: int = 3
) -> dict[str, Any]:
    """Mpix/s of training from crops of a field to the step: the best epoch of the loop, and its steps alone."""
    settings = DetectorSettings(crop=crop, steps=steps)
    area = practise(Practice(ContinuumSettings(shape=(tile, tile))), seed=1)
    labelled = area.image.labelled(area.truth, area.section, settings.objects.least_snr)
    train = settings.train.model_copy(update={"batch": batch, "epochs": epochs})
    return {"batch": batch, "crop": crop} | _trained(labelled, settings, train, folder, device)


def _trained(
    field: LabelledField, settings: DetectorSettings, train: TrainSettings, folder: Path, device: torch.device
) -> dict[str, Any]:
    crops = Crops([field], settings.crop, train.batch, settings.steps, 1, NAMES.values, NAMES.conditions)
    layout = Layout.of(field.objects, NAMES.values, NAMES.classes, FLEMING.build(settings.crop, device).reduction)
    precise = fast_precision(train, device)

    def objective(network: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        return batch_loss(network, batch, layout, settings)

    network = FLEMING.build(settings.crop, device).train()
    outcome = fit(network, crops, objective, lambda _: {"loss": 0.0}, precise, folder / f"b{train.batch}", seed=1,
                  device=device)  # fmt: skip
    ready = tuple(part.to(device) for part in next(crops.epoch(0)))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-5)
    half = device.type == "cuda" or precise.precision == "bf16"

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = sum(objective(network, ready).values())
        loss.backward()
        optimiser.step()

    pixels = settings.crop**2 / 1e6
    loop, alone = outcome.samples_per_second * pixels, train.batch * pixels / seconds_a_call(step, device, 0.05)
    # A backward pass costs two forward passes.
    rate = shares(loop, 3 * FLEMING.macs(), "bf16", device)
    return {
        "mpix_per_second": loop,
        "steps_alone_mpix_per_second": alone,
        "tflops": rate["tflops"],
        "share_of_peak": rate["share_of_peak"],
        "data_wait_share": outcome.data_wait_share,
    }


def measure(model: Path | None, device: torch.device, side: int = 16384, budget: float = 240.0) -> dict[str, Any]:
    """All figures; the networks alone are measured for at most `budget` seconds each, the likely winners last."""
    names = {name: {"line": one.line, "macs_per_pixel": one.macs()} for name, one in CONTENDERS.items()}
    figures: dict[str, Any] = {"networks": names, "forward": {}, "training": []}
    figures["limits_mpix_per_second"] = {
        f"{name}, {precision}": 1e6 * PEAK[precision] / (2 * one.macs())
        for name, one in CONTENDERS.items()
        for precision in PEAK
    }
    figures["published_cianna_mpix_per_second"] = CIANNA_PUBLISHED
    figures["matrix_gflops"] = {kind: matrix_gflops(device, kind, size=8192) for kind in ("fp32", "bf16")}
    with tempfile.TemporaryDirectory() as scratch:
        figures["disk"] = disk_speed(Path(scratch), model, device, side, (1024, 2048, 4096))
        for row in figures["disk"]["rows"]:
            print(
                f"{row['what']:26} core {row['core']}, {'cold' if row['cold'] else 'cached'}: {_said(row)}", flush=True
            )
    for batch in (8, 32, 128):
        with tempfile.TemporaryDirectory() as scratch:
            row = training_speed(Path(scratch), device, batch)
        figures["training"].append(row)
        print(f"training, batch {batch}: {_said(row)}, waits {row['data_wait_share']:.0%}", flush=True)
    for name, contender in CONTENDERS.items():
        rows, until = [], time.monotonic() + budget
        for case in forward_cases((1, 4, 16, 64)):
            if time.monotonic() > until:
                break
            rows.append(forward_speed(contender, 512, *case, device))
            print(
                f"{name}, batch {case[0]}, {case[1]}, last {case[2]}, compiled {case[3]}: {_said(rows[-1])}", flush=True
            )
        figures["forward"][name] = rows
    return figures


def _said(row: dict[str, Any]) -> str:
    share = row["share_of_peak"]
    return f"{row['mpix_per_second']:8.1f} Mpix/s" + ("" if share is None else f", {share:.1%} of the peak")


def shipped_model() -> Path | None:
    """The trained detector in resources/, if it is there."""
    path = Path(__file__).parent.parent / "resources" / "continuum.safetensors"
    return path if path.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=shipped_model(), help="a trained detector")
    parser.add_argument("--side", type=int, default=16384, help="side of the image on disk [pixel]")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_detect.py: this machine has no CUDA device; run it where there is one.", file=sys.stderr)
        return 2
    record("gpu_detect", measure(options.model, torch.device("cuda"), options.side), "cuda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
