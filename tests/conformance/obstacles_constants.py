"""Obstacles in where weights and parameters live and who else reads them."""
import numpy as np
from onnx import TensorProto, helper

from builder import bind, overridable
from cases import end, obstacle, start

# Who else reads a weight.

@obstacle(folded=2)
def shared_weight(b, lin):
    w = b.weight(lin)
    y = b.norm(start(b, lin, w=w), lin.channels)
    b.output(y)
    end(b, lin, b.linear(lin, b.input("x2", list(lin.x)), w=w))


@obstacle(shared_weight=2, args=["--passes=fold-bn{shared=refuse},dce"])
def shared_weight_refused(b, lin):
    shared_weight(b, lin)


@obstacle(folded=1)
def weight_shared_with_plain_layer(b, lin):
    w = b.weight(lin)
    b.output(b.linear(lin, b.input("x2", list(lin.x)), w=w))
    end(b, lin, start(b, lin, w=w))


@obstacle(shared_weight=1, args=["--passes=fold-bn{shared=refuse},dce"])
def weight_shared_with_plain_layer_refused(b, lin):
    weight_shared_with_plain_layer(b, lin)


@obstacle(folded=1)
def bias_shared_with_plain_layer(b, lin):
    c = b.bias(lin)
    b.output(b.linear(lin, b.input("x2", list(lin.x)), c=c))
    end(b, lin, start(b, lin, c=c))


@obstacle(folded=1)
def weight_is_graph_output(b, lin):
    w = b.weight(lin)
    b.output(w, shape=lin.w)
    end(b, lin, start(b, lin, w=w))


@obstacle(folded=1)
def shape_reads_weight(b, lin):
    w = b.weight(lin)
    b.output(b.node("Shape", [w]), TensorProto.INT64)
    end(b, lin, start(b, lin, w=w))


@obstacle(folded=2)
def shared_norm_parameters(b, lin):
    p = b.params(lin.channels)
    b.output(b.norm(start(b, lin), lin.channels, p))
    b.output(b.norm(b.linear(lin, b.input("x2", list(lin.x))), lin.channels, p))


@obstacle(folded=1, multiple_consumers=1)
def norm_parameters_shared_with_kept_norm(b, lin):
    p = b.params(lin.channels)
    y = start(b, lin)
    b.output(y)
    b.output(b.norm(y, lin.channels, p))
    b.output(b.norm(b.linear(lin, b.input("x2", list(lin.x))), lin.channels, p))


@obstacle(folded=1)
def bias_is_also_the_mean(b, lin):
    c = b.bias(lin)
    end(b, lin, start(b, lin, c=c), params=b.params(lin.channels, mean=c, bias=c))


@obstacle(folded=1)
def one_tensor_for_all_parameters(b, lin):
    p = b.tensor(b.rng.uniform(0.5, 1.5, lin.channels))
    end(b, lin, start(b, lin), params=[p, p, p, p])


# Where constants live.

@obstacle(overridable_input=1)
def overridable_weight(b, lin):
    w = b.weight(lin)
    end(b, lin, start(b, lin, w=w))
    overridable(b, w)


@obstacle(overridable_input=1)
def overridable_bias(b, lin):
    c = b.bias(lin)
    end(b, lin, start(b, lin, c=c))
    overridable(b, c)


for index, key in enumerate(("scale", "bias", "mean", "var")):
    @obstacle(overridable_input=1, name=f"overridable_norm_{key}")
    def overridable_norm(b, lin, index=index):
        p = b.params(lin.channels)
        end(b, lin, start(b, lin), params=p)
        overridable(b, p[index])


@obstacle(folded=1, opset=7)
def initializers_are_inputs_at_ir3(b, lin):
    """Below IR 4 the listing among inputs is an obligation, not an offer to override."""
    end(b, lin, start(b, lin, bias=True))


@obstacle(mutable_state=1)
def weight_is_training_state(b, lin):
    w = b.weight(lin)
    end(b, lin, start(b, lin, w=w))
    b.edit.append(bind("update_binding", w))


@obstacle(mutable_state=1)
def mean_is_training_state(b, lin):
    p = b.params(lin.channels)
    end(b, lin, start(b, lin), params=p)
    b.edit.append(bind("initialization_binding", p[2]))


@obstacle(not_constant=1)
def weight_is_input(b, lin):
    end(b, lin, start(b, lin, w=b.input("w", list(lin.w))))


@obstacle(not_constant=1)
def bias_is_input(b, lin):
    end(b, lin, start(b, lin, c=b.input("c", [lin.channels])))


@obstacle(not_constant=1)
def weight_is_computed(b, lin):
    w = b.node("Mul", [b.weight(lin), b.input("k", [1])])
    end(b, lin, start(b, lin, w=w))


for key in ("scale", "bias", "mean"):
    @obstacle(not_constant=1, name=f"norm_{key}_is_input")
    def norm_parameter_is_input(b, lin, key=key):
        b.input("p", [lin.channels])
        end(b, lin, start(b, lin), params=b.params(lin.channels, **{key: "p"}))


@obstacle(not_constant=1)
def norm_var_is_computed(b, lin):
    v = b.node("Exp", [b.input("p", [lin.channels])])
    end(b, lin, start(b, lin), params=b.params(lin.channels, var=v))


@obstacle(folded=1)
def weight_from_constant_node(b, lin):
    w = b.weight(lin)
    t = b.tensors.pop()
    b.nodes.append(helper.make_node("Constant", [], [w], name="k", value=t))
    end(b, lin, start(b, lin, w=w))


@obstacle(folded=1)
def weight_behind_identity(b, lin):
    end(b, lin, start(b, lin, w=b.node("Identity", [b.weight(lin)])))


@obstacle(folded=1)
def norm_parameter_behind_identity(b, lin):
    p = b.params(lin.channels)
    p[1] = b.node("Identity", [p[1]])
    p[3] = b.node("Identity", [p[0]])
    b.tensors[-4] = helper.make_tensor(p[0], b.onnx, [lin.channels], b.rng.uniform(0.5, 1.5, lin.channels))
    end(b, lin, start(b, lin), params=p)


@obstacle(folded=1)
def weight_behind_transpose(b, lin):
    perm = list(reversed(range(len(lin.w))))
    w = b.tensor(b.rng.normal(0, 0.2, [lin.w[i] for i in perm]))
    end(b, lin, start(b, lin, w=b.node("Transpose", [w], perm=perm)))


@obstacle(folded=1)
def weight_behind_cast(b, lin):
    w = b.weight(lin, dtype=np.float16)
    end(b, lin, start(b, lin, w=b.node("Cast", [w], to=b.onnx)))


@obstacle(folded=1)
def weight_behind_arithmetic(b, lin):
    w = b.node("Mul", [b.weight(lin), b.tensor(np.array([0.5]))])
    end(b, lin, start(b, lin, w=w))


@obstacle(not_constant=1, layers=("conv",))
def weight_is_loop_carried(b, lin):
    """Constness never flows through a loop-carried value, even when its first value is constant."""
    p = b.params(lin.channels)
    inner, b.tensors = b.tensors, []
    w, half = b.weight(lin), b.tensor(np.array([0.5]))
    value = helper.make_tensor_value_info
    body = helper.make_graph([
        helper.make_node("Identity", ["cond"], ["go"]), helper.make_node("Mul", ["lw", half], ["lw_next"]),
        helper.make_node("Conv", ["x", "lw"], ["lc"], name="lc"),
        helper.make_node("BatchNormalization", ["lc", *p], ["ly"], name="ln"),
    ], "body", [value("i", TensorProto.INT64, []), value("cond", TensorProto.BOOL, []), value("lw", b.onnx, list(lin.w))],
        [value("go", TensorProto.BOOL, []), value("lw_next", b.onnx, list(lin.w)), value("ly", b.onnx, None)], initializer=inner)
    b.input("x", list(lin.x))
    trip = b.tensor(2, dtype=np.int64)
    last, scan = b.node("Loop", [trip, "", w], 2, body=body)
    b.output(last)
    b.output(scan)


@obstacle(folded=1, layers=("conv", "gemm"))
def parameters_captured_by_the_body(b, lin):
    """The pair stands in a body, its parameters above it."""
    b.input("x", list(lin.x))
    flag, w, p = b.input("flag", [], TensorProto.BOOL), b.weight(lin), b.params(lin.channels)
    value = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node(lin.op, ["x", w], ["then_c"], name="layer"),
                              helper.make_node("BatchNormalization", ["then_c", *p], ["then_y"], name="inner")],
                             "then", [], [value("then_y", b.onnx, None)])
    orelse = helper.make_graph([helper.make_node("Neg", ["x"], ["else_y"])], "else", [], [value("else_y", b.onnx, None)])
    b.output(b.node("If", [flag], then_branch=then, else_branch=orelse))


@obstacle(folded=1)
def pair_within_a_body(b, lin):
    """The same with parameters of the body's own."""
    b.input("x", list(lin.x))
    flag, w, p = b.input("flag", [], TensorProto.BOOL), b.weight(lin), b.params(lin.channels)
    inner, b.tensors = b.tensors, []
    value = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node(lin.op, ["x", w], ["then_c"], name="layer"),
                              helper.make_node("BatchNormalization", ["then_c", *p], ["then_y"], name="inner")],
                             "then", [], [value("then_y", b.onnx, None)], initializer=inner)
    orelse = helper.make_graph([helper.make_node("Neg", ["x"], ["else_y"])], "else", [], [value("else_y", b.onnx, None)])
    b.output(b.node("If", [flag], then_branch=then, else_branch=orelse))


@obstacle(region_boundary=1)
def layer_outside_the_body(b, lin):
    y, p = start(b, lin), b.params(lin.channels)
    flag = b.input("flag", [], TensorProto.BOOL)
    value = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node("BatchNormalization", [y, *p], ["then_y"], name="inner")], "then", [],
                             [value("then_y", b.onnx, None)])
    zero = helper.make_node("Constant", [], ["else_y"], value=helper.make_tensor("z", b.onnx, [1], [0.0]))
    orelse = helper.make_graph([zero], "else", [], [value("else_y", b.onnx, None)])
    b.output(b.node("If", [flag], then_branch=then, else_branch=orelse))
