"""Obstacles between a layer and its norm, among the uses of the layer's result, in the norm and in the layer itself."""
import numpy as np
from onnx import TensorProto, helper

from builder import Builder, annotate
from cases import end, obstacle, start

# Between the layer and the norm.

for op, attrs in (("Relu", {}), ("Sigmoid", {}), ("LeakyRelu", dict(alpha=0.1)), ("Tanh", {})):
    @obstacle(activation_between=1, name=f"{op.lower()}_between")
    def activation_between(b, lin, op=op, attrs=attrs):
        end(b, lin, b.node(op, [start(b, lin)], **attrs))


@obstacle(folded=1)
def identity_between(b, lin):
    end(b, lin, b.node("Identity", [start(b, lin)]))


@obstacle(folded=1)
def identities_between(b, lin):
    end(b, lin, b.node("Identity", [b.node("Identity", [start(b, lin)])]))


@obstacle(folded=1)
def dropout_between(b, lin):
    end(b, lin, b.node("Dropout", [start(b, lin)]))


@obstacle(folded=1, opset=9, name="dropout_ratio_between_opset9")
def dropout_ratio_between(b, lin):
    end(b, lin, b.node("Dropout", [start(b, lin)], ratio=0.3))


@obstacle(folded=1)
def dropout_said_to_infer_between(b, lin):
    ratio, mode = b.tensor(0.5), b.tensor(False, dtype=bool)
    end(b, lin, b.node("Dropout", [start(b, lin), ratio, mode]))


@obstacle(no_linear_producer=1)
def dropout_in_training_between(b, lin):
    """Ratio 0 keeps every element, so the output is defined; the mode alone forbids the look-through."""
    ratio, mode = b.tensor(0.0), b.tensor(True, dtype=bool)
    end(b, lin, b.node("Dropout", [start(b, lin), ratio, mode]))


@obstacle(folded=1)
def dropout_mask_read(b, lin):
    """The mask of an inference dropout is all true, whatever the values."""
    y, mask = b.node("Dropout", [start(b, lin)], 2)
    b.output(mask, TensorProto.BOOL)
    end(b, lin, y)


@obstacle(quantized=1)
def quantize_dequantize_between(b, lin):
    scale, zero = b.tensor(0.05), b.tensor(0, dtype=np.int8)
    q = b.node("QuantizeLinear", [start(b, lin), scale, zero])
    end(b, lin, b.node("DequantizeLinear", [q, scale, zero]))


@obstacle(custom_domain=1)
def custom_op_between(b, lin):
    end(b, lin, b.node("Swirl", [start(b, lin)], domain="org.example", turns=1, label="x"))


@obstacle(sign=1)
def max_pool_like_between(b, lin):
    """ReduceMax over the rows keeps the channel axis, but no norm with a negative gamma may pass it."""
    end(b, lin, b.node("ReduceMax", [start(b, lin)], axes=[0], keepdims=1))


@obstacle(precision_narrowing=1, layers=("conv",))
def cast_between(b, lin):
    """f16 layer, f32 norm: widening loses nothing, but the weights would be narrower than the norm."""
    half = Builder("half", dtype="f16")
    x = b.input("x", list(lin.x), TensorProto.FLOAT16)
    w = b.tensor(half.rng.normal(0, 0.2, lin.w), dtype=np.float16)
    end(b, lin, b.node("Cast", [b.node(lin.op, [x, w], **lin.attrs)], to=TensorProto.FLOAT))


# Uses of the layer's result.

@obstacle(multiple_consumers=1)
def graph_output(b, lin):
    y = start(b, lin)
    b.output(y)
    end(b, lin, y)


@obstacle(multiple_consumers=1)
def two_consumers(b, lin):
    y = start(b, lin)
    b.output(b.node("Relu", [y]))
    end(b, lin, y)


@obstacle(multiple_consumers=2)
def two_norms_of_one_result(b, lin):
    y = start(b, lin)
    end(b, lin, y)
    end(b, lin, y)


@obstacle(multiple_consumers=1)
def identity_read_twice(b, lin):
    y = b.node("Identity", [start(b, lin)])
    b.output(b.node("Relu", [y]))
    end(b, lin, y)


@obstacle(multiple_consumers=1)
def result_read_around_identity(b, lin):
    y = start(b, lin)
    b.output(b.node("Relu", [y]))
    end(b, lin, b.node("Identity", [y]))


@obstacle(multiple_consumers=1)
def captured_by_body(b, lin):
    """A body of an If reads the layer's result: a use like any other."""
    y = start(b, lin)
    flag = b.input("flag", [], TensorProto.BOOL)
    value = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node("Relu", [y], ["then_y"])], "then", [], [value("then_y", b.onnx, None)])
    orelse = helper.make_graph([helper.make_node("Neg", [y], ["else_y"])], "else", [], [value("else_y", b.onnx, None)])
    b.output(b.node("If", [flag], then_branch=then, else_branch=orelse))
    end(b, lin, y)


@obstacle(folded=1)
def shape_reads_result(b, lin):
    """Shape reads no element, so it is not a consumer of the value."""
    y = start(b, lin)
    b.output(b.node("Shape", [y]), TensorProto.INT64)
    end(b, lin, y)


@obstacle(folded=1)
def norm_read_twice(b, lin):
    y = b.norm(start(b, lin), lin.channels)
    b.output(y)
    b.output(b.node("Relu", [y]))


@obstacle(folded=2)
def two_norms_in_a_row(b, lin):
    end(b, lin, b.norm(start(b, lin), lin.channels))


@obstacle(folded=2)
def identity_between_two_norms(b, lin):
    end(b, lin, b.node("Identity", [b.norm(start(b, lin), lin.channels)]))


# The norm itself.

@obstacle(training_mode=1)
def training_by_attribute(b, lin):
    y = b.norm(start(b, lin), lin.channels, outputs=3, training_mode=1)
    b.output(y[0])


@obstacle(training_mode=1)
def training_by_attribute_with_one_output(b, lin):
    end(b, lin, start(b, lin), training_mode=1)


@obstacle(training_mode=1, opset=14, name="training_by_attribute_opset14")
def training_by_attribute_opset14(b, lin):
    b.output(b.norm(start(b, lin), lin.channels, outputs=3, training_mode=1)[0])


for version in (7, 9, 13):
    @obstacle(training_mode=1, opset=version, name=f"training_by_outputs_opset{version}")
    def training_by_outputs(b, lin):
        b.output(b.norm(start(b, lin), lin.channels, outputs=5)[0])


@obstacle(training_mode=1, opset=6, layers=("conv",), judged=False)
def training_by_is_test(b, lin):
    end(b, lin, start(b, lin), is_test=0)


@obstacle(folded=1, opset=6, layers=("conv",))
def inference_by_is_test(b, lin):
    end(b, lin, start(b, lin), is_test=1)


@obstacle(opset=7, layers=("conv",), per_element=1)
def spatial_0_on_an_image(b, lin):
    shape = (5, 4, 4)
    p = [b.tensor(v) for v in (b.rng.uniform(0.5, 1.5, shape), b.rng.normal(0, 0.3, shape), b.rng.normal(0, 0.5, shape), b.rng.uniform(0.3, 2, shape))]
    end(b, lin, start(b, lin), params=p, spatial=0)


@obstacle(folded=1, opset=7, layers=("gemm",))
def spatial_0_at_rank_2(b, lin):
    end(b, lin, start(b, lin), spatial=0)


for label, given, attrs in (
        ("variance_negative", dict(var=[1, 1, -1, 1, 1, 1]), {}),
        ("variance_and_epsilon_0", dict(var=[1, 1, 0, 1, 1, 1]), dict(epsilon=0.0)),
        ("variance_nan", dict(var=[1, 1, np.nan, 1, 1, 1]), {}), ("variance_inf", dict(var=[1, 1, np.inf, 1, 1, 1]), {}),
        ("scale_nan", dict(scale=[1, 1, np.nan, 1, 1, 1]), {}), ("scale_inf", dict(scale=[1, 1, np.inf, 1, 1, 1]), {}),
        ("mean_nan", dict(mean=[1, 1, np.nan, 1, 1, 1]), {}), ("bias_nan", dict(bias=[1, 1, np.nan, 1, 1, 1]), {})):
    @obstacle(non_finite=1, name=label)
    def non_finite(b, lin, given=given, attrs=attrs):
        given = {k: np.array(v[:lin.channels], np.float32) for k, v in given.items()}
        end(b, lin, start(b, lin), params=b.params(lin.channels, **given), **attrs)


for at in (0, 3, -1):
    @obstacle(non_finite=1, name=f"weight_nan_at_{at}")
    def weight_nan(b, lin, at=at):
        w = np.full(lin.w, 0.1)
        w.flat[at] = np.nan
        end(b, lin, start(b, lin, w=b.tensor(w)))


@obstacle(non_finite=1)
def bias_of_linear_nan(b, lin):
    end(b, lin, start(b, lin, c=b.tensor([np.nan] * lin.channels)))


@obstacle(overflow=1)
def overflow_f32(b, lin):
    w = b.rng.normal(0, 1, lin.w) * 1e4
    p = b.params(lin.channels, scale=np.full(lin.channels, 1e37), mean=np.zeros(lin.channels))
    end(b, lin, start(b, lin, bias=False, w=b.tensor(w)), params=p)


@obstacle(overflow=1, dtype="f16")
def overflow_f16(b, lin):
    w = b.rng.normal(0, 1, lin.w) * 300
    p = b.params(lin.channels, scale=np.full(lin.channels, 900.0), var=np.full(lin.channels, 1.0))
    end(b, lin, start(b, lin, w=b.tensor(w)), params=p)


@obstacle(overflow=1, dtype="f16")
def overflow_f16_in_the_bias(b, lin):
    p = b.params(lin.channels, scale=np.full(lin.channels, 60.0), mean=np.full(lin.channels, -3000.0), var=np.full(lin.channels, 1.0))
    end(b, lin, start(b, lin), params=p)


@obstacle(folded=1, dtype="f16")
def large_factor_without_overflow_f16(b, lin):
    w = b.rng.normal(0, 1, lin.w) * 1e-3
    p = b.params(lin.channels, scale=np.full(lin.channels, 500.0), mean=np.zeros(lin.channels), var=np.full(lin.channels, 1.0))
    end(b, lin, start(b, lin, w=b.tensor(w), bias=False), params=p)


@obstacle(folded=1)
def zero_and_negative_scales(b, lin):
    end(b, lin, start(b, lin), params=b.params(lin.channels, scale=np.array([0, -1, 0.5, 0, -2, 3.0][:lin.channels])))


@obstacle(folded=1)
def tiny_variance(b, lin):
    end(b, lin, start(b, lin), params=b.params(lin.channels, var=np.full(lin.channels, 1e-12)), epsilon=1e-3)


@obstacle(folded=1)
def large_epsilon(b, lin):
    end(b, lin, start(b, lin), epsilon=0.5)


@obstacle(folded=1, dtype="f16")
def norm_parameters_wider_than_data(b, lin):
    """Since opset 15 the statistics of an f16 norm may be f32."""
    end(b, lin, start(b, lin), params=b.params(lin.channels, dtype=np.float32))


@obstacle(channel_mismatch=1, judged=False)
def too_few_parameters(b, lin):
    end(b, lin, start(b, lin), params=b.params(lin.channels - 1))


# What the layer is.

@obstacle(custom_domain=1)
def layer_of_another_domain(b, lin):
    b.output(b.norm(b.linear(lin, b.input("x", list(lin.x)), domain="org.example"), lin.x[1]))


@obstacle(folded=0)
def norm_of_another_domain(b, lin):
    """Not a batch norm at all, whatever its name."""
    b.output(b.norm(start(b, lin), lin.channels, domain="org.example"))


@obstacle(quantized=1)
def annotated_weight(b, lin):
    w = b.weight(lin)
    end(b, lin, start(b, lin, w=w))
    b.tensor(0.1, "q_scale")
    b.edit.append(annotate(w))


@obstacle(quantized=1)
def annotated_result(b, lin):
    y = start(b, lin)
    end(b, lin, y)
    b.tensor(0.1, "q_scale")
    b.edit.append(annotate(y))


@obstacle(folded=1)
def dequantized_weight(b, lin):
    q = b.tensor(b.rng.integers(-100, 100, lin.w), dtype=np.int8)
    w = b.node("DequantizeLinear", [q, b.tensor(0.01)])
    end(b, lin, start(b, lin, w=w))


@obstacle(quantized=1)
def fake_quantized_weight(b, lin):
    scale, zero = b.tensor(0.02), b.tensor(0, dtype=np.int8)
    q = b.node("QuantizeLinear", [b.weight(lin), scale, zero])
    end(b, lin, start(b, lin, w=b.node("DequantizeLinear", [q, scale, zero])))


@obstacle(not_constant=1, layers=("gemm",), name="constant_on_the_left_of_gemm")
@obstacle(axis_mismatch=1, layers=("matmul",))
def constant_on_the_left(b, lin):
    """[M,K] constant times [K,N] data: the norm's channels are the columns of the data."""
    left, x = b.tensor(b.rng.normal(0, 0.3, (6, 7))), b.input("x", [7, 6])
    ins = [left, x, b.bias(lin)] if lin.op == "Gemm" else [left, x]
    end(b, lin, b.node(lin.op, ins))


@obstacle(not_constant=1, layers=("matmul",))
def both_operands_are_data(b, lin):
    end(b, lin, b.node("MatMul", [b.input("x", [5, 7]), b.input("w", [7, 6])]))


@obstacle(axis_mismatch=1, layers=("matmul",))
def matmul_rank3(b, lin):
    """[B,T,K] x [K,N] with T = N: the norm runs over T."""
    end(b, lin, b.node("MatMul", [b.input("x", [2, 6, 7]), b.weight(lin)]))


@obstacle(axis_mismatch=1, layers=("matmul",))
def matmul_left_rank4(b, lin):
    """[M,K] x [B,H,K,N] with H = M: the norm runs over H."""
    end(b, lin, b.node("MatMul", [b.tensor(b.rng.normal(0, 0.3, (6, 7))), b.input("x", [2, 6, 7, 3])]))


def unranked(b, shape):
    """A value whose rank nothing in the model tells: reshaped to a shape that arrives at run time."""
    flat = b.input("flat", [int(np.prod(shape))])
    return b.node("Reshape", [flat, b.input("shape", ["rank"], TensorProto.INT64, feed=list(shape))])


def flat_output(b, y):
    b.output(b.node("Reshape", [y, b.tensor([-1], dtype=np.int64)]))


@obstacle(unknown_rank=1, layers=("matmul",))
def matmul_of_unknown_rank(b, lin):
    """Rank 2 cannot be proved, so the last axis is not known to be the norm's."""
    y = b.linear(lin, unranked(b, lin.x))
    flat_output(b, b.norm(y, lin.channels))


@obstacle(folded=1, layers=("matmul",))
def matmul_with_added_bias(b, lin):
    y = b.node("Add", [b.node("MatMul", [b.input("x", [5, 7]), b.weight(lin)]), b.bias(lin)])
    end(b, lin, y)


@obstacle(folded=1, layers=("conv",))
def bias_left_out_by_name(b, lin):
    end(b, lin, b.node("Conv", [b.input("x", list(lin.x)), b.weight(lin), ""]))


@obstacle(folded=1, layers=("conv",))
def data_of_unknown_rank(b, lin):
    """The weight's rank says it all."""
    y = b.linear(lin, unranked(b, lin.x))
    flat_output(b, b.norm(y, lin.channels))


@obstacle(folded=1)
def result_has_value_info(b, lin):
    y = start(b, lin)
    b.value_info.append(helper.make_tensor_value_info(y, b.onnx, [None] * len(lin.x)))
    end(b, lin, y)


@obstacle(graph_input=1, layers=("",))
def norm_of_an_input(b, lin):
    b.output(b.norm(b.input("x", [2, 4, 3, 3]), 4))


@obstacle(folded=1, graph_input=1, layers=("",))
def norms_without_a_layer(b, lin):
    """The first takes the second."""
    b.output(b.norm(b.norm(b.input("x", [2, 4, 3, 3]), 4), 4))


@obstacle(folded=1)
def sum_of_two_layers(b, lin):
    y = b.node("Add", [start(b, lin), b.linear(lin, b.input("x2", list(lin.x)))])
    end(b, lin, y)


@obstacle(folded=1, layers=("",))
def rank_1_data(b, lin):
    """Since opset 9 a vector counts as one channel."""
    y = b.node("MatMul", [b.input("x", [7]), b.tensor(b.rng.normal(0, 0.3, (7, 1)))])
    b.output(b.norm(y, 1))
