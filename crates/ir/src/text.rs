//! The text form: deterministic, printed and parsed, `parse(print(m))` being `m` again.
//!
//! What it keeps: module attributes, graphs with their roles, ops in topological order with operands, captures, bodies,
//! attributes, locations, result names and types, and constants as far as [`Weights`] says. What it leaves out: storage
//! (ids, whether bytes are mapped or owned), origins, capabilities, which types a document shall declare, and bodies that no
//! op owns. The grammar is in `docs/ir.md`.
//!
//! ```
//! let text = r#"module @example {
//!   graph @main(%x: tensor<1x4xf32>) -> (%y: tensor<1x4xf32>) {
//!     %y = relu %x "act" : tensor<1x4xf32>
//!     return %y
//!   }
//! }
//! "#;
//! let module = normfold_ir::text::parse(text).unwrap();
//! assert_eq!(normfold_ir::text::print(&module, &Default::default()).unwrap(), text);
//! ```

mod elements;
mod error;
mod lexer;
mod parse;
mod print;

pub use error::{ParseError, line_column};
pub use parse::parse;
pub use print::{PrintError, PrintOptions, Weights, print, print_graph, print_op, write_to};

/// Nesting of bodies, of lists in attributes, of brackets around elements and of derived constants beyond which text is
/// refused: the parser descends by recursion, and hostile text must not exhaust a small stack.
const MAX_BODIES: u32 = 64;
const MAX_LISTS: u32 = 128;
const MAX_BRACKETS: u32 = 64;
const MAX_DERIVED: u32 = 16;

/// Text in double quotes, escaped.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether text can stand as a bare word: an attribute's name, or a choice such as `NHWC`.
fn is_word(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && crate::types::is_plain_name(s)
}

/// Words that begin another kind of attribute.
const RESERVED: &[&str] = &[
    "true", "false", "dense", "splat", "blob", "stats", "absent", "resource", "derived", "bytes",
    "type", "ref", "word",
];
