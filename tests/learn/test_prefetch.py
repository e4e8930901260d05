import threading

import pytest
import torch

from pipeline.learn.prefetch import Prefetch

CPU = torch.device("cpu")


def source(made, n=5, fail_at=None):
    for index in range(n):
        if index == fail_at:
            raise OSError("the disk is gone")
        made.append((index, threading.current_thread().name))
        yield torch.tensor([index]), torch.tensor([-index])


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_every_batch_comes_once_and_in_order(n, ahead):
    with Prefetch(source([], n), CPU, ahead) as stream:
        assert [(x.item(), y.item()) for x, y in stream] == [(index, -index) for index in range(n)]
        assert stream.waited >= 0


@pytest.mark.parametrize("ahead", [False, True])
def test_an_error_in_a_batch_reaches_the_caller_after_the_batches_before(ahead):
    seen = []
    with pytest.raises(OSError, match="the disk is gone"), Prefetch(source([], fail_at=2), CPU, ahead) as stream:
        for x, _ in stream:
            seen.append(x.item())
    assert seen == [0, 1]


def test_a_thread_is_at_most_one_batch_ahead_and_ends_with_the_block():
    made, main = [], threading.current_thread().name
    with Prefetch(source(made), CPU, ahead=True) as stream:
        for x, _ in stream:
            assert len(made) <= x.item() + 2
            if x.item() == 2:
                break
    count = len(made)
    assert count in (3, 4) and all(name != main for _, name in made)
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
