"""The grammar: what a line means, and what a wrong one is answered."""

import random
import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.nn.notation import head, network_line, parse
from pipeline.nn.shapes import trace

LECTURE = "C-6.5 P-2 C-16.5 P-2 C-48.3 D-1024_d0.5 D-256_d0.2 D-10"


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_number_is_meant_for_every_axis(ndim):
    first, pool, *_, last = parse(LECTURE, ndim)
    assert (first.width, first.size, first.stride, first.padding) == (6, (5,) * ndim, (1,) * ndim, (2,) * ndim)
    assert (pool.size, pool.stride, pool.padding) == ((2,) * ndim, (2,) * ndim, (0,) * ndim)
    assert (first.activation, last.activation, last.width) == ("leaky0.1", "linear", 10)


def test_numbers_an_axis_and_options_in_any_order():
    one, other = (
        parse(f"C-16.3x5x7_{options}", 3)[0] for options in ("s1x2x2_p0_g4_b0_relu_d0.25", "d0.25_relu_b0_g4_p0_s1x2x2")
    )
    assert one.size == other.size == (3, 5, 7)
    for layer in (one, other):
        assert (layer.stride, layer.padding, layer.groups, layer.bias) == ((1, 2, 2), (0, 0, 0), 4, False)
        assert (layer.activation, layer.dropout) == ("relu", 0.25)


def test_directives_hold_for_what_follows_and_tokens_overrule_them():
    line = "C-8.3 act=relu norm=group4 pad=valid C-8.3 C-8.3_linear_none_same D-8 R-8.3"
    layers = parse(line.replace(" R-8.3", ""), 1)
    first, second, third, dense = layers
    assert (first.activation, first.norm, first.padding, first.bias) == ("leaky0.1", "none", (1,), True)
    assert (second.activation, second.norm, second.padding, second.bias) == ("relu", "group4", (0,), False)
    assert (third.activation, third.norm, third.padding, third.bias) == ("linear", "none", (1,), True)
    assert dense.norm == "none"


def test_brackets_need_no_white_space():
    line = "C-4.3 [ P-2 [ C-8.3 ] U-2 ] C-4.3"
    assert parse(line.replace(" [ ", "[").replace(" ] ", "]"), 2) == parse(line, 2)


def test_the_defaults_of_a_name_end_with_it():
    layers = parse("resnet-10_w4 D-5 D-3", 1)
    assert {layer.activation for layer in layers if layer.kind in "CR"} == {"relu"}
    assert (layers[-2].activation, layers[-1].activation) == ("leaky0.1", "linear")
    assert {layer.number for layer in layers[:-2]} == {1}


def test_a_line_that_is_a_name_gets_its_dense_layer():
    assert parse("vit_p4_w8_h2_l1", 2, outputs=7)[-1].width == 7
    assert parse("vit_p4_w8_h2_l1", 2)[-1].kind == "GAP"
    assert parse("resnet-18 D-9_sigmoid", 2, outputs=9)[-1].token == "D-9_sigmoid"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GAP D-3", "linear"),
        ("GAP D-3_softmax", "softmax"),
        ("D-3_sigmoid", "sigmoid"),
        ("C-3.1_linear GAP_softmax", "softmax"),
        ("C-3.1_sigmoid", "sigmoid"),
        ("D-3_tanh", "linear"),
    ],
)
def test_head(line, expected):
    assert head(parse(line, 2)) == expected


# line for two axes, the token that is wrong as the message names it, a part of the reason, the remedy
WRONG = [
    ("C-6.5 P-2 C-x.5", 'token 3 "C-x.5"', 'number of filters is "x"', 'write "C-16.5"'),
    ("C-6 D-3", 'token 1 "C-6"', "size of the filters is missing", 'write "C-6.3"'),
    ("c-6.5", 'token 1 "c-6.5"', '"c" is not a layer', 'write "C-6.5"'),
    ("C6.5", 'token 1 "C6.5"', "is not a layer", 'write "C-6.5"'),
    ("C-6,5", 'token 1 "C-6,5"', "size of the filters is missing", 'write "C-6.5"'),
    ("Conv2d-6.5", 'token 1 "Conv2d-6.5"', "is not a layer", 'write "C-6.5"'),
    ("C--6.5", 'token 1 "C--6.5"', "whole number of at least 1", 'write "C-6.5"'),
    ("C-0.3", 'token 1 "C-0.3"', "whole number of at least 1", 'write "C-16.3"'),
    ("C-\u0663.3", 'token 1 "C-\u0663.3"', "whole number of at least 1", 'write "C-16.3"'),
    ("C-6.5x5x5", 'token 1 "C-6.5x5x5"', "has 3 numbers, but the data have 2 axes", 'write "C-6.5"'),
    ("C-6.5_s2x2x2", 'token 1 "C-6.5_s2x2x2"', "the stride 2x2x2 has 3 numbers", 'write "C-6.5_s2"'),
    ("C-6.5_s0", 'token 1 "C-6.5_s0"', "the stride", 'write "C-6.5"'),
    ("C-6.5_stride2", 'token 1 "C-6.5_stride2"', "is not an option (a convolution has", 'write "C-6.5_s2"'),
    ("C-6.5_foo", 'token 1 "C-6.5_foo"', '"_foo" is not an option', 'write "C-6.5"'),
    ("C-6.5_s2_s3", 'token 1 "C-6.5_s2_s3"', "answers again", 'write "C-6.5_s2"'),
    ("C-6.5_same_p1", 'token 1 "C-6.5_same_p1"', "answers again", 'write "C-6.5_same"'),
    ("C-7.3_g4", 'token 1 "C-7.3_g4"', "cannot be divided into 4 groups", 'write "C-8.3_g4"'),
    ("C-8.3_b2", 'token 1 "C-8.3_b2"', "not 0 or 1", 'write "C-8.3"'),
    ("P2", 'token 1 "P2"', "is not a layer", 'write "P-2"'),
    ("P-3_p2", 'token 1 "P-3_p2"', "more than 1x1, half the size", 'write "P-3"'),
    ("maxpool-2", 'token 1 "maxpool-2"', "is not a layer", 'write "P-2"'),
    ("GAP-2", 'token 1 "GAP-2"', "nothing may follow it", 'write "GAP"'),
    ("R-32.4", 'token 1 "R-32.4"', "must be odd", 'write "R-32.5"'),
    ("R-32.2+3", 'token 1 "R-32.2+3"', "must be odd", 'write "R-32.3+3"'),
    ("R-32.3+3x3x3", 'token 1 "R-32.3+3x3x3"', "the second size 3x3x3 has 3 numbers", 'write "R-32.3"'),
    ("R-32.3+", 'token 1 "R-32.3+"', "the second size", 'write "R-32.3"'),
    ("C-32.3+5", 'token 1 "C-32.3+5"', "the size", 'write "C-32.3"'),
    ("R-32.3_valid", 'token 1 "R-32.3_valid"', "does not belong here", 'write "R-32.3"'),
    ("N-grp", 'token 1 "N-grp"', "is not a normalisation", 'write "N-batch"'),
    ("BN", 'token 1 "BN"', "is not a layer", 'write "N-batch"'),
    ("E-x", 'token 1 "E-x"', "is not a position embedding", 'write "E-sincos"'),
    ("D-1024-d0.5 D-1", 'token 1 "D-1024-d0.5"', "number of units", 'write "D-1024_d0.5"'),
    ("D-10_0.5 D-1", 'token 1 "D-10_0.5"', "is not an option", 'write "D-10_d0.5"'),
    ("D-10_d50 D-1", 'token 1 "D-10_d50"', "not a fraction", 'write "D-10_d0.50"'),
    ("D-10_sofmax", 'token 1 "D-10_sofmax"', "is not an option", 'write "D-10_softmax"'),
    ("D-99999999999", 'token 1 "D-99999999999"', "whole number", 'write "D-128"'),
    ("D-10_s2", 'token 1 "D-10_s2"', "does not belong here", 'write "D-10"'),
    ("D-10_d0.5", 'token 1 "D-10_d0.5"', "would erase answers", 'write "D-10"'),
    ("D-10_softmax D-3", 'token 1 "D-10_softmax"', "softmax is for the last layer", 'write "D-10"'),
    ("D-10 softmax", 'token 2 "softmax"', "not a layer of its own", 'write it as an option, "D-10_softmax"'),
    ("GAP C-3.3", 'token 2 "C-3.3"', 'needs axes, but token 1 "GAP" has flattened', "move it before that token"),
    ("act=Relu D-1", 'token 1 "act=Relu"', "is not one of its values", 'write "act=relu"'),
    ("act=softmax D-1", 'token 1 "act=softmax"', "softmax is for the last layer", "write one of these"),
    ("norm=group D-1", 'token 1 "norm=group"', "is not one of its values", 'write "norm=group8"'),
    ("normal=batch D-1", 'token 1 "normal=batch"', "is not a directive", 'write "norm=batch"'),
    ("resnet-20", 'token 1 "resnet-20"', "not a known depth", 'write "resnet-18"'),
    ("resnet-18_k2", 'token 1 "resnet-18_k2"', "is not an option", 'write "resnet-18"'),
    ("vit_p4_w64", 'token 1 "vit_p4_w64"', "does not say _h, _l", 'write "vit_p4_w64_h4_l4"'),
    ("vit_p4_w65_h4_l4", 'token 1 "vit_p4_w65_h4_l4"', "cannot be divided among 4", 'write "vit_p4_w68_h4_l4"'),
    ("quark-3", 'token 1 "quark-3"', "layers are C-16.3", "write one of these instead"),
    ("_", 'token 1 "_"', "is not a layer", "write one of these instead"),
    ("C-4.3 [ C-4.3", 'token 2 "["', 'never ended by a "]"', 'end it with "]"'),
    ("C-4.3 C-4.3 ]", 'token 3 "]"', 'no "[" before it', 'start the branch with "["'),
    ("[ C-4.3 [ ] ]", 'token 4 "]"', 'no layer is between it and token 3 "["', "write the layers of the branch there"),
    ("[ act=relu ]", 'token 3 "]"', "no layer is between", "write the layers of the branch there"),
    ("[ GAP ] D-3", 'token 2 "GAP"', 'leaves no axes, which the branch that token 1 "["', 'behind the last "]"'),
    ("[ C-4.3 D-5 ]", 'token 3 "D-5"', "leaves no axes", 'behind the last "]"'),
    ("[ resnet-10 ]", 'token 2 "resnet-10" (its layer "GAP")', "leaves no axes", 'behind the last "]"'),
    ("GAP [ N-batch ]", 'token 2 "["', 'needs axes, but token 1 "GAP" has flattened', "move it before that token"),
    ("[_relu C-4.3 ]", 'token 2 "_relu"', "is not a layer", "write"),
]


@pytest.mark.parametrize(("line", "token", "reason", "remedy"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_token_is_named_with_its_reason_and_remedy(line, token, reason, remedy):
    with pytest.raises(UserError) as caught:
        parse(line, 2)
    error = caught.value
    assert error.where == f'network "{line}"'
    assert error.what.startswith(f"{token}: ")
    assert reason in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize("case", [case for case in WRONG if case[3].startswith('write "')], ids=lambda case: case[0])
def test_what_a_message_proposes_can_be_read(case):
    line, token, _, remedy = case
    index = int(token.split()[1]) - 1
    tokens = line.split()
    tokens[index] = remedy.split('"')[1]
    assert parse(" ".join([*tokens, "D-3"] if tokens[index].startswith(("act=", "norm=")) else tokens), 2)


def test_all_wrong_tokens_are_reported_at_once():
    with pytest.raises(UserError) as caught:
        parse("C-6 P-2 D-x D-3", 1)
    assert [problem.what.split(":")[0] for problem in caught.value.problems] == ['token 1 "C-6"', 'token 3 "D-x"']


def test_any_text_is_read_or_answered():
    draw = random.Random(1)
    pieces = [
        "C",
        "R",
        "P",
        "D",
        "N",
        "E",
        "T",
        "GAP",
        "vit",
        "resnet",
        "-",
        "_",
        ".",
        "x",
        "=",
        "[",
        "]",
        "s",
        "p",
        "g",
        "b",
        "d",
        "m",
    ]
    pieces += [
        "act",
        "norm",
        "leaky",
        "group",
        "relu",
        "softmax",
        "same",
        "0",
        "1",
        "3",
        "16",
        "9" * 12,
        ",",
        "\u00b2",
        "(",
        "w",
        "h",
    ]
    answers = 0
    for _ in range(1500):
        line = " ".join("".join(draw.choices(pieces, k=draw.randint(1, 6))) for _ in range(draw.randint(1, 3)))
        ndim = draw.randint(1, 3)
        try:
            trace(line, ndim, (2, 8, 8, 8)[: ndim + 1])
        except UserError as error:
            answers += 1
            assert all("token" in problem.what or "no layer" in problem.what for problem in error.problems)
    assert 0 < answers < 1500


@pytest.mark.parametrize("line", ["", "  \n", "act=relu norm=batch"])
def test_a_line_without_layers(line):
    with pytest.raises(UserError, match="no layer is given"):
        parse(line, 2)


@pytest.mark.parametrize("ndim", [0, 4])
def test_number_of_axes(ndim):
    with pytest.raises(UserError, match=f"1, 2 or 3 axes, not {ndim}"):
        parse("D-3", ndim)


def test_reading_a_line_does_not_import_torch():
    code = "import sys; from pipeline.nn import notation, shapes, cost; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_residual_block_may_have_a_size_for_each_convolution(ndim):
    axes = "x".join("135"[:ndim])
    layers = parse(f"R-8.3 R-8.{axes}+5 R-8.5+{axes}", ndim)
    sizes = [(layer.size, layer.second) for layer in layers]
    one, other = (1, 3, 5)[:ndim], (5,) * ndim
    assert sizes == [((3,) * ndim, (3,) * ndim), (one, other), (other, one)]
    assert [layer.padding for layer in layers] == [tuple((k - 1) // 2 for k in size) for size, _ in sizes]


def test_a_network_may_be_kept_in_a_text_file(tmp_path):
    path = tmp_path / "two words.txt"
    path.write_text("# what it is for\nC-8.3 P-2  # halves\n\n\tC-16.3\n")
    assert network_line(f" {path}\n") == "C-8.3 P-2 C-16.3"
    assert network_line("C-8.3  P-2") == "C-8.3  P-2"


@pytest.mark.parametrize(
    ("content", "what"), [(None, "read as text"), (b"\xff\xfe", "read as text"), (b"# x", "no network")]
)
def test_a_file_without_a_network_is_refused(tmp_path, content, what):
    path = tmp_path / "net.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=what) as caught:
        network_line(str(path))
    assert str(path) in str(caught.value)
