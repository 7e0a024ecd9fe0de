"""Where values meet and part: concatenation, split, slice, residual sums."""
import numpy as np

from builder import Linear
from paths import (PASSIVE, average_pool, concat, conv, cut, factor, finish, flatten, gap, image, matmul, max_pool, negative, nhwc,
                   no_shift, path, positive, relu_input, repeated, reshape, shared_input, split, squeeze, transpose)

OPSETS = dict(opsets=(7, 9, 13, 17, 22))
TYPED = dict(dtypes=("f16", "f64", "bf16"), opsets=(22,))


# Concatenation.

@path(**OPSETS)
def concat_of_channels(b):
    finish(b, concat(b, conv(b, 2), conv(b, 3)))


@path(**TYPED)
def concat_of_channels_typed(b):
    finish(b, concat(b, conv(b, 2), conv(b, 3)))


@path()
def concat_of_four_kinds(b):
    x = shared_input(b, [2, 3, 3, 3])
    up = b.linear(Linear("ConvTranspose", (), (3, 2, 2, 2), 2), x)
    grouped = conv(b, 6, group=3)
    finish(b, concat(b, up, conv(b, 1), grouped, average_pool(b, conv(b, 2, k=2)), axis=-3), 11)


for axis in (0, 2, 3, -1):
    @path(name=f"concat_along_axis_{axis}", opsets=(11, 17))
    def concat_elsewhere(b, axis=axis):
        finish(b, concat(b, image(b), image(b), axis=axis))


@path()
def concat_of_gemms(b):
    lin = Linear("Gemm", (5, 7), (7, 3), 3)
    x = shared_input(b, [5, 7])
    finish(b, concat(b, b.linear(lin, x), matmul(b, x, 7, 4)), 7)


@path()
def concat_of_gemm_rows(b):
    lin = Linear("Gemm", (5, 7), (7, 3), 3)
    x = shared_input(b, [5, 7])
    finish(b, concat(b, b.linear(lin, x), b.linear(lin, x), axis=0), 3)


@path()
def concats_of_concats(b):
    inner = concat(b, conv(b, 2), conv(b, 3))
    finish(b, concat(b, conv(b, 1), inner, conv(b, 4)), 10)


@path(folded=3)
def concat_of_norms(b):
    finish(b, concat(b, b.norm(conv(b, 2), 2), b.norm(conv(b, 3), 3)))


@path(folded=1)
def concat_of_one(b):
    finish(b, concat(b, image(b)))


@path(folded=0, kept="activation-between")
def concat_with_an_activation(b):
    finish(b, concat(b, conv(b, 2), b.node("Relu", [conv(b, 3)])))


@path(folded=0, kept="graph-input")
def concat_with_an_input(b):
    finish(b, concat(b, conv(b, 2), b.input("skip", [2, 3, 4, 4])))


@path(folded=0, kept="multiple-consumers")
def concat_of_a_value_read_twice(b):
    y = conv(b, 3)
    b.output(y)
    finish(b, concat(b, conv(b, 2), y))


@path(folded=0, kept="multiple-consumers")
def concat_read_twice(b):
    y = concat(b, conv(b, 2), conv(b, 3))
    b.output(y)
    finish(b, y)


@path(folded=0, kept="multiple-consumers|activation-between")
def dense_block(b):
    """DenseNet: the entry is read by all concatenations of the block."""
    entry = average_pool(b, conv(b, 3, pads=[1, 1, 1, 1]), 3, pads=[1, 1, 1, 1])
    more = conv(b, 2, b.node("Relu", [entry]), cin=3, pads=[1, 1, 1, 1])
    b.output(b.node("Relu", [b.norm(concat(b, entry, more), 5)]))


@path()
def concat_with_a_constant(b):
    finish(b, concat(b, conv(b, 2), b.tensor(b.rng.normal(0, 1, (2, 3, 4, 4)))))


@path(folded=0, kept="multiple-consumers|sibling-disagrees")
def concat_of_one_value_twice(b):
    y = image(b)
    finish(b, concat(b, y, y), 10)


@path()
def concat_of_one_value_twice_with_one_factor(b):
    """Both halves of the norm are the same, so the value's uses agree."""
    y = image(b)
    finish(b, concat(b, y, y), 10, repeated(b, 5, 2, inner=False))


@path()
def concat_of_one_value_twice_along_rows(b):
    y = image(b)
    finish(b, concat(b, y, y, axis=2))


@path(folded=0, kept="multiple-consumers|sibling-disagrees")
def concat_of_one_value_twice_and_another_reader(b):
    y = image(b)
    b.output(y)
    finish(b, concat(b, y, y, axis=2))


@path()
def concat_twice_read_in_both_ways(b):
    """One value directly and pooled with stride 1 of extent 1: two paths to one layer that agree."""
    y = image(b)
    finish(b, concat(b, y, average_pool(b, y, 1), axis=3))


@path()
def concat_of_pooled_branches(b):
    """Inception's reduction: a strided layer beside a pooled one."""
    finish(b, concat(b, conv(b, 3, strides=[2, 2]), average_pool(b, conv(b, 2), 3)))


@path(folded=0, kept="sign")
def concat_of_a_max_pool_with_negative_factors(b):
    finish(b, concat(b, conv(b, 3, strides=[2, 2]), max_pool(b, conv(b, 2), 3)), params=negative(b))


@path()
def concat_of_a_max_pool_and_a_plain_branch(b):
    """Only the pooled branch's factors need be positive."""
    p = b.params(5, scale=np.array([-1, 1, -0.5, 1.5, 0.5]))
    finish(b, concat(b, conv(b, 3, strides=[2, 2]), max_pool(b, conv(b, 2), 3)), params=p)


@path(folded=0, kept="axis-mismatch")
def concat_of_rows_normalised_over_rows(b):
    finish(b, concat(b, nhwc(b, conv(b, 5)), nhwc(b, conv(b, 5))), 8)


# Split.

@path(opsets=(9, 11, 13, 18))
def split_of_channels_normalised_once(b):
    """The other part keeps its values: its channels get a factor of 1."""
    first, second = split(b, image(b), 1, [2, 3])
    b.output(second)
    finish(b, first, 2)


@path(folded=2, opsets=(11, 17))
def split_of_channels_normalised_apart(b):
    first, second = split(b, image(b), 1, [2, 3])
    finish(b, first, 2)
    finish(b, second, 3)


@path(folded=1, layers=("conv", "conv_transpose", "depthwise"))
def split_of_channels_part_through_a_relu(b):
    first, second = split(b, image(b), 1, [2, 3])
    b.output(b.node("Relu", [second]))
    finish(b, first, 2)


@path()
def split_of_channels_joined_again(b):
    first, second = split(b, image(b), 1, [2, 3])
    finish(b, concat(b, second, first))


@path(folded=0, kept="sibling-disagrees", opsets=(9, 13, 18))
def split_of_rows_normalised_once(b):
    first, second = split(b, image(b), 2, [2, 2])
    b.output(second)
    finish(b, first)


@path(folded=0, kept="sibling-disagrees")
def split_of_images_normalised_once(b):
    first, second = split(b, image(b), 0, [1, 1])
    b.output(second)
    finish(b, first)


@path()
def split_of_rows_with_one_part_unread(b):
    first, _ = split(b, image(b), 2, [3, 1])
    finish(b, first)


@path()
def split_of_rows_joined_again(b):
    first, second = split(b, image(b), 2, [1, 3])
    finish(b, concat(b, second, first, axis=2))


@path(folded=0, kept=("sibling-disagrees", "sibling-disagrees"))
def split_of_rows_normalised_apart(b):
    first, second = split(b, image(b), 2, [2, 2])
    finish(b, first)
    finish(b, second)


@path(folded=0, kept=("sibling-disagrees", "sibling-disagrees"))
def split_of_rows_normalised_apart_by_one_set_of_parameters(b):
    p = b.params(5)
    first, second = split(b, image(b), 2, [2, 2])
    finish(b, first, params=p)
    finish(b, second, params=p)


@path(folded=0, kept="sibling-disagrees|" + PASSIVE)
def split_of_rows_with_one_part_activated(b):
    first, second = split(b, image(b), 3, [2, 2])
    finish(b, concat(b, b.node("Relu", [first]), second, axis=3))


@path(folded=0, kept="multiple-consumers")
def split_part_read_twice(b):
    first, second = split(b, image(b), 1, [2, 3])
    b.output(first)
    b.output(second)
    finish(b, first, 2)


@path()
def parts_of_channels_added(b):
    """Both parts ask for the norm's factors, in channels of their own."""
    first, second = split(b, conv(b, 6), 1, [3, 3])
    finish(b, b.node("Add", [first, second]), 3)


# Slice.

@path(opsets=(9, 10, 13, 17))
def slice_of_channels(b):
    finish(b, cut(b, image(b), 1, 1, 4), 3)


@path()
def slice_of_channels_backwards(b):
    finish(b, cut(b, image(b), 1, -1, -9, -1))


@path()
def slice_of_every_second_channel(b):
    finish(b, cut(b, image(b), 1, 0, 9, 2), 3)


@path(opsets=(9, 17))
def slice_of_rows(b):
    finish(b, cut(b, image(b), 2, 1, 3))


@path()
def slice_of_rows_backwards(b):
    finish(b, cut(b, image(b), 2, -1, -9, -2))


@path(folded=0, kept="sibling-disagrees|multiple-consumers")
def slice_of_rows_beside_the_whole(b):
    y = image(b)
    b.output(y)
    finish(b, cut(b, y, 2, 1, 3))


@path(folded=0, kept="sibling-disagrees|multiple-consumers")
def slice_of_rows_beside_the_rest(b):
    y = image(b)
    b.output(cut(b, y, 2, 3, 4))
    finish(b, cut(b, y, 2, 0, 3))


@path(folded=0, kept="sibling-disagrees|multiple-consumers")
def slices_of_channels_that_overlap(b):
    y = image(b)
    b.output(cut(b, y, 1, 2, 5))
    finish(b, cut(b, y, 1, 0, 3), 3)


@path(folded=0, kept="multiple-consumers")
def slices_of_channels_beside_each_other(b):
    y = image(b)
    b.output(cut(b, y, 1, 3, 5))
    finish(b, cut(b, y, 1, 0, 3), 3)


@path()
def patch_merging(b):
    """Swin: every second row beside the others, one value sliced four times."""
    y = image(b)
    parts = [cut(b, cut(b, y, 2, i, 9, 2), 3, j, 9, 2) for i in (0, 1) for j in (0, 1)]
    finish(b, concat(b, *parts, axis=3))


# Residual sums.

@path(**OPSETS)
def sum_of_two(b):
    finish(b, b.node("Add", [image(b), image(b)]))


@path(**TYPED)
def sum_of_two_typed(b):
    finish(b, b.node("Add", [image(b), image(b)]))


@path(opsets=(9, 17))
def difference_of_two(b):
    finish(b, b.node("Sub", [image(b), image(b)]))


@path()
def difference_of_two_without_biases(b):
    finish(b, b.node("Sub", [image(b, bias=False), image(b, bias=False)]))


@path()
def sum_of_a_bias_and_none(b):
    finish(b, b.node("Add", [image(b, bias=False), image(b)]))


@path(layers=("conv", "conv_transpose", "depthwise"))
def tree_of_sums(b):
    left = b.node("Add", [image(b), image(b)])
    right = b.node("Sub", [image(b), image(b)])
    finish(b, b.node("Sub", [left, right]))


@path()
def chain_of_ten_sums(b):
    y = image(b)
    for i in range(10):
        y = b.node("Sub" if i % 3 == 1 else "Add", [image(b), y] if i % 2 else [y, image(b)])
    finish(b, y)


@path(folded=3)
def sum_of_norms(b):
    finish(b, b.node("Add", [b.norm(image(b), 5), b.norm(image(b), 5)]))


@path(folded=1, chains=1)
def sum_of_a_chain_and_a_layer(b):
    finish(b, b.node("Add", [b.node("Mul", [image(b), factor(b)]), image(b)]))


@path()
def sum_of_scaled_branches(b):
    a = b.node("Mul", [image(b), b.tensor(np.array(0.5))])
    finish(b, b.node("Sub", [b.node("Neg", [a]), average_pool(b, image(b), 1)]))


@path()
def sum_of_three_kinds(b):
    up = b.linear(Linear("ConvTranspose", (), (3, 5, 2, 2), 5), shared_input(b, [2, 3, 3, 3]))
    finish(b, b.node("Add", [b.node("Add", [up, conv(b, 5)]), conv(b, 5, group=1, dilations=[1, 1], bias=False)]))


@path()
def sum_of_gemms(b):
    x = shared_input(b, [5, 7])
    lin = Linear("Gemm", (5, 7), (7, 6), 6)
    finish(b, b.node("Add", [b.linear(lin, x), matmul(b, x, 7, 6)]), 6)


@path()
def sum_broadcasts_pooled_features(b):
    """[2, 5, 4, 4] + [2, 5, 1, 1]: both have every channel."""
    finish(b, b.node("Add", [image(b), gap(b, image(b))]))


@path(folded=0, kept="axis-mismatch|channel-mismatch|no-linear-producer")
def sum_broadcasts_one_channel(b):
    finish(b, b.node("Add", [image(b), conv(b, 1)]))


@path(folded=0, kept="axis-mismatch|channel-mismatch|no-linear-producer")
def sum_broadcasts_columns(b):
    """[2, 4, 4, 4] + [4, 4]: the second branch has no channels."""
    other = b.linear(Linear("Gemm", (4, 7), (7, 4), 4), b.input("z", [4, 7]))
    finish(b, b.node("Add", [conv(b, 4), other]), 4)


@path(folded=0, kept="axis-mismatch|channel-mismatch|no-linear-producer")
def sum_of_images_and_transposed_images(b):
    y = conv(b, 4)
    finish(b, b.node("Add", [y, transpose(b, conv(b, 4), 0, 2, 1, 3)]), 4)


@path(folded=0, kept="activation-between")
def sum_with_an_activation(b):
    finish(b, b.node("Add", [image(b), b.node("Relu", [image(b)])]))


@path(folded=0, kept="graph-input")
def sum_with_an_input(b):
    finish(b, b.node("Add", [b.input("skip", [2, 5, 4, 4]), image(b)]))


@path(folded=0, kept="multiple-consumers")
def sum_with_a_value_read_twice(b):
    y = image(b)
    b.output(y)
    finish(b, b.node("Add", [image(b), y]))


@path(folded=0, kept="multiple-consumers")
def sum_read_twice(b):
    y = b.node("Add", [image(b), image(b)])
    b.output(y)
    finish(b, y)


@path(folded=0, kept="multiple-consumers")
def residual_block(b):
    """The skipped value feeds the layer beside it, too."""
    y = image(b)
    finish(b, b.node("Add", [y, conv(b, 5, b.node("Relu", [y]), cin=5, pads=[1, 1, 1, 1])]))


@path()
def value_added_to_itself_without_shift(b):
    y = image(b)
    finish(b, b.node("Add", [y, y]), params=no_shift(b))


@path(layers=("conv", "depthwise"))
def value_added_to_itself(b):
    """The shift must not be counted twice."""
    y = image(b)
    finish(b, b.node("Add", [y, y]))


@path(folded=0, kept="no-linear-producer")
def value_subtracted_from_itself(b):
    y = image(b)
    finish(b, b.node("Sub", [y, y]))


@path(folded=0, kept="multiple-consumers|sibling-disagrees")
def value_added_to_itself_and_read_again(b):
    y = image(b)
    b.output(y)
    finish(b, b.node("Add", [y, y]))


@path(folded=0, kept="sibling-disagrees")
def value_added_to_itself_reordered(b):
    """The two uses of the layer's result ask for the norm's channels in different order."""
    y = image(b)
    finish(b, b.node("Add", [y, cut(b, y, 1, -1, -9, -1)]), params=no_shift(b))


@path()
def value_added_to_its_identity(b):
    y = image(b)
    finish(b, b.node("Add", [b.node("Identity", [y]), y]), params=no_shift(b))


@path(folded=0, kept="sibling-disagrees")
def value_added_to_itself_pooled(b):
    y = image(b)
    finish(b, b.node("Add", [y, average_pool(b, y, 3, pads=[1, 1, 1, 1])]))


@path(folded=0, kept="sign")
def sum_of_a_max_pool_with_negative_factors(b):
    finish(b, b.node("Add", [image(b), max_pool(b, image(b), 3, pads=[1, 1, 1, 1])]))


@path()
def sum_of_a_max_pool_with_positive_factors(b):
    finish(b, b.node("Add", [max_pool(b, image(b), 3, pads=[1, 1, 1, 1]), image(b)]), params=positive(b))


@path(folded=0, kept="sign")
def max_pool_subtracted(b):
    """The pooled branch gets −s."""
    pooled = b.node("Neg", [max_pool(b, image(b), 3, pads=[1, 1, 1, 1])])
    finish(b, b.node("Sub", [pooled, image(b)]), params=positive(b))


@path()
def shift_goes_to_the_branch_that_takes_it(b):
    """A padded average that counts its padding takes the factor; the shift goes to the other branch."""
    pooled = average_pool(b, image(b), 3, pads=[1, 1, 1, 1], count_include_pad=1)
    finish(b, b.node("Add", [pooled, image(b)]))


@path(folded=0, kept="padding-between")
def no_branch_takes_the_shift(b):
    def pooled():
        return average_pool(b, image(b), 3, pads=[1, 1, 1, 1], count_include_pad=1)
    finish(b, b.node("Add", [pooled(), pooled()]))


@path()
def sum_of_weights_shared_by_its_branches(b):
    """Two layers of one weight in one plan: each gets what it needs."""
    w = b.tensor(b.rng.normal(0, 0.2, (5, 3, 3, 3)))
    finish(b, b.node("Sub", [conv(b, 5, w=w), conv(b, 5, b.input("x2", [2, 3, 6, 6]), w=w)]))


@path()
def sum_of_concats(b):
    left, right = concat(b, conv(b, 2), conv(b, 3)), concat(b, conv(b, 4), conv(b, 1))
    finish(b, b.node("Add", [left, right]))


@path()
def sum_with_a_constant_image(b):
    """Learned positions: [1, 5, 4, 4], read by nothing else."""
    y = b.node("Add", [b.node("Add", [image(b), image(b)]), b.tensor(b.rng.normal(0, 1, (1, 5, 4, 4)))])
    finish(b, y)


@path()
def positions_read_by_two(b):
    """The constant of the sum has another reader, which must see it as it was."""
    k = b.tensor(b.rng.normal(0, 1, (1, 5, 4, 4)))
    b.output(b.node("Mul", [b.input("z", [2, 5, 4, 4]), k]))
    finish(b, b.node("Add", [image(b), k]))


@path()
def sum_behind_other_ops(b):
    y = b.node("Add", [average_pool(b, image(b)), average_pool(b, image(b))])
    finish(b, squeeze(b, reshape(b, y, [2, 5, 1, 9]), [2]))


@path()
def sum_of_pooled_features(b):
    finish(b, b.node("Add", [flatten(b, gap(b, image(b))), flatten(b, gap(b, conv(b, 5)))]))


@path(folded=1, kept="activation-between")
def stack_of_residual_blocks(b):
    """The first norm folds through the sum; the second follows an activation."""
    y = b.norm(b.node("Add", [image(b), image(b)]), 5)
    z = b.node("Add", [b.node("Relu", [y]), conv(b, 5)])
    finish(b, z)
