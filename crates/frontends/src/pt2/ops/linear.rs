//! Convolutions, linear layers, matrix products.

use super::{NodeCx, Operand};
use normfold_ir::{
    Conv, ConvTranspose, DataLayout, KernelLayout, KernelOrder, Linear, MatMul, Padding, Spatial,
    Value,
};

pub(super) fn emit(cx: &mut NodeCx<'_, '_>, name: &str, overload: &str) -> Option<Vec<Value>> {
    match (name, overload) {
        ("conv1d", "default" | "padding") => conv(cx, 1),
        ("conv2d", "default" | "padding") => conv(cx, 2),
        ("conv3d", "default" | "padding") => conv(cx, 3),
        ("conv_transpose1d", "default") => transposed(cx, 1),
        ("conv_transpose2d", "input") => transposed(cx, 2),
        ("conv_transpose3d", "input") => transposed(cx, 3),
        ("convolution", "default") => either(cx),
        ("linear", "default") => linear(cx),
        ("addmm", "default") => addmm(cx),
        ("mm" | "bmm", "default") => product(cx, "mat2"),
        ("matmul", "default") => product(cx, "other"),
        _ => None,
    }
}

/// The tensors of a convolution over that many axes, in a batch: without one its data has no batch axis.
fn tensors(cx: &NodeCx<'_, '_>, spatial: usize) -> Option<Vec<Operand>> {
    let (x, w, b) = (cx.tensor("input")?, cx.tensor("weight")?, cx.bias()?);
    let rank = spatial + 2;
    (cx.rank(x)? == rank && cx.rank(w)? == rank).then(|| vec![x, w, b])
}

fn explicit(amounts: Spatial<i64>) -> Padding {
    Padding::Explicit(amounts.into_iter().map(|n| (n, n)).collect())
}

fn groups(cx: &NodeCx<'_, '_>) -> Option<u64> {
    u64::try_from(cx.int("groups", Some(1))?).ok().filter(|&n| n > 0)
}

fn conv(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    cx.only(&["input", "weight", "bias", "stride", "padding", "dilation", "groups"])?;
    let operands = tensors(cx, n)?;
    let dilations = cx.positive("dilation", n, Some(1))?;
    let pad = match cx.text("padding") {
        Some("valid") => Padding::Valid,
        // What is not even goes behind, whatever the stride, which is 1.
        Some("same") => {
            let kernel = cx.extents(*operands.get(1)?)?;
            let total = kernel.get(2..)?.iter().zip(&dilations).map(|(&k, &d)| {
                let total = i64::try_from(d.checked_mul(k.checked_sub(1)?)?).ok()?;
                Some((total / 2, total - total / 2))
            });
            Padding::Explicit(total.collect::<Option<_>>()?)
        }
        Some(_) => return None,
        None => explicit(cx.spatial("padding", n, Some(0))?),
    };
    let kind = Conv {
        x: DataLayout::channels_first(n as u8),
        w: KernelLayout::new(KernelOrder::Ois, n as u8),
        groups: groups(cx)?,
        strides: cx.positive("stride", n, Some(1))?,
        dilations,
        pad,
    };
    cx.one(kind, operands)
}

fn transposed(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    let names =
        ["input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"];
    cx.only(&names)?;
    let operands = tensors(cx, n)?;
    let kind = ConvTranspose {
        x: DataLayout::channels_first(n as u8),
        w: KernelLayout::new(KernelOrder::Ios, n as u8),
        groups: groups(cx)?,
        strides: cx.positive("stride", n, Some(1))?,
        dilations: cx.positive("dilation", n, Some(1))?,
        pad: explicit(cx.spatial("padding", n, Some(0))?),
        output_padding: cx.spatial("output_padding", n, Some(0))?,
        output_shape: Spatial::new(),
    };
    cx.one(kind, operands)
}

/// `convolution` says by an argument which of both it is, and its number of axes by its strides.
fn either(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&[
        "input",
        "weight",
        "bias",
        "stride",
        "padding",
        "dilation",
        "transposed",
        "output_padding",
        "groups",
    ])?;
    let n = cx.rank(cx.tensor("weight")?)?.checked_sub(2).filter(|n| (1..=3).contains(n))?;
    if cx.flag("transposed", None)? {
        return transposed_of(cx, n);
    }
    let operands = tensors(cx, n)?;
    let kind = Conv {
        x: DataLayout::channels_first(n as u8),
        w: KernelLayout::new(KernelOrder::Ois, n as u8),
        groups: groups(cx)?,
        strides: cx.positive("stride", n, None)?,
        dilations: cx.positive("dilation", n, None)?,
        pad: explicit(cx.spatial("padding", n, None)?),
    };
    cx.one(kind, operands)
}

fn transposed_of(cx: &mut NodeCx<'_, '_>, n: usize) -> Option<Vec<Value>> {
    let operands = tensors(cx, n)?;
    let kind = ConvTranspose {
        x: DataLayout::channels_first(n as u8),
        w: KernelLayout::new(KernelOrder::Ios, n as u8),
        groups: groups(cx)?,
        strides: cx.positive("stride", n, None)?,
        dilations: cx.positive("dilation", n, None)?,
        pad: explicit(cx.spatial("padding", n, None)?),
        output_padding: cx.spatial("output_padding", n, None)?,
        output_shape: Spatial::new(),
    };
    cx.one(kind, operands)
}

fn linear(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["input", "weight", "bias"])?;
    let (x, w, b) = (cx.tensor("input")?, cx.tensor("weight")?, cx.bias()?);
    (cx.rank(x)? >= 2 && cx.rank(w)? == 2).then_some(())?;
    cx.one(Linear { trans_w: true, ..Linear::default() }, vec![x, w, b])
}

fn addmm(cx: &mut NodeCx<'_, '_>) -> Option<Vec<Value>> {
    cx.only(&["self", "mat1", "mat2", "beta", "alpha"])?;
    let (c, x, w) = (cx.tensor("self")?, cx.tensor("mat1")?, cx.tensor("mat2")?);
    let (alpha, beta) = (cx.number("alpha", Some(1.0))?, cx.number("beta", Some(1.0))?);
    // With a factor of 0 what it is a factor of is not read.
    (beta != 0.0 && cx.rank(x)? == 2 && cx.rank(w)? == 2).then_some(())?;
    cx.one(Linear { alpha, beta, matrix: true, ..Linear::default() }, vec![x, w, c])
}

fn product(cx: &mut NodeCx<'_, '_>, other: &str) -> Option<Vec<Value>> {
    cx.only(&["self", other])?;
    let (a, b) = (cx.tensor("self")?, cx.tensor(other)?);
    (cx.rank(a)? >= 2 && cx.rank(b)? >= 2).then_some(())?;
    cx.one(MatMul {}, vec![a, b])
}
