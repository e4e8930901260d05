"""The line of text of a U-Net."""

import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.nn.unet_line import UNetLine, read_unet_line


def test_every_option_and_what_is_left_out():
    assert read_unet_line("unet-32.64.128_p2_r3_a2_c10", 2) == UNetLine((32, 64, 128), (2, 2), 3, 2, 10)
    assert read_unet_line("unet-32_c0", 1) == UNetLine((32,), (1,), 1, 1, 0)
    assert read_unet_line("unet-8.16_a0_p1x2x4", 3) == UNetLine((8, 16), (1, 2, 4), 1, 0, 0)


@pytest.mark.parametrize("line", ["unet-32.64.128_p2_r3_a2_c10", "unet-32", "unet-8.16_a0_p1x2x4"])
def test_what_was_read_is_written_as_a_line_that_says_the_same(line):
    ndim = 3 if "x" in line else 2
    read = read_unet_line(line, ndim)
    assert read_unet_line(read.line, ndim) == read


@pytest.mark.parametrize(
    "line, match",
    [
        ("C-16.3 D-2", "not the beginning of a U-Net"),
        ("unet", "not the beginning of a U-Net"),
        ("unet-", "not the beginning of a U-Net"),
        ("unet-32x64", "not the beginning of a U-Net"),
        ("unet-32.0", "not the beginning of a U-Net"),
        ("unet-32.64_q2", '"_q2" is not an option'),
        ("unet-32.64_p0", '"_p0" is not an option'),
        ("unet-32.64_r0", '"_r0" is not an option'),
        ("unet-32.64_", '"_" is not an option'),
        ("unet-32.64_r1_r2", "answers again"),
        ("unet-32.64_a3", "write at most _a2"),
        ("unet-32.64_p2x2x2", "3 numbers, but the data have 2 axes"),
    ],
)
def test_a_wrong_line_is_one_sentence(line, match):
    with pytest.raises(UserError, match=match) as caught:
        read_unet_line(line, 2)
    assert caught.value.where == f'network "{line}"' and "\n" not in str(caught.value)


def test_a_line_is_read_without_torch():
    code = (
        "import sys; from pipeline.nn.unet_line import read_unet_line; read_unet_line('unet-8', 2); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
