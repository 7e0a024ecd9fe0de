//! ONNX models: opened by memory map, imported as a module, written back by patching the document.
//!
//! # What import and export agree on
//!
//! The document writes a changed module back by comparing each record with the op that came from it. So import holds to this:
//!
//! - Every graph of the tables but those of training becomes a graph of the module: the main graph, the body of each function
//!   ([`normfold_ir::GraphRole::Function`]), and each graph in an attribute of whatever node, which becomes a region of that
//!   node's op, in the order of the node's attributes (of an If: then, else). `Import::graphs` lists them by the number of their table.
//! - A node becomes exactly one op, with origin `Node`; operand *i* is input *i* (`""` is an absent operand), result
//!   *i* is output *i* (`""` has no name). What is an attribute in the record is a field of the op, never an operand.
//! - An initializer becomes a `constant` with origin `Initializer` (also one that nothing reads), its name that of
//!   the tensor. A graph input becomes a `parameter` with origin `Input`, unless an initializer has its name; an
//!   input of a function likewise, numbered by its position. Capture parameters have no origin; their value name is the name
//!   of the captured value. `return` has no origin; its operand *i* is output *i*, its `names` are the outputs' names.
//! - Values carry the names of the document; an op's name is `NodeProto.name`, or none when that is empty.
//! - Only what a pass creates has no origin.

mod capabilities;
mod document;
mod export;
mod external;
mod import;
mod model;
mod names;
#[cfg(test)]
mod proto;
mod spell_out;
mod types;
mod wire;
mod writer;

pub use document::{OnnxDocument, OpenOptions, SaveOptions, SaveReport, data_beside};
pub use export::outside::ExternalData;
