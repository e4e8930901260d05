import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import UserError
from pipeline.learn.model_file import FORMAT_VERSION, load_model, read_description, save_model
from pipeline.nn.network import build
from pipeline.nn.unet import UNet

DESCRIPTION = {"classes": ["O", "β"], "normalise": [{"name": "tanh", "scale": 1.5}], "history": {"best_epoch": 3}}
NETWORKS = {
    1: ("C-4.5 P-2 N-batch GAP D-2", (2, 16), 2),
    2: ("vit_p4_w8_h2_l1", (1, 8, 8), 2),
    3: ("C-2.3 [ P-2 R-4.3 U-2 ] GAP", (1, 4, 6, 4), None),
}


def network(ndim=1):
    torch.manual_seed(ndim)
    line, shape, outputs = NETWORKS[ndim]
    return build(line, ndim, shape, outputs)


@pytest.fixture
def model(tmp_path):
    """A good model file."""
    path = tmp_path / "model.safetensors"
    save_model(path, network(), DESCRIPTION)
    return path


def rewrite(path, **changes):
    """The same weights with another description."""
    from safetensors.torch import load_file

    tensors, description = load_file(path), {**read_description(path), **changes}
    save_file(tensors, path, {"fleming": json.dumps({k: v for k, v in description.items() if v is not ...})})


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_round_trip_is_bit_identical(tmp_path, ndim):
    path, net = tmp_path / "m.safetensors", network(ndim).eval()
    save_model(path, net, DESCRIPTION)
    random = torch.get_rng_state()
    loaded, description = load_model(path)
    assert torch.equal(torch.get_rng_state(), random)
    assert not loaded.training and description == read_description(path)
    line, shape, outputs = NETWORKS[ndim]
    architecture = {"line": line, "ndim": ndim, "input_shape": list(shape), "outputs": outputs}
    assert description == {"format_version": FORMAT_VERSION, **architecture, **DESCRIPTION}
    assert net.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in net.state_dict().items())
    x = torch.randn(3, *shape)
    assert torch.equal(net(x), loaded(x))


def test_bytes_are_the_same_every_time_and_after_a_round_trip(tmp_path, model):
    save_model(tmp_path / "again", network(), DESCRIPTION)
    loaded, _ = load_model(model)
    save_model(tmp_path / "loaded", loaded, DESCRIPTION)
    assert model.read_bytes() == (tmp_path / "again").read_bytes() == (tmp_path / "loaded").read_bytes()


def test_the_description_is_read_without_torch(model):
    code = (
        "import sys; from pipeline.learn.model_file import read_description; "
        "print(read_description(sys.argv[1])['line']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, NETWORKS[1][0]), done.stderr


def test_a_description_cannot_contradict_the_network(tmp_path):
    with pytest.raises(ValueError, match="must not hold line"):
        save_model(tmp_path / "m", network(), {"line": "D-2"})


class Bomb:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", ["torch", 2, 3, 4, 5])
def test_a_pickle_is_refused_and_never_run(tmp_path, protocol):
    path, mark = tmp_path / "model.safetensors", tmp_path / "mark"
    if protocol == "torch":
        torch.save(Bomb(mark), path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark), protocol))
    for read in (load_model, read_description):
        with pytest.raises(UserError, match="is a pickle, which can run code when loaded; give"):
            read(path)
    assert not mark.exists()


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        load_model(path)
    assert caught.value.where == str(path)


def test_what_is_not_a_model_file(tmp_path):
    refused(tmp_path / "none", "does not exist")
    refused(tmp_path, "cannot be read")
    for content in (b"", b"abc", b"text of more than eight bytes", (5).to_bytes(8, "little") + b"[1,2]"):
        (tmp_path / "m").write_bytes(content)
        refused(tmp_path / "m", "is not a model file")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.999])
def test_cut_short(model, keep):
    content = model.read_bytes()
    model.write_bytes(content[: int(len(content) * keep)])
    refused(model, "is cut short|bytes instead of")


def test_more_than_a_model_file(model):
    model.write_bytes(model.read_bytes() + b"payload")
    refused(model, "bytes instead of")


def test_safetensors_of_others(tmp_path):
    path = tmp_path / "m.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"w": torch.zeros(2)}, path, metadata)
        refused(path, "without a description by Fleming")
    save_file({"w": torch.zeros(2)}, path, {"fleming": "{"})
    refused(path, "not JSON")


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"format_version": FORMAT_VERSION + 1}, "this program reads up to"),
        ({"format_version": ...}, "without format_version"),
        ({"line": ...}, "without line"),
        ({"line": 5}, "make no sense"),
        ({"input_shape": "2, 16"}, "make no sense"),
        ({"input_shape": [2, -16]}, "make no sense"),
        ({"ndim": 1.0}, "make no sense"),
        ({"line": "C-4.5 P-2 N-batch GAP D-9", "outputs": 9}, "have shape"),
        ({"line": "C-4.5 P-2 N-batch GAP D-5 D-2"}, "its network needs"),
        ({"line": "C-9999999.9 C-9999999.9 GAP D-2"}, "cannot be built .*token 2"),
        ({"line": "C-4.5 P-2 N-batch GAP D-9999 D-9999 D-2"}, "its network needs"),
    ],
)
def test_descriptions_that_do_not_fit(model, changes, match):
    rewrite(model, **changes)
    refused(model, match)


def test_tied_weights_and_other_layouts_can_be_saved(tmp_path):
    net = network(3)
    net = net.to(memory_format=torch.channels_last_3d)
    save_model(tmp_path / "strided", net, {})
    save_model(tmp_path / "plain", network(3), {})
    assert (tmp_path / "strided").read_bytes() == (tmp_path / "plain").read_bytes()
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    for name, value in {"line": "D-2 D-2", "ndim": 1, "input_shape": (1, 2), "outputs": 2}.items():
        setattr(tied, name, value)
    save_model(tmp_path / "tied", tied, {})
    assert read_description(tmp_path / "tied")["line"] == "D-2 D-2"


UNET = "unet-4.8_p2_r1_a1_c2"


@pytest.fixture
def unet_file(tmp_path):
    """The model file of a U-Net none of whose weights are zero, and the U-Net."""
    torch.manual_seed(3)
    net = UNet(UNET, 2, (1, 6, 5), 1).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path / "unet.safetensors"
    save_model(path, net, DESCRIPTION)
    return path, net


def test_a_network_of_another_builder_makes_the_round_trip(tmp_path, unet_file):
    path, net = unet_file
    random = torch.get_rng_state()
    loaded, description = load_model(path, build=UNet)
    assert torch.equal(torch.get_rng_state(), random)
    assert description["line"] == UNET and not loaded.training
    inputs = torch.randn(2, 1, 6, 5), torch.rand(2), torch.randn(2, 2)
    assert torch.equal(net(*inputs), loaded(*inputs)) and net(*inputs).any()
    save_model(tmp_path / "again", loaded, DESCRIPTION)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_network_and_its_builder_must_belong_together(unet_file, model):
    path, _ = unet_file
    refused(path, "cannot be built")
    with pytest.raises(UserError, match="cannot be built .* is not the beginning of a U-Net"):
        load_model(model, build=UNet)
    rewrite(path, line=UNET.replace("4.8", "4.12"))
    with pytest.raises(UserError, match="its network needs"):
        load_model(path, build=UNet)
