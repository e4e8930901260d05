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


def test_readings_in_between_catch_a_counter_that_goes_round_often(tmp_path):
    counter = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    with EnergyMeter(root=tmp_path, period=1e-3) as meter:
        # Several readings fit into each pause, so that no turn is missed.
        for value in (800_000, 600_000, 400_000):
            counter.with_name("next").write_text(str(value))
            counter.with_name("next").replace(counter)
            time.sleep(0.1)
        assert meter.take() == pytest.approx(2.4)


def test_power_of_a_gpu_is_integrated():
    began = time.monotonic()
    with EnergyMeter("GPU-x", root=None, period=0.01, power=lambda uuid: 200.0) as meter:
        time.sleep(0.05)
        joule = meter.take()
    assert 200 * 0.05 <= joule <= 200 * (time.monotonic() - began)


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
