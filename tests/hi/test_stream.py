"""A cube's detections do not depend on how it is streamed, and a killed search goes on where it was."""

import contextlib
import logging
from dataclasses import fields, replace
from itertools import product
from math import ceil, inf, prod
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.background import Background
from pipeline.detect import predict
from pipeline.detect.head import Layout, channels
from pipeline.detect.inputs import network_input
from pipeline.detect.predict import Detections, Search, detect, halo, plan_tiles
from pipeline.detect.train import Detector, Names
from pipeline.errors import UserError
from pipeline.hi import stream
from pipeline.hi.stream import (
    ChunkStore,
    Progress,
    ProgressLog,
    chunk_sides,
    detect_cube,
    fingerprint,
    snr_reader,
    voxel_bytes,
)
from pipeline.nn.network import build

SHAPE = (70, 41, 52)
VALUES = ("ln_flux", "cos_i")
CHUNKS = Search(least=1.0, side=(24, 16, 20))


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(predict, "precision", lambda device: contextlib.nullcontext())


class MemoryReader:
    """A cube in memory that counts the voxels that are read; `path` is of a file that stands for it."""

    def __init__(self, data, path="memory"):
        self.data, self.path, self.shape, self.sections = data, str(path), data.shape, []

    def read(self, section):
        self.sections.append(section)
        return self.data[tuple(section)].copy()


class Killed(BaseException):
    """Not an Exception, as what a signal raises."""


def kill_after(count):
    def progress(state):
        nonlocal count
        count -= 1
        if not count:
            raise Killed

    return progress


@pytest.fixture
def detector():
    torch.manual_seed(3)
    inputs = network_input(torch.zeros(1, 4, 4, 4), torch.zeros(1, 0)).shape[1]
    line = f"C-8.4_s4_p0 C-8.3 C-{channels(3, len(VALUES), 0)}.1_linear_none"
    network = build(line, 3, (inputs, 32, 32, 32)).eval()
    units = 3 + len(VALUES)
    layout = Layout(VALUES, (), network.reduction, (0.0,) * units, (0.7,) * units)
    network.computed = 0

    def count(*_):
        network.computed += 1

    network.register_forward_hook(count)
    return Detector(network, layout, Names(VALUES))


def cube_of(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(0.1, 2, shape).astype("f4")


def noise_of(shape, rms=2.0):
    edges = tuple(np.array([0, side]) for side in shape)
    return Background(tuple(shape), edges, np.full((1, 1, 1), 0.1), np.full((1, 1, 1), rms))


def identical(one, other):
    for part in fields(Detections):
        ours, theirs = getattr(one, part.name), getattr(other, part.name)
        assert ours.dtype == theirs.dtype, part.name
        np.testing.assert_array_equal(ours, theirs, err_msg=part.name)


def ordered(found):
    return found.take(np.lexsort(np.round(found.centre, 2).T))


def search(data, detector, path="memory", **options):
    return detect_cube(MemoryReader(data, path), noise_of(data.shape), detector, **{"search": CHUNKS} | options)


def chunks_of(shape, detector):
    return plan_tiles(detector.network, shape, CHUNKS)


def test_chunks_give_what_the_whole_cube_does(detector):
    data = cube_of()
    data[:, ::7, ::5] = np.nan
    found, noise = search(data, detector), noise_of(SHAPE)
    reader, detector = MemoryReader(data), detector
    whole = detect(detector.network, detector.layout, reader.read, noise, (), (), Search(least=1.0, side=128))
    assert len(found) == len(whole) > 10
    for part in fields(Detections):
        ours, theirs = (getattr(ordered(item), part.name) for item in (found, whole))
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("after", [1, 7])
def test_a_killed_search_goes_on_and_computes_nothing_twice(tmp_path, detector, after):
    data, folder = cube_of(), tmp_path / "chunks"
    network = detector.network
    whole, every = search(data, detector), len(chunks_of(SHAPE, detector))
    assert network.computed == every > 20
    network.computed = 0
    with pytest.raises(Killed):
        search(data, detector, folder=folder, progress=kill_after(after))
    assert network.computed == after
    states = []
    again = search(data, detector, folder=folder, progress=states.append)
    assert network.computed == every == after + len(states)
    assert states[0].resumed > 0 and states[0].done > states[0].resumed
    identical(again, whole)
    third = MemoryReader(data)
    identical(detect_cube(third, noise_of(SHAPE), detector, search=CHUNKS, folder=folder), whole)
    assert network.computed == every and not third.sections
    assert list(folder.rglob(".*")) == []


def test_a_kill_while_a_chunk_is_computed_costs_that_chunk_alone(tmp_path, detector, monkeypatch):
    data, network = cube_of(), detector.network
    whole = search(data, detector)
    network.computed = 0
    collect = predict._collect

    def interrupted(*words):
        if network.computed == 4:
            raise Killed
        return collect(*words)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(predict, "_collect", interrupted)
        search(data, detector, folder=tmp_path)
    identical(search(data, detector, folder=tmp_path), whole)
    assert network.computed == len(chunks_of(SHAPE, detector)) + 1


def test_a_kept_chunk_that_is_damaged_is_computed_again(tmp_path, detector):
    data = cube_of()
    whole = search(data, detector, folder=tmp_path)
    kept = sorted(tmp_path.rglob("*.npz"))
    assert len(kept) == len(chunks_of(SHAPE, detector))
    kept[2].write_bytes(kept[2].read_bytes()[:100])
    kept[5].write_bytes(b"")
    kept[7].unlink()
    np.savez(kept[9], logit=np.zeros(3))
    np.save(kept[11].with_suffix(".npy"), np.array([{"a": 1}], object), allow_pickle=True)
    kept[11].with_suffix(".npy").replace(kept[11])
    detector.network.computed = 0
    identical(search(data, detector, folder=tmp_path), whole)
    assert detector.network.computed == 5


def test_what_is_kept_comes_back_bit_by_bit(tmp_path, detector):
    found = search(cube_of(), detector)
    store = ChunkStore(tmp_path, "a" * 64)
    assert store.load(3) is None
    store.save(3, found)
    identical(store.load(3), found)
    nothing = predict.nothing(detector.layout)
    store.save(4, nothing)
    identical(store.load(4), nothing)
    identical(nothing, found.take(np.zeros(len(found), bool)))


def test_chunks_of_another_cube_model_or_search_are_not_used(tmp_path, detector):
    path = tmp_path / "cube.fits"
    path.write_bytes(b"cube")
    reader, noise = MemoryReader(cube_of(), path), noise_of(SHAPE)

    def key(reader=reader, noise=noise, search=CHUNKS, depends=None):
        return fingerprint(reader, noise, detector, search, depends)

    keys = [key(), key(noise=noise_of(SHAPE, 3.0)), key(search=replace(CHUNKS, least=0.0)), key(depends={"mask": "1"})]
    keys.append(key(search=replace(CHUNKS, side=24)))
    path.write_bytes(b"longer")
    keys.append(key())
    assert key() == keys[-1]
    path.rename(tmp_path / "moved.fits")
    reader.path = str(tmp_path / "moved.fits")
    assert key() == keys[-1]
    with torch.no_grad():
        next(detector.network.parameters())[0] += 1e-3
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_two_searches_share_a_folder(tmp_path, detector):
    one, other = cube_of(seed=1), cube_of(seed=2)
    paths = [tmp_path / name for name in ("a.fits", "b.fits")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number + 1))
    found = [search(data, detector, path, folder=tmp_path) for data, path in zip((one, other), paths, strict=True)]
    detector.network.computed = 0
    for data, path, before in zip((one, other), paths, found, strict=True):
        identical(search(data, detector, path, folder=tmp_path), before)
    assert detector.network.computed == 0
    assert len(found[0]) != len(found[1])


def test_blank_chunks_are_not_computed(detector):
    data = cube_of((200, 41, 52))
    data[80:] = np.nan
    whole, network = search(data[:80], detector), detector.network
    reach = halo(network, CHUNKS)[0] + network.reduction[0]
    network.computed = 0
    found = search(data, detector)
    beyond = [tile for tile in chunks_of(data.shape, detector) if tile.window[0].start >= 80]
    assert len(beyond) > 10
    assert network.computed == len(chunks_of(data.shape, detector)) - len(beyond)
    inner = [part.take(part.centre[:, 0] < 80 - reach) for part in (found, whole)]
    assert len(inner[0]) == len(inner[1]) > 5
    np.testing.assert_allclose(ordered(inner[0]).centre, ordered(inner[1]).centre, atol=2e-3)


def test_a_blank_cube_has_no_detections(detector):
    found = search(np.full(SHAPE, np.nan, "f4"), detector)
    assert len(found) == 0 and found.centre.shape == (0, 3) and found.values.shape == (0, 2)
    assert detector.network.computed == 0


class ChannelNoise:
    """An rms for each channel, as of a cube whose blank channels have none."""

    def __init__(self, shape, rms):
        self.shape, self.rms = shape, rms

    def at(self, section):
        rms = self.rms[section[0]][:, None, None]
        return np.zeros_like(rms), rms

    def at_positions(self, centres):
        rms = self.rms[np.clip(np.rint(centres[:, 0]), 0, len(self.rms) - 1).astype(int)]
        return np.zeros(len(centres)), rms

    def summary(self):
        return {"median_rms": float(np.nanmedian(self.rms))}


@pytest.mark.parametrize("blank", [np.nan, 0.0])
def test_channels_without_noise_are_not_even_read(detector, monkeypatch, blank):
    monkeypatch.setattr(stream, "_PIECE", 1)
    reader, rms = MemoryReader(cube_of()), np.full(SHAPE[0], 2.0)
    rms[10:40] = blank
    snr = snr_reader(reader.read, ChannelNoise(SHAPE, rms))((slice(5, 45), slice(0, 41), slice(3, 9)))
    assert {part[0].start for part in reader.sections} == {*range(5, 10), *range(40, 45)}
    assert not snr[5:35].any() and snr[:5].all() and snr[35:].all()
    found = detect_cube(reader, ChannelNoise(SHAPE, rms), detector, search=CHUNKS)
    assert len(found) > 5


@pytest.mark.parametrize("piece", [1, 500, 1 << 22])
def test_the_pieces_in_which_a_section_is_read_do_not_matter(monkeypatch, piece):
    data = cube_of()
    data[3, 4, 5] = np.nan
    section = (slice(2, 60), slice(0, 41), slice(7, 50))
    monkeypatch.setattr(stream, "_PIECE", piece)
    reader = MemoryReader(data)
    snr = snr_reader(reader.read, noise_of(SHAPE))(section)
    expected = np.nan_to_num((data[section] - np.float32(0.1)) / np.float32(2))
    assert snr.dtype == np.float32
    np.testing.assert_allclose(snr, expected, atol=1e-6)
    assert max(prod(part.stop - part.start for part in section) for section in reader.sections) <= max(piece, 41 * 43)


def test_the_cube_is_read_in_the_order_of_its_file_and_once_but_for_halos(detector):
    reader = MemoryReader(cube_of())
    detect_cube(reader, noise_of(SHAPE), detector, search=CHUNKS)
    assert [part[0].start for part in reader.sections] == sorted(part[0].start for part in reader.sections)
    read = sum(prod(part.stop - part.start for part in section) for section in reader.sections)
    assert read == sum(prod(part.stop - part.start for part in tile.inside) for tile in chunks_of(SHAPE, detector))


BIG = (6668, 5851, 5851)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [BIG, (1024, 512, 512), (40, 30, 20), (20000, 100, 100)])
@pytest.mark.parametrize("memory", [2e9, 4e9])
def test_no_chunk_takes_more_memory_than_it_may(monkeypatch, shape, memory, half):
    monkeypatch.setattr(stream, "in_half", lambda device: half)
    network = build("C-48.4_s4_p0 C-48.3 C-22.1_linear_none", 3, (1, 32, 32, 32))
    side = chunk_sides(shape, network, Search(), memory)
    plan = plan_tiles(network, shape, Search(side=side))
    largest = max(prod(tile.size) for tile in plan[:: max(len(plan) // 1000, 1)])
    assert stream._PROGRAM + voxel_bytes(network) * largest <= memory
    assert sum(prod(part.stop - part.start for part in tile.core) for tile in plan) == prod(shape)
    if shape == BIG and memory == 4e9:
        assert stream._PROGRAM + voxel_bytes(network) * largest > 0.6 * memory
        # Small patches as those of YOLO-CIANNA compute 1.49 times the cube.
        assert not half or sum(prod(tile.size) for tile in plan) < 1.4 * prod(shape)


def test_the_sides_are_the_cheapest_that_fit(detector, monkeypatch):
    monkeypatch.setattr(stream, "_CHOICES", 6)
    network, shape, memory = detector.network, (300, 200, 9000), 1.0e9
    around = [2 * (reach + 4) for reach in halo(network, Search())]
    best = (inf, None)
    for cuts in product(*([*np.unique(np.geomspace(1, size, 6).astype(int))] for size in shape)):
        side = [ceil(size / count) for size, count in zip(shape, cuts, strict=True)]
        window = [min(part + more, size + 4) for part, more, size in zip(side, around, shape, strict=True)]
        if stream._PROGRAM + voxel_bytes(network) * prod(window) > memory:
            continue
        computed = [size + (count - 1) * more for size, count, more in zip(shape, cuts, around, strict=True)]
        read = prod(computed[:2]) * cuts[2] * min(window[2] + stream._RUN, 9000)
        best = min(best, (prod(computed) + stream._READING * read, tuple(side)))
    assert chunk_sides(shape, network, Search(), memory) == best[1]


def test_too_little_memory_is_told_with_what_is_needed(detector):
    network, memory = detector.network, stream._PROGRAM + 1e3
    with pytest.raises(UserError, match=r"memory: of 0.9 GB is too little .* give 0\.9\d GB or more"):
        chunk_sides(BIG, network, Search(), memory)


def test_deeper_networks_count_what_they_hold():
    thin, wide = (build(f"C-{width}.3 C-4.3", 3, (1, 8, 8, 8)) for width in (4, 16))
    kept = build("[ C-4.3 ] C-4.3", 3, (1, 8, 8, 8))
    assert voxel_bytes(thin) == 4 * (1 + 1 + 4 + 8)
    assert voxel_bytes(wide) == 4 * (1 + 1 + 1 + 32)
    assert voxel_bytes(kept) == 4 * (1 + 1 + 1 + 4 + 10)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of a process")
def test_memory_stays_within_its_bound(detector):
    """A cube of 1 GB that is made while it is read."""
    shape = (1024, 512, 512)

    class Endless:
        path = "endless"

        def __init__(self):
            self.shape = shape

        def read(self, section):
            size = [part.stop - part.start for part in section]
            return np.broadcast_to(np.linspace(-1, 1, size[-1], dtype="f4"), size)

    network, memory = detector.network, stream._PROGRAM + 1.2e8
    before = _peak(reset=True)
    # Only a part of the cube, as only its size matters.
    side = chunk_sides(shape, network, Search(), memory)
    with pytest.raises(Killed):
        detect_cube(
            Endless(), noise_of(shape), detector, memory=memory, search=Search(least=inf), progress=kill_after(6)
        )
    assert prod(side) < prod(shape) / 20
    # The libraries alone take half a gigabyte of what the program may; the cube at once would take more than the rest.
    assert _peak() - before < memory - 5e8


def _peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_progress_is_told_as_share_speed_and_time_left():
    state = Progress(done=60, resumed=20, total=100, seconds=4.0)
    assert (state.share, state.rate, state.left) == (0.6, 10.0, 4.0)
    assert Progress(20, 20, 100, 4.0).left == inf
    assert Progress(100, 100, 100, 1.0).left == 0.0
    assert str(Progress(25, 0, 100, 60.0)) == "25.0 % searched, 4.17e-07 Mvoxel/s, 3.0 min left"
    assert str(Progress(1, 0, 1000, 60.0)).endswith("16.6 h left")


def test_progress_is_logged_at_most_once_in_ten_seconds(caplog):
    caplog.set_level(logging.INFO, "fleming")
    now = 0.0
    progress = ProgressLog("cube.fits", lambda: now)
    for second in range(1, 36):
        now = float(second)
        progress(Progress(second, 0, 100, now))
    assert [record.getMessage()[:17] for record in caplog.records] == [f"cube.fits: {n}.0 %" for n in (10, 20, 30)]


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(tmp_path, detector):
    (tmp_path / "file").write_text("")
    reader = MemoryReader(cube_of())
    with pytest.raises(UserError, match="cannot be written"):
        detect_cube(reader, noise_of(SHAPE), detector, search=CHUNKS, folder=tmp_path / "file" / "chunks")
    assert not reader.sections
