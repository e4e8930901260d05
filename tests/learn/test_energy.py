import threading
import time

import pytest

from pipeline.learn.energy import EnergyMeter, counters, gpu_power


def domain(root, name, kind, used, full=1_000_000):
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text(f"{full}\n")
    (folder / "energy_uj").write_text(f"{used}\n")
    return folder / "energy_uj"


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    first = domain(tmp_path, "intel-rapl:0", "package-0", 100_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 900_000)
    inside = domain(tmp_path, "intel-rapl:0:0", "core", 0)
    with EnergyMeter(root=tmp_path) as meter:
        first.write_text("600000")
        second.write_text("300000")  # went round: 100000 to the top, 300000 after it
        inside.write_text("500000")
        assert meter.take() == pytest.approx(0.5 + 0.4)
        assert meter.take() == 0


def test_a_counter_may_go_round_between_every_two_readings(tmp_path):
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    with EnergyMeter(root=tmp_path) as meter:
        joule = 0.0
        for value in (800_000, 600_000, 400_000):
            counter.write_text(str(value))
            joule += meter.take()
    assert joule == pytest.approx(0.8 + 0.8 + 0.8)


def test_power_of_a_gpu_is_read_again_and_again_and_integrated():
    began, readings = time.monotonic(), threading.Semaphore(0)

    def power(uuid):
        readings.release()
        return 200.0

    with EnergyMeter("GPU-x", root=None, period=0.01, power=power) as meter:
        began_late = time.monotonic()
        assert all(readings.acquire(timeout=30) for _ in range(4))
        low = 200 * (time.monotonic() - began_late)
        joule = meter.take()
    assert low <= joule <= 200 * (time.monotonic() - began)


def test_a_machine_that_does_not_report_gives_none(tmp_path):
    with EnergyMeter(root=tmp_path) as meter:
        assert meter.take() is None
    with EnergyMeter("GPU-x", root=tmp_path, power=lambda uuid: None) as meter:
        assert meter.take() is None
    locked = tmp_path / "intel-rapl:0"
    locked.mkdir()
    (locked / "name").write_text("package-0")
    assert counters(tmp_path) == []


def test_a_process_that_was_asked_for_nothing_adds_nothing():
    with EnergyMeter(root=None) as meter:
        assert meter.take() == 0


def test_power_without_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_power("GPU-x") is None
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 123.5\n")
    smi.chmod(0o755)
    assert gpu_power("GPU-x") == 123.5
    smi.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu_power("GPU-x") is None
