"""A tiny run of three kinds of data, made once; each test gets a copy in which it breaks something."""

import contextlib
import hashlib
import io
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from pipeline.cli import main
from pipeline.errors import FlemingWarning

CONFIG = """\
run: results
tasks:
  stars:
    kind: classify
    input: {manifest: stars.csv, kind: spectrum, grid: [4000, 4400, 10]}
    network: C-2.5 P-4 D-3
    train: {epochs: 1, batch: 8}
  galaxies:
    kind: classify
    input: {manifest: galaxies.csv, kind: image}
    network: C-2.3 GAP D-2
    train: {epochs: 1, batch: 8}
  kelvin:
    kind: classify
    input: {manifest: galaxies.csv, kind: image, unit: K}
    network: C-2.3 GAP D-2
  pictures:
    kind: classify
    input: {manifest: pictures.csv, kind: image}
    network: C-2.3 GAP D-2
  clouds:
    kind: classify
    input: {manifest: clouds.csv, kind: cube}
    network: C-2.3 GAP D-2
  flowers:
    kind: classify
    input: {manifest: flowers.csv, kind: table}
    network: D-2
  injected:
    kind: classify
    simulate: {sources: clouds.csv, shape: [4, 8, 8], snr: [4, 20], n: 24}
    input: {kind: cube}
    labels: label
    network: C-2.3 GAP D-2
"""
SKY = {
    "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 180.0, "CRVAL2": 30.0, "CRPIX1": 4.5, "CRPIX2": 4.5,
    "CDELT1": -0.001, "CDELT2": 0.001, "CUNIT1": "deg", "CUNIT2": "deg",
    "BUNIT": "Jy/beam", "BMAJ": 0.003, "BMIN": 0.003, "BPA": 0.0, "RESTFRQ": 1.4e9,
}  # fmt: skip
SCALE = {"CTYPE1": "WAVE", "CRVAL1": 4000.0, "CDELT1": 10.0, "CRPIX1": 1.0, "CUNIT1": "Angstrom"}
SHAPES = {"stars": (40,), "galaxies": (8, 8), "clouds": (4, 8, 8)}
_SENTENCE = re.compile(r"fleming: (warning: )?\S.*: \S.*; \S.*[^.]\.")


class Work:
    """A folder, the current one, with the files of a run; helpers to break them and to run the command."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name, content):
        """Write text or bytes."""
        self.path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    def cut(self, name, keep):
        """Keep the first bytes of a file; a negative number leaves so many out at its end."""
        self.write(name, self.path(name).read_bytes()[:keep])

    def edit(self, name, old, new):
        """Replace the first `old`, which must be there."""
        text = self.path(name).read_text()
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def fits(self, name, data, **cards):
        fits.PrimaryHDU(np.asarray(data), fits.Header(cards)).writeto(self.path(name), overwrite=True)

    def star(self, name, flux=None, **cards):
        self.fits(name, sample("stars", 0) if flux is None else np.asarray(flux, "f4"), **(SCALE | cards))

    def galaxy(self, name, data=None, without=(), **cards):
        kept = {key: value for key, value in (SKY | cards).items() if key not in without}
        self.fits(name, sample("galaxies", 0) if data is None else np.asarray(data, "f4"), **kept)

    def run(self, command):
        """Exit code and the lines on the screen of `fleming COMMAND`; what is not a warning of Fleming's is a fault."""
        screen = io.StringIO()
        with contextlib.redirect_stderr(screen), contextlib.redirect_stdout(screen), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("always", FlemingWarning)
            try:
                code = main(command.split())
            except SystemExit as stop:
                code = stop.code
        return code, screen.getvalue().splitlines()

    def files(self):
        """Every file with a checksum of its bytes, the log left out."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_file() and name != "run.log":
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def assert_refused(self, command, *words):
        """The law of bad input: exit code 2, one sentence a problem that says `words`, nothing new, nothing changed."""
        before = self.files()
        code, lines = self.run(f"{command} --log run.log")
        screen, log = "\n".join(lines), self.path("run.log").read_text()
        assert code == 2, screen + log
        assert self.files() == before
        assert lines
        for line in lines:
            assert _SENTENCE.fullmatch(line), line
        for word in words:
            assert word in screen
        problems = [line for line in lines if not line.startswith("fleming: warning:")]
        assert problems
        assert all(line in log for line in problems)
        assert "Traceback (most recent call last)" in log
        self._assert_old_output_stays(command, lines)

    def _assert_old_output_stays(self, command, lines):
        outs = re.findall(r"--out (?!/)(\S+)", command)
        kept = [self.folder / out for out in outs if not (self.folder / out).exists()]
        if not kept or any(parent.is_file() for path in kept for parent in path.parents):
            return
        for path in kept:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("old")
        before = self.files()
        assert self.run(command) == (2, lines)
        assert self.files() == before

    def assert_warned(self, command, *words):
        """Exit code 0, and warnings of one sentence that say `words`; gives the warnings."""
        code, lines = self.run(f"{command} --log run.log")
        assert code == 0, "\n".join(lines) + self.path("run.log").read_text()
        warned = [line for line in lines if line.startswith("fleming:")]
        for line in warned:
            assert _SENTENCE.fullmatch(line), line
            assert line.startswith("fleming: warning:")
        for word in words:
            assert word in "\n".join(warned)
        assert not [path for path in self.folder.rglob(".*") if path.is_file()]
        return warned


def sample(task, number):
    """Noise, with a bump whose place depends on the class."""
    data = np.random.default_rng(number).normal(1.0, 0.1, SHAPES[task]).astype("f4")
    place = 2 + 2 * (number % 3 if task == "stars" else number % 2)
    data[..., place : place + 2] += 2.0
    return data


def _make(work):
    work.write("run.yaml", CONFIG)
    for task, shape in SHAPES.items():
        cards = SCALE if len(shape) == 1 else SKY
        rows = ["path,id,class,ra,dec"]
        for number in range(12):
            work.fits(f"{task}/{number:02d}.fits", sample(task, number), **cards)
            name = "ABC"[number % 3] if task == "stars" else "AB"[number % 2]
            rows.append(f"{task}/{number:02d}.fits,{task}-{number:02d},{name},{10 * number},{number}")
        work.write(f"{task}.csv", "\n".join(rows) + "\n")
    rows = ["path,class"]
    for number in range(12):
        pixels = np.clip(sample("galaxies", number) * 60, 0, 255).astype("u1")
        Image.fromarray(pixels).save(work.path(f"pictures/{number:02d}.png"))
        rows.append(f"pictures/{number:02d}.png,{'AB'[number % 2]}")
    work.write("pictures.csv", "\n".join(rows) + "\n")
    rows = ["length,width,class"] + [f"{number},{number % 2},{'AB'[number % 2]}" for number in range(12)]
    work.write("flowers.csv", "\n".join(rows) + "\n")
    for task in ("stars", "galaxies"):
        stage = f"--config run.yaml --task {task}"
        folder = f"results/{task}"
        for command in (
            f"ingest {stage} --out {folder}/dataset.h5",
            f"train {stage} --dataset {folder}/dataset.h5 --device cpu --out {folder}/model.safetensors",
            f"classify --dataset {folder}/dataset.h5 --model {folder}/model.safetensors --out {folder}/catalogue.fits",
        ):
            code, lines = work.run(command)
            assert code == 0, "\n".join(lines)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder of the tiny run, to be copied."""
    folder = tmp_path_factory.mktemp("tiny")
    with contextlib.chdir(folder):
        _make(Work(folder))
    return folder


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """A fresh copy of the tiny run as the current folder."""
    folder = tmp_path / "work"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return Work(folder)


@pytest.fixture
def empty_work(tmp_path, monkeypatch):
    """An empty folder as the current one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Work(folder)


@pytest.fixture(scope="session")
def workplace():
    """A function (folder) that gives the helpers for a folder of one's own; commands run in the current one."""
    return Work
