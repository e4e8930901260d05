import gzip
import hashlib
import struct
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from pipeline.data.ingest import SharedGroupWarning, ingest
from pipeline.data.sample import read_sample
from pipeline.data.settings import InputSettings, SplitSettings
from pipeline.data.store import open_store
from pipeline.errors import UserError

SPLIT = SplitSettings(train=0.5, validation=0.25, test=0.25)


@pytest.fixture
def frames(tmp_path):
    """Twelve 8x8 FITS images of two classes in `data/`, their manifest, and the settings to read them."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,class,ra,dec"]
    for k in range(12):
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0 + k, "CRVAL2": 5.0})
        header.update({"CRPIX1": 4.5, "CRPIX2": 4.5, "CDELT1": -1e-3, "CDELT2": 1e-3, "BUNIT": "Jy/beam"})
        fits.PrimaryHDU(rng.normal(size=(8, 8)).astype(np.float32), header).writeto(folder / f"g{k:02d}.fits")
        lines.append(f"g{k:02d}.fits,{'ab'[k % 2]},{100 + k if k else ''},{-k if k else ''}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return InputSettings(manifest=str(folder / "m.csv"), kind="image")


def run(settings, out, labels="class", classes=None, split=SPLIT, **more):
    ingest(settings, labels, classes, split, 7, out, **more)
    return open_store(out)


def test_the_store_holds_what_read_sample_gives(frames, tmp_path):
    seen = []
    with run(frames, tmp_path / "out" / "d.h5", progress=seen.append) as store:
        assert store.n == 12 and store.shape == (1, 8, 8)
        assert store.ids.tolist() == [f"g{k:02d}" for k in range(12)]
        assert store.classes == ["a", "b"] and store.labels.tolist() == [0, 1] * 6
        assert {name: len(store.indices(name)) for name in ("train", "validation", "test")} == {
            "train": 6, "validation": 3, "test": 3,
        }  # fmt: skip
        x = store.read()
        settings = InputSettings.model_validate(store.input)
        assert settings.shape == (8, 8)
        for k in range(12):
            alone = read_sample(tmp_path / "data" / f"g{k:02d}.fits", None, settings)
            np.testing.assert_array_equal(x[k], alone.data)
            assert store.headers[k] == alone.header
        np.testing.assert_allclose(store.ra[[0, 3]], [10.0, 103.0])
        assert store.unit == "Jy / beam"
    assert seen == list(range(1, 13))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["d.h5"]


def test_the_same_bytes_again_and_the_same_splits_for_shuffled_rows(frames, tmp_path):
    run(frames, tmp_path / "1.h5").close()
    run(frames, tmp_path / "2.h5").close()
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    path = tmp_path / "data" / "m.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[::-1]]) + "\n")
    with open_store(tmp_path / "1.h5") as one, run(frames, tmp_path / "3.h5") as three:
        assert dict(zip(one.ids, one.splits, strict=True)) == dict(zip(three.ids, three.splits, strict=True))


def test_all_bad_objects_are_reported_and_nothing_is_left(frames, tmp_path):
    (tmp_path / "data" / "g03.fits").write_text("this is no FITS file")
    whole = (tmp_path / "data" / "g05.fits").read_bytes()
    (tmp_path / "data" / "g05.fits").write_bytes(whole[: len(whole) - 2880])
    fits.PrimaryHDU(np.ones((4, 4), np.float32)).writeto(tmp_path / "data" / "g07.fits", overwrite=True)
    with pytest.raises(UserError) as caught:
        ingest(frames, "class", None, SPLIT, 7, tmp_path / "out" / "d.h5")
    lines = str(caught.value).splitlines()
    for row, name in ((5, "g03"), (7, "g05")):
        assert any(f"m.csv row {row}:" in line and name in line for line in lines), lines
    assert any("m.csv row 9:" in line and "4 x 4" in line for line in lines), lines
    assert list((tmp_path / "out").iterdir()) == []


def test_mixed_units_are_refused_unless_converted(frames, tmp_path):
    path = tmp_path / "data" / "g04.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["BUNIT"] = "mJy/beam"
        raw = hdus[0].data.copy()
    with pytest.raises(UserError, match="several units"):
        ingest(frames, "class", None, SPLIT, 7, tmp_path / "d.h5")
    with run(frames.model_copy(update={"unit": "Jy/beam"}), tmp_path / "d.h5") as store:
        np.testing.assert_allclose(store.read([4])[0, 0], raw / 1000, rtol=1e-6)


def test_given_splits_are_kept_and_shared_groups_are_told(frames, tmp_path):
    path = tmp_path / "data" / "m.csv"
    head, *rows = path.read_text().splitlines()
    parts = ["train"] * 8 + ["test"] * 4
    text = [head + ",split,group"] + [f"{r},{p},n{k % 8}" for k, (r, p) in enumerate(zip(rows, parts, strict=True))]
    path.write_text("\n".join(text) + "\n")
    split = SplitSettings(train=0.75, validation=0.25, test=0.0, column="split")
    with pytest.warns(SharedGroupWarning, match="4 groups"):
        ingest(frames, "class", None, split, 7, tmp_path / "d.h5")
    with open_store(tmp_path / "d.h5") as store:
        assert store.splits[8:].tolist() == ["test"] * 4
        assert sorted(store.splits[:8].tolist()) == ["train"] * 6 + ["validation"] * 2


def test_pictures_in_a_zip_and_sha256(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=(8, 6, 6), dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for k, picture in enumerate(pixels):
            Image.fromarray(picture).save(tmp_path / "p.png")
            archive.write(tmp_path / "p.png", f"x/{k}.png")
    checksum = hashlib.sha256((tmp_path / "all.zip").read_bytes()).hexdigest()
    rows = [f"all.zip/x/{k}.png,{k % 2},{checksum}" for k in range(8)]
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(["file,class,sha256", *rows]) + "\n")
    settings = InputSettings(manifest=str(manifest), kind="image")
    with run(settings, tmp_path / "d.h5") as store:
        assert store.dtype == np.uint8
        np.testing.assert_array_equal(store.read()[:, 0], pixels)
        assert store.paths[0] == "all.zip/x/0.png"
    manifest.write_text(manifest.read_text().replace(checksum, "0" * 64))
    with pytest.raises(UserError, match="has the sha256"):
        ingest(settings, "class", None, SPLIT, 7, tmp_path / "d.h5")


def test_idx_files_expand_to_their_images(tmp_path):
    rng = np.random.default_rng(0)
    content = {}
    for name, n in (("train", 12), ("test", 4)):
        content[name] = rng.integers(0, 256, size=(n, 5, 5), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 3 + 8
        images = struct.pack(">4B3I", 0, 0, 8, 3, n, 5, 5) + content[name].tobytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{name}-labels").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, n) + labels.tobytes())
    (tmp_path / "m.csv").write_text("path,labels,split\ntrain.gz,train-labels,train\ntest.gz,test-labels,test\n")
    settings = InputSettings(manifest=str(tmp_path / "m.csv"), kind="idx")
    split = SplitSettings(train=0.5, validation=0.5, test=0.0, column="split")
    with run(settings, tmp_path / "d.h5", "labels", split=split) as store:
        assert store.ids[[0, 11, 12]].tolist() == ["train-00000", "train-00011", "test-00000"]
        assert store.classes == ["8", "9", "10"]
        np.testing.assert_array_equal(store.read()[:, 0], np.concatenate(list(content.values())))
        assert len(store.indices("test")) == 4 and len(store.indices("train")) == 6
    with run(settings, tmp_path / "e.h5", "labels", {"odd": ["9"], "even": ["8"]}, split) as store:
        assert store.n == 11 and store.labels[:3].tolist() == [1, 0, 1]
    (tmp_path / "test-labels").write_bytes((tmp_path / "train-labels").read_bytes())
    with pytest.raises(UserError, match="row 3: names 4 images"):
        ingest(settings, "labels", None, split, 7, tmp_path / "f.h5")


def test_a_headerless_table(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 3)).round(3)
    lines = [",".join(map(str, row)) + f",{'pq'[k % 2]}" for k, row in enumerate(values)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    settings = InputSettings(manifest=str(tmp_path / "t.csv"), kind="table", columns=["a", "b", "c", "class"])
    with run(settings, tmp_path / "d.h5") as store:
        assert store.shape == (1, 3) and store.input["features"] == ["a", "b", "c"]
        np.testing.assert_allclose(store.read()[:, 0], values, rtol=1e-6)
        settings = InputSettings.model_validate(store.input)
        np.testing.assert_array_equal(store.read([5])[0], read_sample(tmp_path / "t.csv", 5, settings).data)
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(str(values[4, 1]), "much"))
    with pytest.raises(UserError, match='row 5: has "much"'):
        ingest(settings, "class", None, SPLIT, 7, tmp_path / "e.h5")


def test_urls_are_fetched_beside_the_store(frames, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "data"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/m.csv"
        with run(frames, tmp_path / "d.h5") as local:
            remote = frames.model_copy(update={"manifest": url})
            with run(remote, tmp_path / "far" / "d.h5") as store:
                np.testing.assert_array_equal(store.read(), local.read())
                assert store.ids.tolist() == local.ids.tolist()
        (tmp_path / "data" / "g02.fits").unlink()
        with pytest.raises(UserError, match=r"row 4: .*g02.fits.*404"):
            ingest(remote, "class", None, SPLIT, 7, tmp_path / "elsewhere" / "d.h5")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not (tmp_path / "elsewhere" / "d.h5").exists()


def test_numbers_of_the_manifest_travel_with_the_objects(frames, tmp_path):
    manifest = tmp_path / "data" / "m.csv"
    lines = manifest.read_text().splitlines()
    rows = [f"{line},{10.0**-k:g},{'' if k == 3 else k}" for k, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([lines[0] + ",flux,size", *rows]) + "\n")
    more = {"columns": ["flux"], "optional_columns": ["size", "ellipticity"]}
    with run(frames, tmp_path / "d.h5", **more) as store:
        assert list(store.columns) == ["flux", "size"]
        np.testing.assert_allclose(store.columns["flux"], 10.0 ** -np.arange(12))
        assert np.flatnonzero(np.isnan(store.columns["size"])).tolist() == [3]
    with pytest.raises(UserError, match='has no column "fluks".*write "flux"'):
        run(frames, tmp_path / "e.h5", columns=["fluks"])
    manifest.write_text(manifest.read_text().replace(",0.01,", ",bright,"))
    with pytest.raises(UserError, match='row 4: has "bright" in condition column "flux"'):
        run(frames, tmp_path / "e.h5", columns=["flux"])
    assert not (tmp_path / "e.h5").exists()


def test_objects_need_no_label(frames, tmp_path):
    with run(frames, tmp_path / "d.h5", labels=None) as store:
        assert store.classes == [] and store.labels.tolist() == [-1] * 12
        assert len(store.indices("train")) == 6
