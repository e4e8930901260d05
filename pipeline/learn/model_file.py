"""Model files: weights and everything needed to use them, in one safetensors file that cannot run code.

The layout (safetensors 0.x): 8 bytes, the length of the header, little-endian; the header, JSON; the numbers. The
header's "__metadata__" holds one entry, "fleming", JSON text of a description: format_version, line, ndim,
input_shape, outputs, and whatever the task adds (normalisation, classes, units, history, config, versions).
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    Builder = Callable[[str, int, tuple[int, ...], int | None], nn.Module]

FORMAT_VERSION = 1

_ARCHITECTURE = ("line", "ndim", "input_shape", "outputs")
_PICKLES = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
_OTHER = "give the model.safetensors that fleming train wrote"


def save_model(path: str | os.PathLike, network: "nn.Module", description: dict[str, Any]) -> None:
    """Write the weights of `network` with its architecture and `description` (any JSON); the same bytes every time.

    `network` knows its `line`, `ndim`, `input_shape` (channel, *axes) and `outputs`, from which a builder makes it
    again: `pipeline.nn.network.build`, or the one that is given to `load_model`.

    Raises
    ------
    UserError : the file cannot be written.
    """
    from safetensors.torch import save

    clash = {"format_version", *_ARCHITECTURE} & description.keys()
    if clash:
        raise ValueError(f"description must not hold {', '.join(sorted(clash))}: the model file adds them")
    known = {name: getattr(network, name) for name in _ARCHITECTURE}
    content = {"format_version": FORMAT_VERSION, **known, **description}
    text = json.dumps(content, allow_nan=False, default=lambda value: value.tolist())
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    with atomic(path) as beside:
        beside.write_bytes(save(tensors, {"fleming": text}))


def load_model(
    path: str | os.PathLike, device: "torch.device | str" = "cpu", build: "Builder | None" = None
) -> tuple["nn.Module", dict[str, Any]]:
    """The network with its weights on `device`, in evaluation mode, and its description. PyTorch's random state stays.

    `build(line, ndim, input_shape, outputs)` makes the network of a description; by default it is
    `pipeline.nn.network.build`. It is called for the meta device first, so it must make its tensors by torch alone.

    Raises
    ------
    UserError : what `read_description` raises, or weights that do not belong to the network the file describes.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from pipeline.nn import network as notation

    build = build or notation.build
    path = Path(path)
    description = read_description(path)
    architecture = [tuple(value) if isinstance(value, list) else value for value in map(description.get, _ARCHITECTURE)]
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UserError(path, f"is damaged ({error})", "copy or train the model again") from error
    # On the meta device first: a wrong file must not make this machine allocate what its network line asks for.
    with torch.device("meta"):
        try:
            empty = build(*architecture)
        except UserError as error:
            problem = error.problems[0]
            what = f"describes a network that cannot be built ({problem.where}: {problem.what})"
            raise UserError(path, what, "train the model again with this version") from error
        _match(path, empty, tensors)
    with torch.random.fork_rng(devices=[]):
        network = build(*architecture)
    network.load_state_dict(tensors)
    return network.to(device).eval(), description


def _match(path: Path, network: "nn.Module", tensors: dict[str, "torch.Tensor"]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            what = f"weights {name} have shape {given.get(name, 'none')}, its network needs {wanted.get(name, 'none')}"
            raise UserError(path, what, "train the model again with this version")
    for name, tensor in tensors.items():
        # A network with a NaN in it finds nothing, or one class in everything, without a word.
        if not tensor.isfinite().all():
            raise UserError(path, f"has weights {name} that are not finite numbers", "copy or train the model again")


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """The description in a model file, without its weights and without PyTorch.

    Raises
    ------
    UserError : the file is missing, a pickle, cut short, not a model file of Fleming, or of a newer version.
    """
    path = Path(path)
    header = _header(path)
    text = header.get("__metadata__", {}).get("fleming")
    if text is None:
        raise UserError(path, "is a safetensors file without a description by Fleming", _OTHER)
    try:
        description = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(path, f"has a description that is not JSON ({error})", _OTHER) from error
    version = description.get("format_version") if isinstance(description, dict) else None
    if not isinstance(version, int):
        raise UserError(path, "has a description without format_version", _OTHER)
    if version > FORMAT_VERSION:
        what = f"has format version {version}, this program reads up to {FORMAT_VERSION}"
        raise UserError(path, what, "update Fleming, or train the model again with this version")
    missing = [name for name in _ARCHITECTURE if name not in description]
    if missing:
        raise UserError(path, f"has a description without {', '.join(missing)}", _OTHER)
    line, ndim, shape, outputs = (description[name] for name in _ARCHITECTURE)
    whole = isinstance(shape, list) and all(type(value) is int and value > 0 for value in [ndim, *shape, outputs or 1])
    if not (isinstance(line, str) and whole):
        raise UserError(path, "has a description whose line, ndim, input_shape or outputs make no sense", _OTHER)
    return description


def _header(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            start = stream.read(8)
            length = int.from_bytes(start, "little")
            text = stream.read(length) if length <= size - 8 else b""
    except FileNotFoundError as error:
        raise UserError(path, "does not exist", "give the path of a model.safetensors") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({(error.strerror or str(error)).lower()})", _OTHER) from error
    try:
        header = json.loads(text)
        end = max([tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"], default=0)
        metadata = header.get("__metadata__", {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata must be text")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        if start.startswith(_PICKLES):
            raise UserError(path, "is a pickle, which can run code when loaded", _OTHER) from error
        if len(start) == 8 and size - 8 < length < 1 << 27:
            raise UserError(path, "is cut short", "copy or train the model again") from error
        raise UserError(path, "is not a model file", _OTHER) from error
    if size != 8 + length + end:
        raise UserError(path, f"has {size} bytes instead of {8 + length + end}", "copy or train the model again")
    return header
