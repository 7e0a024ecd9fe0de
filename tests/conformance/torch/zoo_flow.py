"""More modules: who else sees what a norm and its layer share, what is overwritten, and what programs are made of besides."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from programs import Form
from zoo import B1, B2, BOTH, PLAIN, Net, buffer, case, chain, data, image

C = nn.Conv2d
BATCH = torch.export.Dim("batch", min=2, max=64)
HEIGHT, WIDTH = (torch.export.Dim(n, min=4, max=40) for n in "hw")


# --- uses ------------------------------------------------------------------------------

@case(0, {"multiple-consumers": 1}, forms=BOTH)
def layer_result_returned():
    def f(s, x):
        y = s.conv(x)
        return s.norm(y), y
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1, forms=BOTH)
def norm_result_returned():
    def f(s, x):
        y = s.norm(s.conv(x))
        return {"y": y, "again": [y, F.relu(y)], "number": 3, "nothing": None}
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(2)
def layer_called_twice():
    """Calls of one layer, each with a norm of its own: each gets weights of its own. Of one norm: both take it."""
    return Net(lambda s, x: F.relu(s.n1(s.conv(x))) + s.n2(s.conv(x * x)), conv=C(3, 3, 1), n1=B2(3), n2=B2(3)), (image(),)


@case(2)
def norm_called_twice():
    return Net(lambda s, x: F.relu(s.norm(s.a(x))) + s.norm(s.b(x)), a=C(3, 4, 1), b=C(3, 4, 1, bias=False), norm=B2(4)), (image(),)


@case(2)
def block_called_twice():
    return Net(lambda s, x: s.block(F.relu(s.block(x))), block=chain(C(3, 3, 3, padding=1), B2(3))), (image(),)


def tie(a, b, name="weight"):
    setattr(b, name, getattr(a, name))


@case(2, forms=BOTH)
def tied_weights():
    m = Net(lambda s, x: s.n1(s.a(x)) + s.n2(s.b(F.relu(x))), a=C(3, 4, 1), b=C(3, 4, 1, bias=False), n1=B2(4), n2=B2(4))
    tie(m.a, m.b)
    return m, (image(),)


@case(1, forms=BOTH)
def tied_to_what_is_not_called():
    m = Net(lambda s, x: s.norm(s.a(x)), a=C(3, 4, 1), b=C(3, 4, 1), norm=B2(4))
    tie(m.a, m.b)
    return m, (image(),)


@case(1, {"activation-between": 1})
def tied_norms():
    """Parameters of a norm that is folded are read by one that stays."""
    def f(s, x):
        y = s.a(x)
        return s.n1(F.relu(s.b(x))) + s.n2(s.c(x)), y
    m = Net(f, a=C(3, 4, 1), b=C(3, 4, 1), c=C(3, 4, 1), n1=B2(4), n2=B2(4))
    for name in ("weight", "bias"):
        tie(m.n2, m.n1, name)
    return m, (image(),)


@case(1, forms=BOTH)
def weight_is_the_bias_of_another():
    m = Net(lambda s, x: s.norm(s.a(x)) * s.p.sum(), a=C(3, 4, 1), p=nn.Parameter(torch.zeros(4)), norm=B2(4))
    m.a.bias = m.p
    return m, (image(),)


@case(0, {"not-expressible": 1})
def parts_of_one_storage():
    """A weight and a bias that are views of one tensor: neither is written over the other."""
    m = Net(lambda s, x: s.norm(F.conv2d(x, s.w, s.b)), norm=B2(4))
    both = data(4, 4)
    buffer(buffer(m, "w", both[:, :3, None, None]), "b", both[:, 3])
    return m, (image(),)


@case(2)
def strided_parameters():
    """Transposed, stepped and offset views of larger storages."""
    m = Net(lambda s, x: s.n2(F.conv2d(F.relu(s.n1(F.conv2d(x, s.w))), s.v)), n1=B2(4), n2=B2(3))
    m.w = nn.Parameter(data(3, 8).t()[::2][:, :, None, None])
    m.v = nn.Parameter(torch.cat([torch.ones(5), data(4, 3).flatten()])[5:].view(4, 3).t()[:, :, None, None])
    return m, (image(),)


@case(0, {"not-expressible": 1})
def expanded_parameter():
    """Elements that are one have no values of their own."""
    m = Net(lambda s, x: s.norm(F.conv2d(x, s.w)), norm=B2(4))
    return buffer(m, "w", data(1, 3, 1, 1).expand(4, 3, 1, 1)), (image(),)


@case(2)
def names():
    """What a new bias would be called is another module's name, or a parameter's; names that are no words of Python."""
    def f(s, x):
        return s.n2(s.get_submodule("a-b")(F.relu(s.n1(F.conv2d(x, s.w))))) + s.bias(x) + s.p_bias
    m = Net(f, w=nn.Parameter(torch.zeros(4, 3, 1, 1)), bias=C(3, 4, 1, bias=False), n1=B2(4), n2=B2(4), p_bias=nn.Parameter(torch.zeros(1)))
    m.add_module("a-b", C(4, 4, 1, bias=False))
    return m, (image(),)


@case(2)
def parameter_lists():
    def f(s, x):
        for w, n in zip(s.w, s.n):
            x = n(F.conv2d(x, w))
            x = F.relu(x)
        return x
    return Net(f, w=nn.ParameterList([torch.zeros(4, 3, 1, 1), torch.zeros(5, 4, 1, 1)]), n=nn.ModuleList([B2(4), B2(5)])), (image(),)


@case(1, forms=BOTH)
def shape_of_another():
    """Who reads the shape of a layer's result reads no elements of it."""
    def f(s, x):
        y = s.fc(x)
        return s.norm(y.flatten(0, 1)).reshape_as(y) + torch.zeros_like(y)
    return Net(f, fc=nn.Linear(6, 4), norm=B1(4)), (data(2, 5, 6),)


# --- sums ------------------------------------------------------------------------------

@case(4, forms=BOTH)
def residual():
    def f(s, x):
        x = F.relu(s.n0(s.c0(x)))
        y = s.n2(s.c2(F.relu(s.n1(s.c1(x)))))
        return F.relu(s.n3(s.c3(x)) + y)
    return Net(f, c0=C(3, 4, 1), n0=B2(4), c1=C(4, 4, 3, padding=1, bias=False), n1=B2(4), c2=C(4, 4, 1), n2=B2(4), c3=C(4, 4, 1), n3=B2(4)), (image(),)


@case(2)
def residual_in_place():
    """As torchvision writes it: `out += identity; relu_(out)`."""
    def f(s, x):
        x = F.relu(s.n0(s.c0(x)), inplace=True)
        y = s.n1(s.c1(x))
        y += x
        return F.relu(y, inplace=True)
    return Net(f, c0=C(3, 4, 1), n0=B2(4), c1=C(4, 4, 3, padding=1, bias=False), n1=B2(4)), (image(),)


@case(1)
def norm_of_a_sum():
    return Net(lambda s, x: s.norm(s.a(x) - s.b(x)), a=C(3, 4, 1), b=C(3, 4, 1, bias=False), norm=B2(4)), (image(),)


@case(1)
def norm_of_a_sum_in_place():
    def f(s, x):
        y = s.a(x)
        y += s.b(x)
        return s.norm(y)
    return Net(f, a=C(3, 4, 1), b=C(3, 4, 1, bias=False), norm=B2(4)), (image(),)


@case(2)
def norm_of_joined_branches():
    m = Net(lambda s, x: s.n2(torch.cat([s.a(x), s.n1(s.b(x)), s.a2(x)], dim=1)), a=C(3, 4, 1), b=C(3, 2, 1, bias=False), a2=C(3, 1, 1), n1=B2(2), n2=B2(7))
    return m, (image(),)


# --- in place ---------------------------------------------------------------------------

@case(0, {"multiple-consumers": 1})
def overwritten_and_read():
    """The layer's result is overwritten behind the norm, and read again as the result of that."""
    def f(s, x):
        y = s.conv(x)
        z = s.norm(y)
        y.mul_(2)
        return z + y
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(0, {"updated-in-place": 1})
def overwritten_through_a_view():
    def f(s, x):
        y = s.norm(s.conv(x))
        y[:, :2].add_(1.0)
        return F.relu(y)
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(0, {"updated-in-place": 1})
def overwritten_through_a_diagonal():
    """`einsum` of one operand may be a view."""
    def f(s, x):
        y = s.norm(s.conv(x))
        torch.einsum("bcii->bci", y).add_(1.0)
        return F.relu(y)
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(0, {"updated-in-place": 1})
def overwritten_in_a_list():
    """An op that overwrites every tensor of a list."""
    def f(s, x):
        y, z = s.norm(s.conv(x)), x * 2
        torch._foreach_add_([z, y], 1.0)
        return F.relu(y) + z.sum()
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(0, {"updated-in-place": 1})
def input_overwritten():
    """What the caller passed is another afterwards; a norm of it before is not moved behind that."""
    def f(s, x):
        y = s.norm(x)
        x.add_(1.0)
        return s.conv(y) + s.conv(x)
    return Net(f, conv=C(3, 4, 1), norm=B2(3)), (image(),)


@case(1)
def update_behind_a_norm():
    """The norm gave a tensor of its own, which is overwritten: without it the input would be."""
    def f(s, x):
        y = s.norm(x)
        y.add_(1.0)
        return s.conv(y)
    return Net(f, conv=C(3, 4, 1), norm=B2(3)), (image(),)


@case(1)
def update_between():
    """What a norm ahead reads is overwritten before the layer that it goes into."""
    def f(s, x):
        x = s.first(x)
        y = s.norm(x)
        x = F.relu(x, inplace=True)
        return s.conv(y) + s.other(x)
    return Net(f, first=C(3, 3, 1), norm=B2(3), conv=C(3, 4, 1), other=C(3, 4, 1)), (image(),)


@case(1, {"updated-in-place": 1}, forms=PLAIN)
def update_of_another_type():
    """`add_` of a wider tensor, whose functional form would give a wider one."""
    def f(s, x):
        y = s.conv(x)
        a, b = y.split([2, 2], 1)
        a = s.norm(a).add_(torch.ones(1, dtype=torch.float64))
        return a, s.n2(s.c2(b))
    return Net(f, conv=C(3, 4, 1), norm=B2(2), c2=C(2, 4, 1), n2=B2(4)), (image(),)


@case(1)
def slices_assigned():
    def f(s, x):
        y = s.norm(s.conv(x))
        z = torch.zeros_like(y)
        z[:, 1:] = y[:, :-1]
        return z
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1)
def activations_in_place():
    def f(s, x):
        y = s.norm(s.conv(x))
        return F.hardtanh(F.leaky_relu(F.elu(y, inplace=True), inplace=True), inplace=True).sigmoid_().mul_(2.0).clamp_(max=1.5)
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


# --- layouts ------------------------------------------------------------------------------

@case(1, forms=BOTH)
def view_of_a_copy():
    """Without the copy, which says nothing of elements, there is a tensor that cannot be viewed so."""
    def f(s, x):
        y = s.norm(s.fc(x).transpose(1, 2)).contiguous()
        return y.view(2, -1)
    return Net(f, fc=nn.Linear(6, 4), norm=B1(4)), (data(2, 5, 6),)


@case(1, forms=BOTH)
def view_behind_elementwise_ops():
    """The same, some way on: ops on elements keep the order that they find."""
    def f(s, x):
        y = F.relu(s.norm(s.fc(x).transpose(1, 2)).contiguous()) * 2.0
        return y.flatten(1) + torch.sigmoid(y).view(2, -1), y.view(2, 2, 2, 5).sum()
    return Net(f, fc=nn.Linear(6, 4), norm=B1(4)), (data(2, 5, 6),)


@case(1, forms=BOTH)
def view_ahead_of_a_layer():
    """A norm before a layer, and a copy and a view between them."""
    return Net(lambda s, x: s.fc(s.norm(x.transpose(1, 2)).contiguous().view(2, -1)), norm=B1(4), fc=nn.Linear(20, 3)), (data(2, 5, 4),)


@case(1, refused="would lie in memory otherwise")
def overwritten_through_a_view_of_a_copy():
    """A view that others see the memory of is no copy, whatever comes before it."""
    def f(s, x):
        y = F.relu(s.norm(s.fc(x).transpose(1, 2)).contiguous())
        y.view(2, -1)[:, :3].add_(1.0)
        return y * 2.0
    return Net(f, fc=nn.Linear(6, 4), norm=B1(4)), (data(2, 5, 6),)


@case(3, forms={"plain": Form(channels_last=True), "decomposed": Form(channels_last=True, decompose=True)})
def channels_last():
    m = chain(C(3, 8, 3, padding=1, bias=False), B2(8), nn.ReLU(inplace=True), C(8, 8, 3, padding=1, groups=2), B2(8), nn.ReLU(),
              nn.ConvTranspose2d(8, 4, 2, 2), B2(4), nn.Flatten())
    return m, (image().contiguous(memory_format=torch.channels_last),)


# --- types, shapes, inputs, outputs -------------------------------------------------------

@case(3, forms={str(t).removeprefix("torch."): Form(dtype=t) for t in (torch.float64, torch.float16, torch.bfloat16)})
def types():
    m = chain(C(3, 8, 3, padding=1, bias=False), B2(8), nn.ReLU(), C(8, 8, 1), B2(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), B1(4))
    return m, (image(),)


@case(1, {"custom-domain": 1}, forms={str(t).removeprefix("torch."): Form(dtype=t) for t in (torch.float16, torch.bfloat16)})
def numbers_in_half_precision():
    """0.1 is no number of half precision, and is kept in f32 where it is used; 0.5 is one."""
    return Net(lambda s, x: s.n1(s.a(x) * 0.5) + s.n2(s.b(x) * 0.1), a=C(3, 4, 1), n1=B2(4), b=C(3, 4, 1), n2=B2(4)), (image(),)


@case(4, forms={"plain": Form(dynamic=(({0: BATCH},),)), "decomposed": Form(dynamic=(({0: BATCH},),), decompose=True)})
def dynamic_batch():
    def f(s, x):
        x = F.relu(s.n1(s.c1(x)))
        x = s.n2(s.c2(x)).view(x.size(0), 4, -1)
        x = s.n4(s.fc(x.transpose(1, 2)).transpose(1, 2)).flatten(1)
        return s.n3(s.l(x.reshape(x.shape[0], -1)))
    return Net(f, c1=C(3, 4, 3, padding=1), n1=B2(4), c2=C(4, 4, 1, bias=False), n2=B2(4), fc=nn.Linear(4, 5), n4=B1(5), l=nn.Linear(5 * 64, 4),
               n3=B1(4)), (image(),)


@case(2, forms={"plain": Form(dynamic=(({0: BATCH, 2: HEIGHT, 3: WIDTH},),))})
def dynamic_everything():
    def f(s, x):
        y = s.n1(s.c1(x))
        y = F.relu(y.flatten(2).view(y.shape))
        return s.n2(F.adaptive_avg_pool2d(s.c2(y), 1)), y.shape[2] * 2
    return Net(f, c1=C(3, 4, 3, padding=1), n1=B2(4), c2=C(4, 4, 3, bias=False), n2=B2(4)), (image(),)


@case(3)
def several_inputs_and_outputs():
    def f(s, pair, named, flag, scale=None):
        a, b = pair
        x = s.n1(s.c1(a))
        y = s.n2(s.c2(named["image"])) * scale
        return (x, y), {"sum": F.relu(x + y), "b": s.n3(s.fc(b))}, flag
    m = Net(f, c1=C(3, 4, 1), n1=B2(4), c2=C(3, 4, 1), n2=B2(4), fc=nn.Linear(3, 2), n3=B1(2))
    return m, ((image(), data(2, 3)), {"image": image() + 1}, True, torch.full((1,), 2.0))


@case(1)
def integers_and_indices():
    """Inputs that are no floats, and results of max that are indices."""
    def f(s, x, n):
        y = s.norm(s.conv(x))
        v, i = y.max(1)
        return v, i, y.argmax(), n + 1, F.max_pool2d(y, 2, return_indices=True)
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(), torch.arange(4))


@case(0, {"multiple-consumers|custom-domain": 1})
def indices_of_the_pool_between():
    def f(s, x):
        y, i = F.max_pool2d(s.conv(x), 2, return_indices=True)
        return s.norm(y), i
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1)
def norm_with_trailing_results():
    """Decomposed norms have three results, of which one counts."""
    return Net(lambda s, x: s.norm(s.conv(x)), conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1, {"graph-input": 1})
def nothing_before():
    return Net(lambda s, x: (F.relu(s.n1(x)), s.n2(s.conv(x))), n1=B2(3), conv=C(3, 4, 1), n2=B2(4)), (image(),)


# --- graphs inside, and what else is in a program --------------------------------------------

@case(1, {"nested-graph": 1})
def conditions():
    """Branches in branches; norms outside fold, those inside are named."""
    def f(s, x):
        x = s.norm(s.conv(x))

        def inner(x):
            return torch.cond(x.mean() > 1, lambda x: s.n2(s.c2(x)), lambda x: x + 1, (x,))
        return torch.cond(x.sum() > 0, inner, lambda x: s.n3(s.c2(x)), (x,))
    return Net(f, conv=C(3, 4, 1), norm=B2(4), c2=C(4, 4, 1), n2=B2(4), n3=B2(4)), (image(),)


@case(2, {"nested-graph": 1})
def regions():
    """`no_grad` around a norm, and autocast around a convolution."""
    def f(s, x):
        x = F.relu(s.n1(s.c1(x)))
        with torch.no_grad():
            x = F.relu(s.n2(s.c2(x)))
        with torch.autocast("cpu", torch.bfloat16):
            y = s.c3(x)
        return s.n4(s.c4(x)) + y.float()
    return Net(f, c1=C(3, 4, 1), n1=B2(4), c2=C(4, 4, 1), n2=B2(4), c3=C(4, 4, 1), c4=C(4, 4, 1), n4=B2(4)), (image(),)


@case(1, {"precision-narrowing": 1})
def autocast_between():
    """A layer under autocast, a norm outside."""
    def f(s, x):
        with torch.autocast("cpu", torch.bfloat16):
            y = s.c1(x)
        return s.n1(y.float()) + s.n2(s.c2(x))
    return Net(f, c1=C(3, 4, 1), n1=B2(4), c2=C(3, 4, 1), n2=B2(4)), (image(),)


@case(3, forms={"preserved": Form(preserve=("block", "block.0", "head"))})
def preserved_calls():
    """Signatures of modules that mention what a norm gave."""
    m = Net(lambda s, x: s.head(s.block(x).mean((2, 3))), block=chain(chain(C(3, 4, 3), B2(4)), nn.ReLU(), C(4, 4, 1), B2(4)), head=chain(nn.Linear(4, 3), B1(3)))
    return m, (image(),)


@case(1)
def buffers():
    """Buffers that are read, that are updated, that are not saved, and that nothing reads."""
    def f(s, x):
        s.count.add_(1)
        return s.norm(s.conv(x)) * s.scale + s.offset + s.count
    m = Net(f, conv=C(3, 4, 1), norm=B2(4))
    buffer(m, "count", torch.zeros(()))
    buffer(m, "scale", torch.full((1, 4, 1, 1), 2.0))
    buffer(m, "offset", torch.ones(1, 1, 8, 8), persistent=False)
    return buffer(m, "unused", torch.ones(3)), (image(),)


@case(0, {"custom-domain": 1})
def weight_that_is_updated():
    def f(s, x):
        y = s.norm(F.conv2d(x, s.w))
        s.w.mul_(0.5)
        return y
    return buffer(Net(f, norm=B2(4)), "w", data(4, 3, 1, 1)), (image(),)


@case(1)
def constants():
    def f(s, x):
        return s.norm(s.conv(x) * torch.tensor([1.0, -2.0, 3.0, 0.5]).view(4, 1, 1)) + torch.arange(8)
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1)
def unused_modules():
    """Parameters that no node reads stay where they are."""
    m = Net(lambda s, x: s.norm(s.conv(x)), conv=C(3, 4, 1), norm=B2(4), spare=chain(C(3, 4, 1), B2(4)))
    return m, (image(),)


@case(1)
def random_numbers():
    """Ops that are no functions of what they read stay, whatever becomes of them."""
    def f(s, x):
        return s.norm(s.conv(x)) + 0 * torch.rand_like(x).sum() + 0 * F.dropout(x, 0.5, training=True).sum()
    return Net(f, conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(1)
def checked_types():
    """`to` leaves checks of types behind, which read no elements."""
    return Net(lambda s, x: s.norm(s.conv(x.to(torch.float32)).to(torch.float32)), conv=C(3, 4, 1), norm=B2(4)), (image(),)


@case(2, {"sign": 1})
def zero_and_negative_scales():
    m = chain(C(3, 4, 3, padding=1), B2(4), nn.ReLU(), C(4, 4, 1), B2(4), nn.ReLU(), C(4, 4, 1), nn.MaxPool2d(2, 2, 1), B2(4))
    m.scales = torch.tensor([0.0, -1.0, 2.0, -0.5])
    return m, (image(),)


@case(0, {"non-finite": 1})
def not_finite():
    m = chain(C(3, 4, 1), B2(4))
    m.variance = float("inf")
    return m, (image(),)


@case(0, {"not-constant": 1})
def weight_that_is_passed():
    return Net(lambda s, x, w: s.norm(F.conv2d(x, w)), norm=B2(4)), (image(), data(4, 3, 1, 1))


@case(1)
def moved_by_a_number_of_copies():
    """Resampling by a factor that is not whole, of a constant: its places are not those of the whole factor."""
    m = Net(lambda s, x: s.norm(s.conv(x)) + F.interpolate(s.grid, scale_factor=2.7), conv=C(3, 4, 1), norm=B2(4))
    return buffer(m, "grid", data(1, 4, 4, 4)), (data(2, 3, 10, 10),)
