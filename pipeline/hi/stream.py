"""Searching a cube of any size: large chunks, one read while another is computed, in memory that does not grow.

A chunk's detections are kept in a file as soon as they are known, so that a search that was killed goes on behind it.
"""

import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.data.tiles import Reader, Section, Tile
from pipeline.detect.predict import (
    Detections,
    Search,
    deepest,
    each_tile,
    halo,
    in_half,
    join,
    plan_tiles,
    standardised,
)
from pipeline.detect.train import Detector
from pipeline.errors import UserError
from pipeline.files import atomic, check_output
from pipeline.nn.network import Network
from pipeline.provenance import versions
from pipeline.sky.archive import split_source

log = logging.getLogger("fleming")

MEMORY = 4e9
# What Python and its libraries take before the first voxel is read [byte].
_PROGRAM = 0.9e9
# The most voxels that are standardised at once; files are mapped in pieces of this size.
_PIECE = 1 << 20
# A disk gives this much when it is asked for any of it [voxel], in a tenth of the time that computing takes.
_RUN, _READING = 16384, 0.1
_CHOICES = 48
# How many of its outputs a layer has in memory at once.
_COPIES = 2
_BRIGHTEST = 6e4
_EVERY = 10.0


class Cube(Protocol):
    """What is read: `pipeline.sky.cube.CubeReader` and the like."""

    shape: tuple[int, ...]
    path: str

    def read(self, section: Section) -> np.ndarray: ...


class Noise(Protocol):
    """What is known of the noise: `pipeline.data.cube_noise.CubeNoise`, `pipeline.data.background.Background`."""

    shape: tuple[int, ...]

    def at(self, section: Section) -> tuple[np.ndarray, np.ndarray]: ...

    def at_positions(self, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def summary(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Progress:
    """How far a search is: voxels done, found done by an earlier run, in all, and the seconds since it began."""

    done: int
    resumed: int
    total: int
    seconds: float

    @property
    def share(self) -> float:
        """Of the voxels that are done."""
        return self.done / self.total

    @property
    def rate(self) -> float:
        """Voxels a second of this run."""
        return (self.done - self.resumed) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Seconds to go, infinite as long as nothing is done."""
        if self.done == self.total:
            return 0.0
        return (self.total - self.done) / self.rate if self.rate else float("inf")

    def __str__(self) -> str:
        minutes = self.left / 60
        left = f"{minutes / 60:.1f} h" if minutes >= 100 else f"{minutes:.1f} min"
        return f"{100 * self.share:.1f} % searched, {self.rate / 1e6:.3g} Mvoxel/s, {left} left"


class ProgressLog:
    """Logs how far the search of the cube called `name` is, at most once in ten seconds of `clock`."""

    def __init__(self, name: object, clock: Callable[[], float] = time.monotonic):
        self._name, self._clock, self._last = name, clock, clock()

    def __call__(self, progress: Progress) -> None:
        if self._clock() - self._last >= _EVERY:
            self._last = self._clock()
            log.info("%s: %s", self._name, progress)


def detect_cube(
    reader: Cube,
    noise: Noise,
    detector: Detector,
    search: Search,
    *,
    folder: str | os.PathLike | None = None,
    progress: Callable[[Progress], None] | None = None,
    memory: float = MEMORY,
    depends: Any = None,
) -> Detections:
    """Every detection of a cube, N axes, above the search's lowest logit, in the order of the chunks.

    The cube is read once, by section, in the order of its file; chunks without a valid voxel are not computed.

    Parameters
    ----------
    detector : whose network is in evaluation mode, on its device.
    search : how. Its `side` is chosen here where it is None.
    folder : keeps the detections of each chunk; a search of the same cube with the same model goes on from them.
    progress : is called after each chunk; None logs.
    memory : the most that the process is to take [byte]; computing on a GPU takes as much there.
    depends : JSON of whatever else decides what `reader` gives, a mask for instance.

    Raises
    ------
    UserError : too little memory for the network, or a folder that cannot be written to.
    """
    network, layout = detector.network, detector.layout
    if search.side is None:
        search = replace(search, side=chunk_sides(reader.shape, network, search, memory))
    plan = plan_tiles(network, reader.shape, search)
    store = None if folder is None else ChunkStore(folder, fingerprint(reader, noise, detector, search, depends))
    found = [None if store is None else store.load(index) for index in range(len(plan))]
    left = [index for index, part in enumerate(found) if part is None]
    total = prod(reader.shape)
    done = resumed = total - sum(_voxels(plan[index]) for index in left)
    if resumed:
        log.info("%s: goes on behind %.1f %% that an earlier run has searched", reader.path, 100 * resumed / total)
    progress, began = progress or ProgressLog(reader.path), time.monotonic()
    read_snr = snr_reader(reader.read, noise, in_half(next(network.parameters()).device))
    chunks = each_tile(network, layout, read_snr, [plan[index] for index in left], noise, (), (), search)
    for index, (tile, part) in zip(left, chunks, strict=True):
        found[index] = part
        if store is not None:
            store.save(index, part)
        done += _voxels(tile)
        progress(Progress(done, resumed, total, time.monotonic() - began))
    return join(found)


def snr_reader(read: Reader, noise: Noise, half: bool = False) -> Reader:
    """Gives the signal-to-noise ratio by sections, 0 where there is no valid voxel, as float32 or float16.

    It is made a few million voxels at a time, so that a section takes little more memory than its result.
    """

    def read_snr(section: Section) -> np.ndarray:
        first, *others = section
        result = np.empty([part.stop - part.start for part in section], np.float16 if half else np.float32)
        step = max(_PIECE // max(prod(result.shape[1:]), 1), 1)
        for start in range(first.start, first.stop, step):
            stop = min(start + step, first.stop)
            piece = standardised(read, noise, (slice(start, stop), *others))
            # Few networks tell apart what is so bright, and half precision ends here.
            result[start - first.start : stop - first.start] = np.clip(piece, -_BRIGHTEST, _BRIGHTEST)
        return result

    return read_snr


def chunk_sides(shape: Sequence[int], network: Network, search: Search, memory: float = MEMORY) -> tuple[int, ...]:
    """The sides of the chunks' cores that a cube of `shape` is searched in fastest within `memory` [byte].

    What is computed twice in the halos is weighed against what a disk reads in vain beside short runs.

    Raises
    ------
    UserError : not even the smallest chunk and its halo fit.
    """
    steps = deepest(network)
    around = [2 * (reach + step) for reach, step in zip(halo(network, search), steps, strict=True)]
    cuts = [np.unique(np.geomspace(1, size, _CHOICES).astype(int)) for size in shape]
    sides = [-(-size // count) for size, count in zip(shape, cuts, strict=True)]
    windows = [
        np.minimum(side + more, size + step) for side, more, size, step in zip(sides, around, shape, steps, strict=True)
    ]
    computed = [size + (count - 1) * more for size, count, more in zip(shape, cuts, around, strict=True)]
    touched = [*computed[:-1], cuts[-1] * np.minimum(windows[-1] + _RUN, shape[-1])]
    need = _PROGRAM + voxel_bytes(network) * _products(windows)
    cost = np.where(need <= memory, _products(computed) + _READING * _products(touched), np.inf)
    best = np.unravel_index(np.argmin(cost), cost.shape)
    if not np.isfinite(cost[best]):
        what = f"of {memory / 1e9:.3g} GB is too little for a network that sees {max(network.field)} voxels at once"
        raise UserError("memory", what, f"give {need.min() / 1e9 + 0.005:.2f} GB or more")
    return tuple(int(side[at]) for side, at in zip(sides, best, strict=True))


def _products(axes: Sequence[np.ndarray]) -> np.ndarray:
    """The product of one number of each axis, for every choice of them."""
    return prod(np.ix_(*(axis.astype(float) for axis in axes)))


def voxel_bytes(network: Network) -> float:
    """The most memory that searching takes for each voxel of a chunk and its halo, one more being read [byte]."""
    volume, inputs = prod(network.input_shape[1:]), network.input_shape[0]
    held, most = [], 1.0
    for step in network.steps:
        before, after = (prod(part) / volume for part in (step.input_shape, step.output_shape))
        if step.layer.kind == "[":
            held.append(before)
        most = max(most, sum(held) + before + _COPIES * after)
        if step.layer.kind == "]":
            held.pop()
    return (2.0 if in_half(next(network.parameters()).device) else 4.0) * (1 + inputs + most)


class ChunkStore:
    """The detections of chunks, one file each, in a folder of their own below `folder` that `key` names.

    Raises
    ------
    UserError : the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike, key: str):
        self.folder = Path(folder) / key[:24]
        check_output(self._path(0))

    def load(self, index: int) -> Detections | None:
        """What `save` kept of a chunk; None where it did not, or not whole."""
        try:
            with open(self._path(index), "rb") as stream, np.load(stream, allow_pickle=False) as stored:
                return Detections(**{part.name: stored[part.name] for part in fields(Detections)})
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def save(self, index: int, found: Detections) -> None:
        """Keep the detections of a chunk, whole or not at all."""
        with atomic(self._path(index)) as beside:
            np.savez(beside, **{part.name: getattr(found, part.name) for part in fields(Detections)})

    def _path(self, index: int) -> Path:
        return self.folder / f"chunk_{index:06d}.npz"


def fingerprint(reader: Cube, noise: Noise, detector: Detector, search: Search, depends: Any = None) -> str:
    """What decides the detections, as hexadecimal text: file, noise, detector, search and this program."""
    told = {
        "cube": file_state(reader),
        "noise": noise.summary(),
        "network": [detector.network.line, next(detector.network.parameters()).device.type],
        "layout": detector.layout.to_dict(),
        "search": asdict(search),
        "versions": [versions()[name] for name in ("fleming", "torch", "numpy")],
        "depends": depends,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=_plain).encode())
    for name, tensor in detector.network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def file_state(reader: Cube) -> dict[str, Any]:
    """What tells one cube from another without reading it: size and time of its file, header, shape and beam.

    A file that was moved stays the same.
    """
    path, _ = split_source(reader.path)
    state = path.stat() if path.is_file() else None
    header = getattr(reader, "header", None)
    return {
        "file": None if state is None else [state.st_size, state.st_mtime_ns],
        "header": None if header is None else header.tostring(),
        "shape": list(reader.shape),
        "beam": repr(getattr(reader, "beam", None)),
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _voxels(tile: Tile) -> int:
    return prod(part.stop - part.start for part in tile.core)
