//! Ops that move elements without computing with them.

use crate::{ConstId, attr::op_attrs};

impl crate::AttrField for ConstId {
    fn to_attr(&self) -> crate::Attribute {
        crate::Attribute::Tensor(*self)
    }
    fn from_attr(attr: &crate::Attribute) -> Result<Self, String> {
        match attr {
            crate::Attribute::Tensor(id) => Ok(*id),
            _ => Err("a tensor".into()),
        }
    }
}

op_attrs! {
    /// `reshape`: operands x, shape?. −1 is inferred, 0 copies the extent of x unless `allow_zero`.
    Reshape {
        /// Whether 0 means an extent of 0.
        allow_zero: bool = false,
        /// The shape, when it is not an operand.
        shape: Option<Vec<i64>> = None,
    }

    /// `transpose`: result axis i is axis `perm[i]` of x; an empty perm reverses the axes.
    Transpose {
        /// The permutation.
        perm: Vec<i64> = Vec::new(),
    }

    /// `flatten`: to rank 2, the axes before `axis` and those from it on.
    Flatten {
        /// The axis, negative from the end.
        axis: i64 = 1,
    }

    /// `squeeze`: operands x, axes?. Without axes every extent of 1 goes.
    Squeeze {
        /// The axes, when they are not an operand.
        axes: Option<Vec<i64>> = None,
    }

    /// `unsqueeze`: operands x, axes?.
    Unsqueeze {
        /// The axes of the result, when they are not an operand.
        axes: Option<Vec<i64>> = None,
    }

    /// `expand`: operands x, shape; broadcasts both ways.
    Expand {}

    /// `concat`: along `axis`.
    Concat {
        /// The axis, negative from the end.
        axis: i64 = 0,
    }

    /// `split`: operands x, sizes?; along `axis`, evenly when no sizes are given.
    Split {
        /// The axis, negative from the end.
        axis: i64 = 0,
        /// The extents of the results, when they are not an operand.
        sizes: Option<Vec<i64>> = None,
    }

    /// `slice`: operands x, starts?, ends?, axes?, steps?; the operands or the attributes, never both.
    Slice {
        /// First positions.
        starts: Option<Vec<i64>> = None,
        /// Positions after the last.
        ends: Option<Vec<i64>> = None,
        /// The axes; all leading ones when left out.
        axes: Option<Vec<i64>> = None,
    }

    /// `gather`: operands x, indices; along `axis`.
    Gather {
        /// The axis, negative from the end.
        axis: i64 = 0,
    }

    /// `shape`: the extents of x from `start` to `end` as i64. Reads the type only.
    Shape {
        /// First axis, negative from the end.
        start: i64 = 0,
        /// The axis after the last, negative from the end.
        end: Option<i64> = None,
    }

    /// `size`: the number of elements of x. Reads the type only.
    Size {}

    /// `constant_of_shape`: operand shape; every element is `value`, or an f32 0 without one.
    ConstantOfShape {
        /// A tensor of one element.
        value: Option<ConstId> = None,
    }

    /// `range`: operands start, limit, delta.
    Range {}
}
