"""Layers and norms in bodies of If, Loop and Scan and in functions, and constants that bodies take from outside."""
import numpy as np
from onnx import TensorProto, helper

from builder import Linear
from paths import body_value, choice, conv, factor, finish, path, shared_input

CONV = Linear("Conv", (2, 3, 6, 6), (5, 3, 3, 3), 5)


def captured(b, shape=(2, 3, 6, 6)):
    """A value around the body."""
    return shared_input(b, list(shape))


def own(b, make):
    """What `make` returns, and the tensors it made, taken from the graph for a body."""
    before = len(b.tensors)
    out = make()
    tensors, b.tensors[before:] = b.tensors[before:], []
    return out, tensors


def layer_and_norm(b, x, w, p, label, between=None):
    nodes = [helper.make_node("Conv", [x, w], [f"{label}_c"], name=f"{label}_conv")]
    last = f"{label}_c"
    if between:
        nodes.append(helper.make_node(between, [last], [f"{label}_b"], name=f"{label}_between"))
        last = f"{label}_b"
    nodes.append(helper.make_node("BatchNormalization", [last, *p], [f"{label}_y"], name=f"{label}_norm"))
    return nodes


def zero(b, label):
    return [helper.make_node("Constant", [], [f"{label}_z"], value=helper.make_tensor(f"{label}_v", b.onnx, [1], [0.0]))], f"{label}_z", []


@path(opsets=(13, 17))
def constants_captured_by_a_body(b):
    x, w, p = captured(b), b.weight(CONV), b.params(5)
    b.output(choice(b, (layer_and_norm(b, x, w, p, "t"), "t_y", []), zero(b, "e")))


@path(folded=2)
def constants_captured_by_two_bodies(b):
    """One weight, a norm in each branch: two copies."""
    x, w = captured(b), b.weight(CONV)
    branches = [(layer_and_norm(b, x, w, b.params(5), label), f"{label}_y", []) for label in "te"]
    b.output(choice(b, *branches))


@path(folded=1)
def captured_weight_read_outside(b):
    x, w, p = captured(b), b.weight(CONV), b.params(5)
    b.output(b.linear(CONV, x, w=w))
    b.output(choice(b, (layer_and_norm(b, x, w, p, "t"), "t_y", []), zero(b, "e")))


@path(folded=0, kept="shared-weight", args=("--passes=fold-bn{shared=refuse},dce",))
def captured_weight_read_outside_refused(b):
    captured_weight_read_outside(b)


@path(folded=2)
def bodies_with_constants_of_their_own(b):
    x, branches = captured(b), []
    for label in "te":
        (w, p), tensors = own(b, lambda: (b.weight(CONV), b.params(5)))
        branches.append((layer_and_norm(b, x, w, p, label), f"{label}_y", tensors))
    b.output(choice(b, *branches))


@path(folded=1)
def pooling_between_in_a_body(b):
    x = captured(b)
    (w, p), tensors = own(b, lambda: (b.weight(CONV), b.params(5)))
    b.output(choice(b, (layer_and_norm(b, x, w, p, "t", "GlobalAveragePool"), "t_y", tensors), zero(b, "e")))


@path(folded=0, kept="activation-between")
def activation_between_in_a_body(b):
    x = captured(b)
    (w, p), tensors = own(b, lambda: (b.weight(CONV), b.params(5)))
    b.output(choice(b, (layer_and_norm(b, x, w, p, "t", "Relu"), "t_y", tensors), zero(b, "e")))


@path(folded=0, chains=1)
def chain_in_a_body(b):
    x = captured(b)
    (w, k), tensors = own(b, lambda: (b.weight(CONV), factor(b)))
    nodes = [helper.make_node("Conv", [x, w], ["c"], name="c"), helper.make_node("Mul", ["c", k], ["m"], name="m")]
    b.output(choice(b, (nodes, "m", tensors), zero(b, "e")))


@path(folded=0, kept="region-boundary")
def layer_outside_norm_inside(b):
    y, p = conv(b, 5), b.params(5)
    nodes = [helper.make_node("BatchNormalization", [y, *p], ["n"], name="n")]
    b.output(choice(b, (nodes, "n", []), zero(b, "e")))


@path(folded=0, kept="region-boundary|no-linear-producer")
def layer_inside_norm_outside(b):
    x = captured(b)
    branches = []
    for label in "te":
        w, tensors = own(b, lambda: b.weight(CONV))
        branches.append(([helper.make_node("Conv", [x, w], [f"{label}_c"], name=label)], f"{label}_c", tensors))
    finish(b, choice(b, *branches))


@path(folded=1)
def norm_before_an_unpadded_layer_in_a_body(b):
    x = captured(b)
    (w, p), tensors = own(b, lambda: (b.weight(CONV), b.params(3)))
    nodes = [helper.make_node("Relu", [x], ["r"], name="r"), helper.make_node("BatchNormalization", ["r", *p], ["n"], name="n"),
             helper.make_node("Conv", ["n", w], ["c"], name="c")]
    b.output(choice(b, (nodes, "c", tensors), zero(b, "e")))


@path(folded=1)
def identity_branch_in_a_body(b):
    x = captured(b)
    lin = Linear("Conv", (), (3, 3, 3, 3), 3)
    (w, p), tensors = own(b, lambda: (b.weight(lin), b.params(3)))
    nodes = [helper.make_node("Relu", [x], ["r"], name="r"), helper.make_node("Conv", ["r", w], ["c"], name="c", pads=[1] * 4),
             helper.make_node("BatchNormalization", ["r", *p], ["n"], name="n"), helper.make_node("Add", ["c", "n"], ["s"], name="s")]
    b.output(choice(b, (nodes, "s", tensors), zero(b, "e")))


def looped(b, nodes, last, tensors, c=3):
    """A Loop of two rounds over an image; the body's value is `i`, its next one `last`."""
    value = helper.make_tensor_value_info
    body = helper.make_graph([helper.make_node("Identity", ["cond"], ["go"], name="go"), *nodes], "body",
                             [value("k", TensorProto.INT64, []), value("cond", TensorProto.BOOL, []), value("i", b.onnx, [2, c, 6, 6])],
                             [value("go", TensorProto.BOOL, []), value(last, b.onnx, [2, c, 6, 6])], initializer=tensors)
    b.output(b.node("Loop", [b.tensor(2, dtype=np.int64), "", captured(b)], 1, body=body))


def in_loop(b):
    return [helper.make_node("Conv", ["i", "w"], ["c"], name="c", pads=[1] * 4)]


@path(folded=1, opsets=(11, 17))
def pair_in_a_loop(b):
    (w, p), tensors = own(b, lambda: (b.tensor(b.rng.normal(0, 0.2, (3, 3, 3, 3)), "w"), b.params(3)))
    looped(b, [*in_loop(b), helper.make_node("BatchNormalization", ["c", *p], ["n"], name="n")], "n", tensors)


@path(folded=1)
def pair_in_a_loop_of_captured_constants(b):
    b.tensor(b.rng.normal(0, 0.2, (3, 3, 3, 3)), "w")
    p = b.params(3)
    looped(b, [*in_loop(b), helper.make_node("BatchNormalization", ["c", *p], ["n"], name="n")], "n", [])


@path(folded=0, kept="region-boundary|graph-input|padded-shift")
def norm_of_a_carried_value(b):
    p, tensors = own(b, lambda: b.params(3))
    nodes = [helper.make_node("BatchNormalization", ["i", *p], ["n"], name="n"), helper.make_node("Sigmoid", ["n"], ["c"], name="c")]
    looped(b, nodes, "c", tensors)


@path(folded=1, opsets=(11, 17))
def pair_in_a_scan(b):
    """A layer over a sequence of images."""
    value = helper.make_tensor_value_info
    (w, p), tensors = own(b, lambda: (b.tensor(b.rng.normal(0, 0.2, (3, 3, 3, 3)), "w"), b.params(3)))
    body = helper.make_graph([helper.make_node("Conv", ["i", "w"], ["c"], name="c", pads=[1] * 4),
                              helper.make_node("BatchNormalization", ["c", *p], ["n"], name="n")], "body",
                             [value("i", b.onnx, [2, 3, 6, 6])], [value("n", b.onnx, [2, 3, 6, 6])], initializer=tensors)
    b.output(b.node("Scan", [b.input("xs", [3, 2, 3, 6, 6])], 1, body=body, num_scan_inputs=1))


@path(folded=1)
def body_in_a_body(b):
    x = captured(b)
    (w, p), tensors = own(b, lambda: (b.weight(CONV), b.params(5)))
    inner = [helper.make_graph(layer_and_norm(b, x, w, p, "t"), "then_inner", [], [body_value("t_y", b.onnx)], initializer=tensors)]
    nodes, out, _ = zero(b, "q")
    inner.append(helper.make_graph(nodes, "else_inner", [], [body_value(out, b.onnx)]))
    flag = b.input("flag2", [], TensorProto.BOOL)
    outer = [helper.make_node("If", [flag], ["o"], name="inner_if", then_branch=inner[0], else_branch=inner[1])]
    b.output(choice(b, (outer, "o", []), zero(b, "e")))


# Functions.

def function(b, name, inputs, outputs, nodes):
    b.domains["org.example"] = 1
    b.edit.append(lambda model: model.functions.append(helper.make_function(
        "org.example", name, inputs, outputs, nodes, [helper.make_opsetid("", b.opset)])))


def constant(b, name, array):
    array = np.asarray(array).astype(b.np)
    return helper.make_node("Constant", [], [name], name=f"k_{name}", value=helper.make_tensor(name, b.onnx, array.shape, array.ravel()))


def block(b):
    """A function's body: a layer and its norm, with constants of its own."""
    r = b.rng
    nodes = [constant(b, "w", r.normal(0, 0.2, (3, 3, 3, 3))), constant(b, "g", [1.5, -0.5, 2]), constant(b, "h", r.normal(0, 0.3, 3)),
             constant(b, "m", r.normal(0, 0.5, 3)), constant(b, "v", r.uniform(0.3, 2, 3))]
    nodes.append(helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1] * 4))
    nodes.append(helper.make_node("BatchNormalization", ["c", "g", "h", "m", "v"], ["y"], name="n"))
    return nodes


@path(folded=1)
def function_called_once(b):
    function(b, "Block", ["x"], ["y"], block(b))
    b.output(b.node("Block", [captured(b)], domain="org.example"), shape=[2, 3, 6, 6])


@path(folded=1)
def function_called_twice(b):
    function(b, "Block", ["x"], ["y"], block(b))
    y = b.node("Block", [captured(b)], domain="org.example")
    b.output(b.node("Block", [y], domain="org.example"), shape=[2, 3, 6, 6])


@path(folded=0, kept="not-constant|region-boundary")
def function_that_is_given_its_weight(b):
    nodes = [n for n in block(b) if list(n.output) != ["w"]]
    function(b, "Block", ["x", "w"], ["y"], nodes)
    b.output(b.node("Block", [captured(b), b.tensor(b.rng.normal(0, 0.2, (3, 3, 3, 3)))], domain="org.example"), shape=[2, 3, 6, 6])


@path(folded=0, kept="region-boundary|no-linear-producer|custom-domain")
def norm_behind_a_call(b):
    nodes = block(b)[:-1]
    nodes = [n for n in nodes if n.output[0] in ("w", "c")]
    nodes[-1].output[0] = "y"
    function(b, "Block", ["x"], ["y"], nodes)
    finish(b, b.node("Block", [captured(b)], domain="org.example"), 3)
    b.outputs[-1].CopyFrom(helper.make_tensor_value_info(b.outputs[-1].name, b.onnx, [2, 3, 6, 6]))


@path(folded=1)
def forward_within_a_function(b):
    nodes = block(b)
    conv_node, norm_node = nodes[-2:]
    norm_node.input[0], norm_node.output[0] = "r", "q"
    conv_node.input[0], conv_node.output[0] = "q", "y"
    del conv_node.attribute[:]
    function(b, "Block", ["x"], ["y"], [*nodes[:-2], helper.make_node("Relu", ["x"], ["r"], name="r"), norm_node, conv_node])
    b.output(b.node("Block", [captured(b)], domain="org.example"), shape=[2, 3, 4, 4])
