"""Energy used, where the machine reports it: processor packages by RAPL, one NVIDIA GPU by its power draw."""

import subprocess
import threading
import time
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Counter:
    """A RAPL energy counter [microjoule] that starts again from zero when it is full."""

    def __init__(self, folder: Path):
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())

    def take(self) -> float:
        """Joules since the last call, right as long as the counter went round at most once in between."""
        now = int(self._file.read_text())
        used = now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return used * 1e-6


def counters(root: Path = POWERCAP) -> list[Counter]:
    """The counters of the processor packages that this user may read; sub-domains are inside a package already."""
    found = []
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            if (folder / "name").read_text().startswith("package"):
                found.append(Counter(folder))
        except (OSError, ValueError):
            continue
    return found


def gpu_power(uuid: str) -> float | None:
    """Power that the GPU draws now [watt], or None where nvidia-smi does not say."""
    command = ["nvidia-smi", f"--id={uuid}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return float(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


class EnergyMeter:
    """Adds up the energy of the whole machine's processors and of one GPU while the block runs.

    Other programs on the machine are counted too: neither source tells processes apart.

    Parameters
    ----------
    gpu : uuid of the GPU as nvidia-smi names it ("GPU-..."), or None.
    root : folder of the RAPL counters, or None to leave the processors out.
    period : seconds between two readings; short against the hour or so in which a RAPL counter goes round.
    """

    def __init__(self, gpu: str | None = None, *, root: Path | None = POWERCAP, period: float = 5.0, power=gpu_power):
        self._asked = root is not None
        self._counters = counters(root) if root else []
        self._gpu, self._power, self._period = gpu, power, period
        self._watt = power(gpu) if gpu else None
        self._read = time.monotonic()
        self._joule = 0.0
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._sample, name="energy", daemon=True)

    @property
    def reports(self) -> bool:
        """Whether the machine reports what was asked for: the GPU if there is one, else the processors, if asked."""
        return self._watt is not None if self._gpu else bool(self._counters) or not self._asked

    def __enter__(self) -> "EnergyMeter":
        if self.reports:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(self._period):
            self._update()

    def _update(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._watt is not None:
                # Trapezium rule; a reading that fails once keeps the last known power.
                watt = self._power(self._gpu)
                watt = self._watt if watt is None else watt
                self._joule += 0.5 * (self._watt + watt) * (now - self._read)
                self._watt = watt
            self._read = now
            self._joule += sum(counter.take() for counter in self._counters)

    def take(self) -> float | None:
        """Joules since the last call (or since the meter was made), None where the machine does not report them."""
        if not self.reports:
            return None
        self._update()
        with self._lock:
            joule, self._joule = self._joule, 0.0
        return joule
