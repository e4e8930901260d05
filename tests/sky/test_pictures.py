"""Pictures and idx files: written by an independent program or by the format's definition, read back."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipeline.sky.pictures import read_idx, read_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_png_round_trip(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), GREY[None])
    np.testing.assert_array_equal(read_picture(tmp_path / "colour.png"), np.moveaxis(COLOUR, -1, 0))


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_gives_the_channels_asked_for(tmp_path, mode, colour, channels):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(COLOUR).convert(mode).save(path)
    pixels = read_picture(path, colour)
    assert pixels.shape == (channels, 6, 9)
    assert pixels.dtype == np.uint8


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 256 + 7).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), GREY[None])


def test_jpeg_in_an_archive_equals_the_file(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "JPEG")
    (tmp_path / "a.jpeg").write_bytes(stream.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.jpeg", stream.getvalue())
    np.testing.assert_array_equal(read_picture(tmp_path / "a.zip" / "x/a.jpeg"), read_picture(tmp_path / "a.jpeg"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 4)])
def test_idx_by_its_definition(tmp_path, shape, code, dtype, packed):
    data = RNG.integers(0, 100, shape).astype(dtype)
    content = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    content += data.astype(np.dtype(dtype).newbyteorder(">")).tobytes()
    (tmp_path / "a-idx").write_bytes(gzip.compress(content) if packed else content)
    result = read_idx(tmp_path / "a-idx")
    np.testing.assert_array_equal(result, data)
    assert result.dtype == np.dtype(dtype)
