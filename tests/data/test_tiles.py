import threading

import numpy as np
import pytest

from pipeline.data.tiles import read_ahead, read_window, tiles

CASES = [
    ((100,), 32, 5, 4),
    ((33,), 7, 0, 1),
    ((5,), 64, 9, 8),
    ((50, 41), (16, 20), (3, 8), (8, 2)),
    ((17, 9), 5, 2, 4),
    ((12, 20, 9), (5, 8, 4), (1, 2, 3), (1, 2, 4)),
]


def frame_of(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(("shape", "core", "halo", "multiple"), CASES)
def test_cores_cover_the_frame_once_and_windows_hold_the_halo(shape, core, halo, multiple):
    count = np.zeros(shape, int)
    halo, multiple = np.broadcast_to(halo, len(shape)), np.broadcast_to(multiple, len(shape))
    for tile in tiles(shape, core, halo, multiple):
        count[tile.core] += 1
        assert np.all([part.stop - part.start for part in tile.core] <= np.broadcast_to(core, len(shape)))
        for inner, outer, grown, step in zip(tile.core, tile.window, halo, multiple, strict=True):
            assert inner.start - grown - step < outer.start <= inner.start - grown
            assert inner.stop + grown <= outer.stop < inner.stop + grown + step
            assert outer.start % step == 0 and outer.stop % step == 0
    assert np.all(count == 1)


@pytest.mark.parametrize(("shape", "core", "halo", "multiple"), CASES)
def test_every_position_has_one_owner(shape, core, halo, multiple):
    random = np.random.default_rng(0)
    halves = random.integers(-3, 2 * np.array(shape) + 2, (500, len(shape))) / 2
    centres = np.concatenate([halves, random.uniform(-1, np.array(shape), (500, len(shape)))])
    pieces = tiles(shape, core, halo, multiple)
    owners = np.stack([tile.owns(centres) for tile in pieces])
    assert np.all(owners.sum(0) == 1)
    nearest = np.clip(np.floor(centres + 0.5), 0, np.array(shape) - 1).astype(int)
    for tile, owned in zip(pieces, owners, strict=True):
        low, high = (np.array([getattr(part, end) for part in tile.core]) for end in ("start", "stop"))
        assert np.array_equal(owned, np.all((nearest >= low) & (nearest < high), axis=1))
    assert not any(tile.owns(np.full((1, len(shape)), np.nan)).any() for tile in pieces)


@pytest.mark.parametrize(("shape", "core", "halo", "multiple"), CASES)
def test_windows_equal_a_padded_frame(shape, core, halo, multiple):
    frame, margin = frame_of(shape), 40
    padded = np.pad(frame, margin, constant_values=-1)
    for tile in tiles(shape, core, halo, multiple):
        window = read_window(lambda section: frame[section], tile, fill=-1)
        place = tuple(slice(part.start + margin, part.stop + margin) for part in tile.window)
        assert window.shape == tile.size and np.array_equal(window, padded[place])
        assert np.array_equal(tile.origin, [part.start for part in tile.window])
        assert np.array_equal(np.pad(frame[tile.inside], tile.pad, constant_values=-1), window)


def test_bands_before_the_axes_stay():
    bands = np.stack([frame_of((9, 7)), -frame_of((9, 7))])
    for tile in tiles((9, 7), 4, 2, 2):
        window = read_window(lambda section: bands[(slice(None), *section)], tile)
        for band, part in zip(bands, window, strict=True):
            alone = read_window(lambda section, band=band: band[section], tile)
            assert np.array_equal(alone, part, equal_nan=True)


@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_reading_ahead_gives_the_same_windows_in_order(ahead):
    frame = frame_of((40, 30))
    pieces = tiles(frame.shape, 9, 2, 2)
    caller, read_in = threading.current_thread(), []

    def read(section):
        read_in.append(threading.current_thread())
        return frame[section]

    result = list(read_ahead(read, pieces, 0.0, ahead))
    assert [tile for tile, _ in result] == pieces and caller not in read_in
    for tile, window in result:
        assert np.array_equal(window, read_window(lambda section: frame[section], tile, 0.0))


def test_no_more_is_read_than_asked_ahead():
    reads = []
    pieces = tiles((64,), 4, 0)
    windows = read_ahead(lambda section: reads.append(section) or np.zeros(4), pieces, ahead=2)
    for done in range(1, 5):
        next(windows)
        assert len(reads) <= done + 2
    windows.close()
    assert len(reads) <= 6
    assert not any(thread.name.startswith("read_ahead") for thread in threading.enumerate())


def test_an_error_reaches_the_caller_at_its_tile():
    def read(section):
        if section[0].start >= 8:
            raise OSError("disk gone")
        return np.zeros(section[0].stop - section[0].start)

    done = []
    with pytest.raises(OSError, match="disk gone"):
        for tile, _ in read_ahead(read, tiles((16,), 4, 0)):
            done.append(tile.core[0].start)
    assert done == [0, 4]


@pytest.mark.parametrize(("core", "halo", "multiple"), [(0, 1, 1), (4, -1, 1), (4, 1, 0)])
def test_impossible_tiles_are_refused(core, halo, multiple):
    with pytest.raises(ValueError, match="cannot be cut"):
        tiles((8, 8), core, halo, multiple)
