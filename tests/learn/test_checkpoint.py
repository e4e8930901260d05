import os
import pickle

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.learn import checkpoint
from pipeline.learn.checkpoint import State, fingerprint
from pipeline.learn.settings import TrainSettings

RUN = {"epochs": 3, "seed": 1}


class Bomb:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_round_trip(tmp_path):
    state = State(epoch=2, history=[{"epoch": 1, "a": 0.1, "b": None}], best={"w": torch.rand(3)}, joule=None)
    parts = {"network": {"w": torch.rand(2, 2, dtype=torch.float64)}, "scaler": {"scale": 2.0}}
    checkpoint.save(tmp_path / "c.pt", state, parts, RUN)
    found, found_parts = checkpoint.load(tmp_path / "c.pt", RUN)
    assert torch.equal(found.best.pop("w"), state.best.pop("w")) and found == state
    assert torch.equal(found_parts["network"]["w"], parts["network"]["w"]) and found_parts["scaler"] == {"scale": 2.0}


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "c.pt", RUN) is None


@pytest.mark.parametrize("how", ["torch", "pickle", "inside a right one"])
def test_loading_never_runs_code(tmp_path, how):
    path, mark = tmp_path / "c.pt", tmp_path / "mark"
    if how == "torch":
        torch.save(Bomb(mark), path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        checkpoint.save(path, State(history=[{"epoch": Bomb(mark)}]), {}, RUN)
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint.load(path, RUN)
    assert not mark.exists()
    if how != "pickle":
        torch.load(path, weights_only=False)
        assert mark.exists(), "the trap itself does not work"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"text",
        lambda content: b"PK\x03\x04",
        lambda content: content[:-200],
        lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
        lambda content: content.replace(b"epoch", b"hcope"),
    ],
)
def test_damaged(tmp_path, damage):
    path = tmp_path / "c.pt"
    checkpoint.save(path, State(), {"network": {"w": torch.rand(1000)}}, RUN)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="damaged one; delete c.pt to start again"):
        checkpoint.load(path, RUN)


def test_something_else_by_torch(tmp_path):
    torch.save({"w": torch.rand(2)}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="is not a checkpoint of this version"):
        checkpoint.load(tmp_path / "c.pt", RUN)


def test_another_run_is_refused_and_the_change_is_named(tmp_path):
    checkpoint.save(tmp_path / "c.pt", State(), {}, RUN)
    with pytest.raises(UserError, match="epochs was 3, is 4") as caught:
        checkpoint.load(tmp_path / "c.pt", {**RUN, "epochs": 4})
    assert "seed" not in caught.value.what


def test_fingerprint_knows_what_a_result_depends_on():
    def take(network=None, steps=5, seed=1, depends=None, **settings):
        network = network or nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        return fingerprint(network, steps, TrainSettings(**settings), seed, depends)

    same = take()
    assert take() == same == take(device="cpu")
    others = [
        take(epochs=31),
        take(ema=0.9),
        take(steps=6),
        take(seed=2),
        take(depends={"data": "x"}),
        take(nn.Sequential(nn.Linear(2, 4), nn.ReLU())),
        take(nn.Sequential(nn.Linear(2, 3), nn.Tanh())),
    ]
    assert all(sum(other[name] != same[name] for name in same) == 1 for other in others)


def test_full_disk_says_so_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoint.save(path, State(epoch=1), {}, RUN)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(UserError, match="no space left on device"):
        checkpoint.save(path, State(epoch=2), {}, RUN)
    assert checkpoint.load(path, RUN)[0].epoch == 1 and os.listdir(tmp_path) == ["c.pt"]
