//! `canonicalize`: removes ops that hand on their operand as it is.
//!
//! ```text
//! Given   %a = identity %x          Result  %c = relu %x
//!         %b = transpose %a [1, 0]
//!         %t = transpose %b [1, 0]
//!         %c = relu %t
//! ```
//!
//! Every pattern answers one question (which older value is this op's result, for every input?) and shares the rewrite:
//! readers of the result read that value instead. A pattern decides by attributes, constants and [`CertainTypes`], never
//! by declared types of intermediate values, which may be stale.

mod copies;
mod layout;
mod resize;

use crate::{
    CertainTypes, NoOptions,
    pass::{Pass, PassCx, PassError, PassInfo, PassOutcome, PassSpec},
};
use normfold_ir::{
    ConstPool, Graph, MatchCx, Miss, NoReason, OpId, PatternRewriter, PatternSet, RewritePattern,
    Value,
};

/// The pass `canonicalize`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Canonicalize;

impl PassSpec for Canonicalize {
    type Options = NoOptions;

    const INFO: PassInfo = PassInfo {
        name: "canonicalize",
        summary: "Remove ops that hand on their operand as it is",
        description: "\
Lets the readers of an op's result read an older value that is the same for every input, and erases the op with what only it \
read: identities, \
dropouts that drop nothing, casts to the type a value has, reshapes to the shape it has, transposes that cancel, pads of \
nothing, slices of everything, concatenations of one.

A shape counts only where it follows from the parameters, the constants and the ops in between; what the document declares \
for intermediate values may be stale and proves nothing.

An op stays where its result is a graph result, or is read by the body of another op, and the older value cannot take over \
the result's name: a parameter, a constant, or a value that is a graph result or read by a body itself. A document needs a \
node there.",
        statistics: &[
            (copies::IDENTITY, "identities removed"),
            (copies::DROPOUT, "dropouts removed"),
            (copies::CAST, "casts removed"),
            (copies::CONCAT, "concatenations of one value removed"),
            (layout::RESHAPE, "reshapes, squeezes, unsqueezes and flattens removed"),
            (layout::EXPAND, "expands removed"),
            (layout::TRANSPOSE, "transposes removed that move nothing"),
            (layout::TRANSPOSES, "transposes removed that undo another"),
            (resize::PAD, "pads removed"),
            (resize::SLICE, "slices removed"),
        ],
        reasons: &[],
    };

    fn new(_: NoOptions) -> Self {
        Canonicalize
    }
}

impl Pass for Canonicalize {
    fn run(&mut self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassOutcome, PassError> {
        let types = cx.analysis::<CertainTypes>(graph);
        let types = &*types;
        let patterns = PatternSet::default()
            .with(Forward(copies::Identity))
            .with(Forward(copies::Dropout))
            .with(Forward(copies::Cast { types }))
            .with(Forward(copies::Concat))
            .with(Forward(layout::Reshape { types }))
            .with(Forward(layout::Expand { types }))
            .with(Forward(layout::Transpose { types }))
            .with(Forward(layout::Transposes))
            .with(Forward(resize::Pad))
            .with(Forward(resize::Slice { types }));
        let changed = cx.apply_greedily(graph, &patterns).total() > 0;
        // Values keep what they are.
        Ok(PassOutcome::from_changed(changed).preserving::<CertainTypes>())
    }
}

/// Recognises ops whose first result is an older value.
trait SameValue {
    const NAME: &'static str;
    /// The value that the first result of `op` is, for every input.
    fn source(&self, g: &Graph, constants: &ConstPool, op: OpId) -> Option<Value>;
}

/// Lets the readers of the first result read the older value.
struct Forward<P>(P);

/// `result` is `source` for every input, and `source` can take its place in the document.
struct Same {
    result: Value,
    source: Value,
}

impl<P: SameValue> RewritePattern for Forward<P> {
    type Match = Same;
    type Reason = NoReason;
    const NAME: &'static str = P::NAME;

    fn check(&self, g: &Graph, root: OpId, cx: MatchCx<'_>) -> Result<Same, Miss<NoReason>> {
        let source = self.0.source(g, cx.constants, root).ok_or(Miss::NoMatch)?;
        let mut results = g.results(root);
        let result = results.next().ok_or(Miss::NoMatch)?;
        if !results.all(|r| g.is_unused(r)) {
            return Err(Miss::NoMatch);
        }
        // dce erases what nothing reads; here it would be no step towards anything.
        if g.is_unused(result) || !g.can_stand_for(source, result) {
            return Err(Miss::NoEffect);
        }
        Ok(Same { result, source })
    }

    fn rewrite(&self, m: Same, rw: &mut PatternRewriter<'_>) {
        rw.replace_all_uses(m.result, m.source);
        // What computed only for it would keep others from a single reader.
        rw.erase_with_orphans(m.result.op);
    }
}
