"""Training throughput of Fleming's loop against a plain hand-written PyTorch loop, in pairs within one run.

    python benchmarks/throughput.py --mnist ../shared/data/mnist

Both train the MNIST network on the same samples with the same optimiser; the plain loop holds normalised tensors in
memory and does nothing but shuffle, forward, backward and step. Fleming reads the HDF5 store, and its own epoch also
counts its loss and writes checkpoints, which are inside its figure. Pairs alternate, so that a machine whose speed
drifts does not favour either; the ratio to quote is the median over pairs.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.data.batches import Batches
from pipeline.data.normalise import Normaliser
from pipeline.data.store import Dataset, open_store, write_store
from pipeline.learn.loop import fit
from pipeline.learn.settings import TrainSettings
from pipeline.nn.cost import describe, total
from pipeline.nn.network import build

MNIST = "C-6.5 P-2 C-16.5 P-2 C-48.3 D-1024_d0.5 D-256_d0.2 D-10"


def images(folder: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n MNIST digits `(n, 1, 28, 28)` uint8 and their labels, or random ones of the same kind without a folder."""
    if folder is None:
        rng = np.random.default_rng(1)
        return rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)
    from pipeline.sky.pictures import read_idx

    x = read_idx(folder / "train-images-idx3-ubyte.gz")[:n, None]
    return x, read_idx(folder / "train-labels-idx1-ubyte.gz")[:n].astype(int)


def plain_loop(x: torch.Tensor, y: torch.Tensor, batch: int, device: torch.device, precision: str) -> float:
    """Samples per second of one epoch of the loop that anybody would write."""
    torch.manual_seed(1)
    network = build(MNIST, 2, (1, 28, 28), outputs=10).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    x, y = x.to(device), y.to(device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    began = time.perf_counter()
    order = torch.randperm(len(x), device=device)
    for start in range(0, len(x), batch):
        chosen = order[start : start + batch]
        optimiser.zero_grad(set_to_none=True)
        with half:
            loss = F.cross_entropy(network(x[chosen]), y[chosen])
        loss.backward()
        optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(x) / (time.perf_counter() - began)


def our_loop(batches: Batches, settings: TrainSettings, device: torch.device, folder: Path) -> tuple[float, float]:
    """Samples per second of one epoch of `pipeline.learn.loop.fit`, and the share of it spent waiting for data."""
    torch.manual_seed(1)
    network = build(MNIST, 2, (1, 28, 28), outputs=10)

    def objective(network: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        return {"cross_entropy": F.cross_entropy(network(batch[0]), batch[1])}

    outcome = fit(network, batches, objective, lambda _: {"loss": 0.0}, settings, folder, seed=1, device=device)
    return outcome.samples_per_second, outcome.data_wait_share


def compare(
    folder: Path | None, device: str = "cpu", precision: str = "fp32", batch: int = 64, n: int = 12800, pairs: int = 5
) -> dict[str, Any]:
    """The figures of both loops over `pairs` alternating epochs after one warm-up of each."""
    where = torch.device(device)
    x, y = images(folder, n)
    settings = TrainSettings(epochs=1, batch=batch, schedule="constant", precision=precision)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "digits.h5")
        names = [f"{k:05}" for k in range(n)]
        write_store(
            path, Dataset(x, y, ids=names, groups=names, splits=["train"] * n, classes=[str(k) for k in range(10)])
        )
        with open_store(path) as store:
            normaliser = Normaliser.fit([{"standardise": {"per": "set"}}], [x])
            ready = torch.from_numpy(normaliser.apply(x))
            truth = torch.from_numpy(y)
            in_memory = Batches(store, y, batch, 1, normaliser=normaliser, device=where)
            streamed = Batches(store, y, batch, 1, normaliser=normaliser, device=where, memory=0)
            for k in range(pairs + 1):
                ours, wait = our_loop(in_memory, settings, where, Path(scratch, f"memory-{k}"))
                plain = plain_loop(ready, truth, batch, where, precision)
                disk, disk_wait = our_loop(streamed, settings, where, Path(scratch, f"disk-{k}"))
                rows.append((ours, wait, plain, disk, disk_wait))
    rows = np.array(rows[1:])
    macs = total(describe(MNIST, 2, (1, 28, 28), 10)).macs
    speed = float(np.median(rows[:, 0]))
    return {
        "network": MNIST,
        "device": device,
        "precision": precision,
        "batch": batch,
        "samples": n,
        "pairs": pairs,
        "plain_samples_per_second": float(np.median(rows[:, 2])),
        "fleming_samples_per_second": speed,
        "fleming_from_disk_samples_per_second": float(np.median(rows[:, 3])),
        "ratio": median(rows[:, 0] / rows[:, 2]),
        "ratio_from_disk": median(rows[:, 3] / rows[:, 2]),
        "data_wait_share": float(np.median(rows[:, 1])),
        "data_wait_share_from_disk": float(np.median(rows[:, 4])),
        # a backward pass costs two forward passes, and one MAC is two operations
        "achieved_gflops": 6 * macs * speed / 1e9,
        "matrix_gflops": matrix_gflops(where, precision),
    }


def matrix_gflops(device: torch.device, precision: str, size: int = 2048, repeats: int = 8) -> float:
    """The rate of a square matrix product on this machine, the limit that the training works against [GFLOP/s]."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(size, size, device=device, dtype=kind)
    b = torch.randn(size, size, device=device, dtype=kind)
    best = 0.0
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
    return best


def main() -> None:
    from record import record

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="folder with the four MNIST files; random images without it")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    figures = compare(options.mnist, pairs=options.pairs)
    for name, value in figures.items():
        print(f"{name:40} {value}")
    record("throughput", figures)


if __name__ == "__main__":
    main()
