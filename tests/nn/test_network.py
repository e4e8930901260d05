"""Laws of built networks."""

import pytest
import torch
from torch import nn

from pipeline.nn.network import build

AXES = {1: (12,), 2: (12, 10), 3: (8, 6, 10)}
SAMPLES = [
    "C-4.3 [ C-5.4_s2_p1 R-6.3 U-2 ] C-3.3",
    "C-4.3_d0.3 P-2 norm=batch C-6.3 GAP D-8_d0.5 D-3_softmax",
    "C-4.3 R-6.3_s2 E-sincos T-2_d0.1 N-group2 GMP D-3",
    "act=gelu norm=layer C-4.1x3 A-1x2 C-3.1_linear",
]


def _line(line, ndim):
    return line.replace("1x3", "x".join(["1"] * (ndim - 1) + ["3"])).replace(
        "1x2", "x".join(["1"] * (ndim - 1) + ["2"])
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("line", SAMPLES)
def test_a_batch_is_its_samples(line, ndim):
    torch.manual_seed(0)
    network = build(_line(line, ndim), ndim, (2, *AXES[ndim])).double().eval()
    x = torch.randn(3, 2, *AXES[ndim], dtype=torch.float64)
    together = network(x)
    torch.testing.assert_close(together, torch.cat([network(x[i : i + 1]) for i in range(3)]))
    assert tuple(together.shape[1:]) == network.output_shape


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("line", ["C-4.3_s2 N-batch R-4.3 GAP D-3", "C-4.3 E-learned T-2 N-layer GMP D-3"])
def test_an_axis_of_one_pixel_changes_nothing(line, ndim):
    torch.manual_seed(0)
    small = build(line, ndim, (2, *AXES[ndim]))
    large = build(
        line.replace(".3", ".1x" + "x".join(["3"] * ndim)).replace("_s2", "_s1x" + "x".join(["2"] * ndim)),
        ndim + 1,
        (2, 1, *AXES[ndim]),
    )
    weights = {}
    for (name, value), target in zip(small.state_dict().items(), large.state_dict().values(), strict=True):
        weights[name] = value.reshape(target.shape)
    large.load_state_dict(weights)
    x = torch.randn(4, 2, *AXES[ndim])
    torch.testing.assert_close(large.eval()(x.unsqueeze(2)), small.eval()(x))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_flipped_kernels_on_a_flipped_input_give_the_same_answer(ndim):
    torch.manual_seed(0)
    network = build("C-4.3 P-2 norm=batch R-6.3 C-5.5 GAP D-3", ndim, (2, *(8,) * ndim)).double().eval()
    x = torch.randn(2, 2, *(8,) * ndim, dtype=torch.float64)
    straight = network(x)
    last_axis = x.ndim - 1
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            module.weight.data = module.weight.data.flip(last_axis)
    torch.testing.assert_close(network(x.flip(last_axis)), straight)
    assert not torch.allclose(network(x), straight)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_transformer_without_positions_does_not_see_order(ndim):
    torch.manual_seed(0)
    x = torch.randn(2, 8, *(4,) * ndim, dtype=torch.float64)
    network = build("T-2 T-4 N-layer GAP D-3", ndim, (8, *(4,) * ndim)).double().eval()
    torch.testing.assert_close(network(x.flip(2)), network(x))
    placed = build("E-sincos T-2 T-4 N-layer GAP D-3", ndim, (8, *(4,) * ndim)).double().eval()
    assert not torch.allclose(placed(x.flip(2)), placed(x), rtol=1e-9)


def test_attention_is_the_formula():
    torch.manual_seed(0)
    network = build("T-2", 1, (6, 5)).double().eval()
    block = network.layers[0]
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    tokens = x.transpose(1, 2)
    query, key, value = block.query_key_value(block.norm1(tokens)).chunk(3, dim=-1)
    seen = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 3**0.5).softmax(-1)
        seen.append(weights @ value[..., part])
    tokens = tokens + block.project(torch.cat(seen, dim=-1))
    tokens = tokens + block.outer(nn.functional.leaky_relu(block.inner(block.norm2(tokens)), 0.1))
    torch.testing.assert_close(network(x), tokens.transpose(1, 2))


@pytest.mark.parametrize("line", ["C-4.3 P-2 D-8_d0.5 D-3", "C-4.3 GAP D-3", "D-3", "C-4.3 D-3 N-batch"])
def test_features_are_what_the_last_dense_layer_gets(line):
    torch.manual_seed(0)
    network = build(line, 2, (1, 8, 8)).eval()
    x = torch.randn(5, 1, 8, 8)
    caught = []
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    dense.register_forward_pre_hook(lambda module, arguments: caught.append(arguments[0]))
    network(x)
    assert torch.equal(network.features(x), caught[0])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_branch_is_joined_behind_what_entered_it(ndim):
    torch.manual_seed(0)
    network = build("C-4.3 [ C-5.4_s2_p1 [ P-2 R-3.3 U-2 ] N-batch U-2 ] C-2.1", ndim, (1, *(8,) * ndim)).eval()
    x = torch.randn(2, 1, *(8,) * ndim)
    first, _, down, _, pool, residual, grow, _, norm, up, _, last = network.layers
    outer = first(x)
    inner = down(outer)
    inner = torch.cat([inner, grow(residual(pool(inner)))], 1)
    assert torch.equal(network(x), last(torch.cat([outer, up(norm(inner))], 1)))
    network(x).square().sum().backward()
    # the last convolution of a residual block starts at zero, so nothing reaches those before it yet
    assert all(p.grad is not None for p in network.parameters())


def test_what_enters_a_branch_is_not_changed_by_it():
    torch.manual_seed(0)
    network = build("[ N-batch_relu C-2.1_relu ] C-3.1_linear", 2, (2, 4, 4)).eval()
    x = torch.randn(2, 2, 4, 4)
    before = x.clone()
    network(x)
    assert torch.equal(x, before)


def test_a_network_of_branches_runs_on_other_axes_and_gives_features():
    torch.manual_seed(0)
    network = build("C-4.3 [ P-2 C-6.3 U-2 ] C-3.3", 2, (1, 8, 8)).eval()
    assert (network.output_shape, network.reduction) == ((3, 8, 8), (1, 1))
    assert network(torch.randn(1, 1, 16, 12)).shape == (1, 3, 16, 12)
    dense = build("C-4.3 [ P-2 C-6.3 U-2 ] GAP D-7 D-3", 2, (1, 8, 8), 3).eval()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(dense.layers[-1](dense.features(x)), dense(x))


def test_a_network_without_dense_layers_returns_features_for_any_axes():
    network = build("C-4.5_s2 E-sincos T-2 C-6.3", 2, (1, 16, 16)).eval()
    assert network.output_shape == (6, 8, 8)
    x = torch.randn(1, 1, 24, 40)
    assert network(x).shape == (1, 6, 12, 20)
    assert torch.equal(network.features(x), network(x))


@pytest.mark.parametrize(
    ("line", "outputs"),
    [
        ("C-4.3 [ P-2 C-4.3 U-2 ] C-2.1", None),
        ("resnet-10_w2_stem1", None),
        ("resnet-10_w2_stem1", 3),
        ("C-4.3", None),
        ("C-4.3 GAP D-3", 3),
    ],
)
def test_a_network_can_be_made_again_of_what_it_knows(line, outputs):
    torch.manual_seed(0)
    first = build(line, 1, (2, 16), outputs).eval()
    again = build(first.line, first.ndim, first.input_shape, first.outputs).eval()
    again.load_state_dict(first.state_dict())
    x = torch.randn(2, 2, 16)
    assert torch.equal(first(x), again(x))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_heads_are_left_to_the_caller(head):
    torch.manual_seed(0)
    plain = build("C-4.3 GAP D-3", 1, (1, 16), 3)
    headed = build(f"C-4.3 GAP D-3_{head}", 1, (1, 16), 3)
    headed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 16)
    assert torch.equal(plain(x), headed(x))
    assert (plain.head, headed.head, headed.outputs) == ("linear", head, 3)


def test_the_seed_decides_the_weights():
    def draw(seed):
        torch.manual_seed(seed)
        return build("C-4.3 R-4.3 E-learned T-2 GAP D-3", 1, (1, 16)).state_dict()

    first, again, other = draw(1), draw(1), draw(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("act", ["relu", "leaky0.1", "leaky0.5"])
def test_the_first_signal_keeps_its_size_through_many_layers(act):
    torch.manual_seed(0)
    network = build(f"act={act} " + "C-64.3 " * 12, 1, (64, 400)).eval()
    x = torch.randn(4, 64, 400)
    with torch.no_grad():
        # borders are padded with zeros, so a little is lost at the ends
        assert 0.5 < float(network(x).square().mean()) < 2


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_residual_block_starts_as_its_skip_connection(norm):
    torch.manual_seed(0)
    network = build(f"R-4.3_linear_{norm}", 2, (4, 6, 6)).eval()
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(network(x), x)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_batch_normalisation_is_that_of_torch(ndim):
    torch.manual_seed(0)
    ours = build("N-batch", ndim, (4, *AXES[ndim]))
    theirs = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[ndim](4)
    for _ in range(3):
        x = 3 * torch.randn(5, 4, *AXES[ndim]) + 1
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_batch_normalisation_of_a_single_object():
    network = build("GAP D-6 N-batch D-2", 1, (2, 8))
    network(torch.randn(16, 2, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(1, 2, 8)
    trained = network.train()(x)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    torch.testing.assert_close(trained, network.eval()(x))


def test_normalisations_by_their_definitions():
    x = torch.randn(3, 6, 5, 7, dtype=torch.float64) * 4 + 2

    def standardised(values, *dims):
        return (values - values.mean(dims, keepdim=True)) / values.std(dims, keepdim=True, unbiased=False)

    cases = {
        "layer": standardised(x, 1),
        "instance": standardised(x, 2, 3),
        "group1": standardised(x, 1, 2, 3),
        "group2": standardised(x.reshape(3, 2, 3, 5, 7), 2, 3, 4).reshape(x.shape),
    }
    for name, expected in cases.items():
        network = build(f"N-{name}", 2, (6, 5, 7)).double()
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


def test_padding_does_not_enter_an_average():
    network = build("A-3_s1_p1", 2, (1, 5, 5))
    assert torch.equal(network(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pooling_undoes_upsampling(ndim):
    x = torch.randn(2, 3, *AXES[ndim])
    for pool in ("P-2", "A-2"):
        torch.testing.assert_close(build(f"U-2 {pool}", ndim, (3, *AXES[ndim]))(x), x)
