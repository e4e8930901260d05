"""Laws of the store: what goes in comes out, equal data give equal bytes, a bad file is named."""

import resource
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipeline.data.store import Dataset, chunk_samples, open_store, write_store
from pipeline.errors import UserError

AXES = {1: (50,), 2: (9, 11), 3: (4, 5, 6)}


def dataset(ndim, n=37, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(100, 30, (n, 2, *AXES[ndim])).astype(dtype)
    return Dataset(
        x=x,
        label=rng.integers(-1, 3, n),
        ids=[f"Ωbject {i}" for i in range(n)],
        groups=[f"group {i // 2}" for i in range(n)],
        splits=rng.choice(["train", "validation", "test"], n).tolist(),
        classes=["FRI", "FRII", "naïve"],
        ra=rng.uniform(0, 360, n),
        dec=rng.uniform(-90, 90, n),
        headers=["CTYPE1  = 'RA---SIN'" + " " * (i % 5) + "\nEND" for i in range(n)],
        paths=[f"frames/{i}.fits" for i in range(n)],
        axis=np.linspace(3900, 5500, AXES[ndim][-1]),
        unit="Jy / beam",
        kind="image",
        input={"shape": list(AXES[ndim]), "unit": None},
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_round_trip(tmp_path, ndim, dtype):
    data = dataset(ndim, dtype=dtype)
    write_store(tmp_path / "a.h5", data)
    with open_store(tmp_path / "a.h5") as store:
        assert (store.n, store.shape, store.dtype) == (37, (2, *AXES[ndim]), np.dtype(dtype))
        np.testing.assert_array_equal(store.read(), data.x)
        np.testing.assert_array_equal(store.labels, data.label)
        np.testing.assert_array_equal(store.ra, data.ra)
        np.testing.assert_array_equal(store.dec, data.dec)
        np.testing.assert_array_equal(store.axis, data.axis)
        assert store.ids.tolist() == data.ids
        assert store.groups.tolist() == data.groups
        assert store.splits.tolist() == data.splits
        assert store.headers.tolist() == data.headers
        assert store.paths.tolist() == data.paths
        assert store.classes == data.classes
        assert (store.kind, store.unit, store.input) == (data.kind, data.unit, data.input)
        assert not store.multilabel
        found = np.concatenate([store.indices(name) for name in ("train", "validation", "test")])
        assert sorted(found) == list(range(37))


def test_optional_columns_and_several_labels(tmp_path):
    label = np.array([[1, 0], [1, 1], [0, 0]])
    x = np.full((3, 1, 4), np.nan)
    write_store(tmp_path / "a.h5", Dataset(x, label, ["a", "b", "c"], ["a"] * 3, [""] * 3, ["ring", "bar"]))
    with open_store(tmp_path / "a.h5") as store:
        assert store.multilabel
        assert store.dtype == np.float32
        assert np.isnan(store.read()).all()
        assert np.isnan(store.ra).all()
        assert store.axis is None
        assert store.paths.tolist() == store.headers.tolist() == ["", "", ""]
        np.testing.assert_array_equal(store.labels, label)


def test_equal_data_give_equal_bytes_streamed_or_not(tmp_path):
    data = {ndim: dataset(ndim) for ndim in (1, 2, 3)}
    for ndim in data:
        write_store(tmp_path / f"a{ndim}.h5", data[ndim])
    time.sleep(1.1)  # HDF5 counts time stamps in seconds
    for ndim, one in data.items():
        write_store(tmp_path / f"b{ndim}.h5", replace(one, x=iter(one.x), shape=one.x.shape[1:], dtype="float32"))
        assert (tmp_path / f"a{ndim}.h5").read_bytes() == (tmp_path / f"b{ndim}.h5").read_bytes()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_any_indices_are_rows_of_the_whole(tmp_path, ndim):
    data = dataset(ndim, n=400)
    write_store(tmp_path / "a.h5", data)
    rng = np.random.default_rng(1)
    with open_store(tmp_path / "a.h5") as store:
        assert store.chunk < 400
        for size in (0, 1, 7, 900):
            indices = rng.integers(0, 400, size)
            np.testing.assert_array_equal(store.read(indices), data.x[indices])
        np.testing.assert_array_equal(store.read([3, 1], "label"), data.label[[3, 1]])
        with pytest.raises(IndexError):
            store.read([400])


def test_chunks_are_about_64_kb():
    assert chunk_samples((1, 28, 28), "u1", 60000) == 83
    assert chunk_samples((1, 512, 512), "f4", 10) == 1
    assert chunk_samples((1, 4), "f4", 3) == 3


def test_a_stream_must_hold_what_it_says(tmp_path):
    data = dataset(1)
    wrong = [*data.x[:5], data.x[5, :, :-1]]
    with pytest.raises(UserError, match="sample Ωbject 5: has the shape 2 x 49, the others have 2 x 50"):
        write_store(tmp_path / "a.h5", replace(data, x=iter(wrong), shape=(2, 50)))
    for rows in (data.x[:-1], np.concatenate([data.x, data.x[:1]])):
        with pytest.raises(ValueError, match="37 ids"):
            write_store(tmp_path / "a.h5", replace(data, x=iter(rows), shape=(2, 50)))
    with pytest.raises(ValueError, match="column group"):
        write_store(tmp_path / "a.h5", replace(data, groups=["a"]))
    with pytest.raises(UserError, match="no sample"):
        write_store(tmp_path / "a.h5", Dataset(data.x[:0], data.label[:0], [], [], [], []))
    assert list(tmp_path.iterdir()) == []


def damage(path, kind):
    if kind == "absent":
        path.unlink()
    elif kind == "text":
        path.write_text("id,label\n1,2\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        with h5py.File(path, "a") as file:
            if kind == "foreign":
                del file.attrs["format"]
            elif kind == "version":
                file.attrs["format_version"] = 99
            elif kind == "no x":
                del file["x"]
            elif kind == "input":
                file.attrs["input"] = "{"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "does not exist"),
        ("text", "is not an HDF5 file"),
        ("empty", "is not an HDF5 file"),
        ("truncated", "truncated"),
        ("folder", "is a folder"),
        ("foreign", "not a Fleming data set"),
        ("version", "format version 99"),
        ("no x", 'no dataset "x"'),
        ("input", "is damaged"),
    ],
)
def test_a_bad_file_is_named(tmp_path, kind, message):
    path = tmp_path / "a.h5"
    write_store(path, dataset(2))
    damage(path, kind)
    with pytest.raises(UserError, match=message) as caught, open_store(path):
        pass
    assert str(path) in str(caught.value)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    data = dataset(3)
    write_store(path, data)
    with h5py.File(path) as file:
        place = file["x"].id.get_chunk_info(0).byte_offset + 40
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with open_store(path) as store, pytest.raises(UserError, match="is damaged in rows 0 to"):
        store.read()


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, dataset(1))
    before = path.read_bytes()
    # a limit on the size of files is a disk that is full for this process alone
    program = """
import sys, numpy
from pipeline.data.store import Dataset, write_store
from pipeline.errors import UserError
x = numpy.random.default_rng(0).normal(size=(200, 1, 4000))
names = [str(i) for i in range(200)]
try:
    write_store(sys.argv[1], Dataset(x, numpy.zeros(200), names, names, names, ["a"]))
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    assert f"{path}: cannot be written (file too large)" in done.stdout, done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_travel_with_their_names_and_units(tmp_path):
    data = dataset(2)
    flux = np.where(np.arange(37) % 5, np.geomspace(1e-7, 1e-3, 37), np.nan)
    write_store(
        tmp_path / "a.h5", replace(data, columns={"flux": flux, "n": np.arange(37)}, column_units={"flux": "Jy"})
    )
    with open_store(tmp_path / "a.h5") as store:
        assert list(store.columns) == ["flux", "n"] and store.column_units == {"flux": "Jy", "n": ""}
        np.testing.assert_array_equal(store.columns["flux"], flux)
        np.testing.assert_array_equal(store.read(), data.x)
    with pytest.raises(ValueError, match="length of ids"):
        write_store(tmp_path / "a.h5", replace(data, columns={"flux": flux[1:]}))


def test_a_data_set_without_numbers_is_the_file_that_it_always_was(tmp_path):
    write_store(tmp_path / "a.h5", dataset(2))
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file) == ["axis", "class", "dec", "group", "header", "id", "label", "path", "ra", "split", "x"]
        assert file.attrs["format_version"] == 1
    with open_store(tmp_path / "a.h5") as store:
        assert store.columns.shape == (37, 0) and store.column_units == {}
