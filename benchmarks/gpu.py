"""The CPU's training measurements on a CUDA device; needs no Snakemake and no astropy.

    python benchmarks/gpu.py --mnist ../shared/data/mnist

Needs torch, numpy, h5py, pydantic and safetensors. Measures Fleming's loop against a plain loop in fp32 and bf16, and
the training throughput of larger networks in one, two and three dimensions, each beside the rate of a matrix product
on the same device. Writes results/gpu.json; without a CUDA device it stops and says so. Detectors are measured by
gpu_detect.py and gpu_hi.py, which need more packages; `--detectors` runs them afterwards.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record import record
from throughput import compare, matrix_gflops

from pipeline.nn.cost import describe, total
from pipeline.nn.network import build

NETWORKS = {
    "1-D CNN": ("norm=batch C-64.9 P-2 C-128.9 P-2 C-256.5 P-2 C-256.5 GAP D-7", 1, (2, 2048), 256),
    "2-D CNN": ("norm=batch C-64.5 P-2 C-128.3 C-128.3 P-2 C-256.3 C-256.3 GAP D-4", 2, (1, 128, 128), 64),
    "2-D ResNet-18": ("resnet-18", 2, (3, 128, 128), 64),
    "3-D CNN": ("norm=batch C-32.3 P-2 C-64.3 P-2 C-128.3 GMP D-2", 3, (1, 32, 64, 64), 16),
}


def training_speed(
    line: str, ndim: int, shape: tuple[int, ...], batch: int, precision: str, steps: int = 30
) -> dict[str, Any]:
    """Samples per second and the achieved rate of `steps` training steps on random samples that are on the device."""
    device = torch.device("cuda")
    torch.manual_seed(1)
    network = build(line, ndim, shape, outputs=10 if line.startswith("resnet") else None).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    x = torch.randn(batch, *shape, device=device)
    y = torch.randint(0, network.outputs, (batch,), device=device)
    for step in range(steps + 5):
        if step == 5:
            torch.cuda.synchronize()
            began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimiser.step()
    torch.cuda.synchronize()
    speed = steps * batch / (time.perf_counter() - began)
    macs = total(describe(network)).macs
    return {
        "line": line,
        "input": list(shape),
        "batch": batch,
        "precision": precision,
        "samples_per_second": speed,
        "achieved_gflops": 6 * macs * speed / 1e9,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="folder with the four MNIST files; random images without it")
    parser.add_argument("--detectors", action="store_true", help="measure detectors too: gpu_detect.py and gpu_hi.py")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu.py: this machine has no CUDA device; run it where there is one.", file=sys.stderr)
        return 2
    figures: dict[str, Any] = {"loop": {}, "networks": {}, "matrix_gflops": {}}
    for precision in ("fp32", "bf16"):
        figures["matrix_gflops"][precision] = matrix_gflops(torch.device("cuda"), precision, size=8192)
        for batch in (64, 1024):
            name = f"{precision}, batch {batch}"
            figures["loop"][name] = compare(options.mnist, "cuda", precision, batch, n=51200)
            print(f"{name:20} ratio to the plain loop {figures['loop'][name]['ratio']:.3f}", flush=True)
        for title, (line, ndim, shape, batch) in NETWORKS.items():
            torch.cuda.reset_peak_memory_stats()
            row = training_speed(line, ndim, shape, batch, precision)
            figures["networks"][f"{title}, {precision}"] = row
            print(f"{title:20} {precision} {row['samples_per_second']:10.0f} samples/s", flush=True)
    record("gpu", figures, "cuda")
    if options.detectors:
        import gpu_detect
        import gpu_hi

        record("gpu_detect", gpu_detect.measure(gpu_detect.shipped_model(), torch.device("cuda")), "cuda")
        record("gpu_hi", gpu_hi.measure(gpu_hi.shipped_model(), torch.device("cuda")), "cuda")
    return 0


if __name__ == "__main__":
    sys.exit(main())
