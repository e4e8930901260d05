"""The GPU's measurements, on the processor and on a few pixels: their arithmetic is right where there is no GPU."""

import sys
from pathlib import Path

import pytest
import torch

from pipeline.detect.image import ContinuumImage

CPU = torch.device("cpu")


@pytest.fixture
def gpu_detect(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import gpu_detect

    return gpu_detect


@pytest.fixture
def gpu_hi(gpu_detect):
    import gpu_hi

    return gpu_hi


def test_the_published_network_has_its_published_cost(gpu_detect):
    cianna = gpu_detect.CONTENDERS["YOLO-CIANNA SDC1"]
    network = cianna.build(64, CPU)
    assert sum(part.numel() for part in network.parameters()) == 12_622_909
    assert network.reduction == (16, 16)
    assert network.field == (100, 100)
    assert cianna.macs() == pytest.approx(87_784, rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16 autocast"])
@pytest.mark.parametrize("last", [True, False])
def test_a_networks_speed_and_rate_agree(gpu_detect, precision, last):
    before = torch.backends.cudnn.allow_tf32
    row = gpu_detect.forward_speed(gpu_detect.FLEMING, 32, 2, precision, last, False, CPU, least=1e-4)
    assert row["mpix_per_second"] > 0
    assert row["tflops"] == pytest.approx(2 * gpu_detect.FLEMING.macs() * row["mpix_per_second"] / 1e6)
    assert row["share_of_peak"] is None
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_time_of_a_call_is_that_of_a_call(gpu_detect, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(gpu_detect.time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += 0.25

    assert gpu_detect.seconds_a_call(call, CPU, least=3.0) == pytest.approx(0.25)


def test_every_winner_may_be_among_the_cases(gpu_detect):
    cases = gpu_detect.forward_cases((1, 4))
    assert len(cases) == len(set(cases))
    assert {precision for _, precision, _, _ in cases} == set(gpu_detect.PEAK)
    assert (4, "bf16", True, True) in cases


def test_an_image_is_searched_from_disk(gpu_detect, tmp_path):
    figures = gpu_detect.disk_speed(tmp_path, None, CPU, side=96, cores=(64,), tile=128)
    assert [row["what"] for row in figures["rows"]] == 2 * [
        "Fleming, network",
        "YOLO-CIANNA SDC1, network",
        "Fleming, detections",
    ]
    assert all(row["mpix_per_second"] > 0 for row in figures["rows"])
    assert ContinuumImage.open(tmp_path / "image.fits").shape == (96, 96)


def test_training_is_measured_from_crops_to_steps(gpu_detect, tmp_path):
    row = gpu_detect.training_speed(tmp_path, CPU, batch=2, crop=32, steps=1, tile=128, epochs=1)
    assert row["mpix_per_second"] > 0
    assert row["steps_alone_mpix_per_second"] > 0
    assert 0 <= row["data_wait_share"] <= 1


def test_without_a_gpu_a_sentence_ends_it(gpu_detect, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_detect.py"])
    assert gpu_detect.main() == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_the_published_network_for_cubes_has_its_published_cost(gpu_hi):
    cianna = gpu_hi.CONTENDERS["YOLO-CIANNA SDC2"]
    network = cianna.build((32, 16, 16), CPU)
    assert sum(part.numel() for part in network.parameters()) == pytest.approx(3.35e6, rel=0.002)
    assert network.reduction == (16, 8, 8)
    assert cianna.macs() == pytest.approx(6930, rel=1e-3)


def test_a_cube_is_searched_from_disk(gpu_hi, tmp_path):
    figures = gpu_hi.disk_speed(tmp_path, None, CPU, shape=(40, 20, 24), cores=((32, 20, 24),))
    rows = figures["rows"]
    assert [row["what"] for row in rows[:3]] == ["Fleming, network", "YOLO-CIANNA SDC2, network", "Fleming, detections"]
    assert [row["cold"] for row in rows] == [True] * 3 + [False] * 3
    assert rows[2]["detections"] == rows[5]["detections"]
    assert all(row["mvoxel_per_second"] > 0 for row in rows)


def test_the_speed_of_a_network_for_cubes_is_that_of_its_voxels(gpu_hi):
    hi = gpu_hi.CONTENDERS["Fleming"]
    row = gpu_hi.forward_speed(hi, (16, 8, 8), 2, False, CPU, least=1e-4)
    assert row["tflops"] == pytest.approx(2 * hi.macs() * row["mvoxel_per_second"] / 1e6)


def test_without_a_gpu_a_sentence_ends_the_cubes_too(gpu_hi, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_hi.py"])
    assert gpu_hi.main() == 2
    assert "no CUDA device" in capsys.readouterr().err
