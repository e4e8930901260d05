"""Several processes that train one network: the few collective operations that the loop needs.

Gradients are summed over the processes after each backward pass instead of wrapping the network in
DistributedDataParallel: an objective may then call any method of the network, batches may be split unevenly, and the
result is the gradient of the mean over the whole batch exactly.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

# The first process validates while the others wait in a collective operation; the usual 10 minutes can be too short.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Team:
    """This process among `world` of them; every method is a no-op for one process."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @torch.no_grad()
    def share_weights(self, network: nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.world > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def mean_gradients(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        """Replace gradients of the mean over this process's `count` samples by those over the samples of all."""
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters])
        flat = torch.cat([flat * count, flat.new_tensor([count])])
        dist.all_reduce(flat)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, part in zip(parameters, (flat[:-1] / flat[-1]).split(sizes), strict=True):
            parameter.grad.copy_(part.view_as(parameter))

    @torch.no_grad()
    def mean_buffers(self, network: nn.Module) -> None:
        """Average the running statistics of norms, of which every process has seen a part of the data."""
        if self.world > 1:
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.world

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def agree(self, number: int) -> int:
        """The first process's number."""
        if self.world == 1:
            return number
        tensor = torch.tensor([number], device=self.device)
        dist.broadcast(tensor, 0)
        return int(tensor.item())


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """The processes that torchrun started (RANK and WORLD_SIZE in the environment), or this one alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(0, 1, device)
        return
    ours = not dist.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Team(dist.get_rank(), world, device)
    finally:
        if ours:
            dist.destroy_process_group()
