//! In which order elements lie in memory, as far as a program can tell.
//!
//! `contiguous` gives a tensor in row-major order whatever it reads; ops on elements keep the order that they find. So what
//! reads around a node that is gone may find another order than before. Elements are the same; but a *view* is not possible of
//! every order, where a reshape is, and some ops look at the memory itself.
//!
//! The program states strides, which are those that it was traced with. Views were possible of those. What kernels do is
//! another matter: a batch norm is said to keep the order that it finds, and gives row-major order. So for ops that look at memory
//! only row-major order is certain.

use super::{
    export::{Change, inexpressible},
    program::{Node, Program, union},
};
use crate::{FrontendError, json::Json};
use std::collections::{HashMap, HashSet};

/// What an op has to do with the order of elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// It takes any, and its result may have it, too.
    Any,
    /// Its result is in row-major order.
    Own,
    /// It is possible of some only, and a reshape otherwise.
    View,
    /// It is possible of some only, or reads memory.
    Memory,
}

/// Whether a value lies in memory in another order than before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Move {
    #[default]
    None,
    /// What is said of both is the same, and not certain.
    Perhaps,
    /// Other strides are said of it.
    Said,
}

fn sense(node: &Node<'_>) -> Sense {
    match node.aten() {
        Some(("view" | "_unsafe_view", "default")) => Sense::View,
        Some(("linear" | "addmm" | "mm" | "bmm" | "matmul" | "contiguous", _)) => Sense::Own,
        Some((name, _)) if of_memory(name) || checks_strides(node) => Sense::Memory,
        Some(_) => Sense::Any,
        None => match carries_views(node) {
            true => Sense::Memory,
            false => Sense::Any,
        },
    }
}

/// Whether an op reads memory in an order of its own, or views it as what it is not. That of plain views is known otherwise.
fn of_memory(name: &str) -> bool {
    name.starts_with("as_strided")
        || name.starts_with("view")
        || matches!(
            name,
            "unflatten" | "_unsafe_view" | "_reshape_alias" | "set_" | "stride" | "sym_stride"
        )
        || name.contains("is_contiguous")
}

/// Whether strides are what a check is of.
fn checks_strides(node: &Node<'_>) -> bool {
    let strides = node.arg("stride").and_then(|a| union(a.value));
    matches!(node.aten(), Some(("_assert_tensor_metadata", _)))
        && strides.is_some_and(|(kind, _)| kind != "as_none")
}

/// Whether a graph that a node carries views what it is given.
fn carries_views(node: &Node<'_>) -> bool {
    let mut found = false;
    super::import::inner(node, &mut |target| {
        found |= super::program::aten(target).is_some_and(|(name, _)| of_memory(name));
    });
    found
}

/// Whether two values are said to lie in memory alike.
fn alike(program: &Program<'_>, a: &str, b: &str) -> bool {
    let strides = |name| program.meta(name).and_then(|meta| meta.get("strides"));
    strides(a).is_some_and(|a| strides(b) == Some(a))
}

/// Whether a value is said to lie in memory in row-major order.
fn is_row_major(meta: Option<&Json>) -> bool {
    let numbers = |key| -> Option<Vec<u64>> {
        let number = |json: &Json| match union(json)? {
            ("as_int", n) => u64::try_from(n.as_i64()?).ok(),
            _ => None,
        };
        meta?.get(key)?.items()?.iter().map(number).collect()
    };
    let (Some(sizes), Some(strides)) = (numbers("sizes"), numbers("strides")) else { return false };
    let mut expected = 1u64;
    sizes.iter().zip(&strides).rev().all(|(&size, &stride)| {
        let fits = size <= 1 || stride == expected;
        expected = expected.saturating_mul(size.max(1));
        fits
    })
}

/// Makes reshapes of the views that may not be possible any more. `overwritten` are values whose memory others overwrite: of
/// those a copy is something else.
///
/// # Errors
/// An op would see another order than before.
pub(super) fn follow(
    program: &Program<'_>,
    change: &mut Change,
    overwritten: &HashSet<String>,
    live: bool,
) -> Result<(), FrontendError> {
    let added: HashSet<&str> = change.added.iter().map(|a| a.placeholder.as_str()).collect();
    let mut moves: HashMap<usize, Move> = HashMap::new();
    for (&(node, arg, mention), now) in &change.mentions {
        let before = program.nodes.get(node).and_then(|n| n.args.get(arg)?.reads.get(mention));
        let Some(before) = before.and_then(|json| json.as_str()) else { continue };
        let row_major = is_row_major(program.meta(before));
        let new = added.contains(now.as_str());
        let alike = if new { row_major } else { alike(program, before, now) };
        let found = match (alike, row_major) {
            (true, true) => Move::None,
            (true, false) => Move::Perhaps,
            (false, _) => Move::Said,
        };
        let known = moves.entry(node).or_default();
        *known = found.max(*known);
    }
    // By name, of values that lie in memory in another order.
    let mut other: HashMap<&str, Move> = HashMap::new();
    let mut reshapes = Vec::new();
    for (index, node) in program.nodes.iter().enumerate() {
        if change.gone.contains(&index) {
            continue;
        }
        let mut moved = moves.get(&index).copied().unwrap_or_default();
        if change.targets.contains_key(&index) {
            // An op that overwrote its operand gave that operand's order.
            moved = Move::Said;
        }
        for (arg, argument) in node.args.iter().enumerate() {
            for (mention, old) in argument.reads.iter().enumerate() {
                let now = change.mentions.get(&(index, arg, mention)).map(String::as_str);
                let read = now.or(old.as_str()).and_then(|name| other.get(name));
                moved = moved.max(read.copied().unwrap_or_default());
            }
        }
        let shared = || node.results.iter().any(|r| overwritten.contains(*r));
        match (sense(node), moved) {
            (_, Move::None) | (Sense::Own, _) => continue,
            (Sense::Any, _) | (Sense::View, Move::Perhaps) => {}
            (Sense::View, Move::Said) if !live && !shared() => reshapes.push(index),
            (Sense::View | Sense::Memory, _) => {
                return Err(inexpressible(node, "what it views would lie in memory otherwise"));
            }
        }
        other.extend(node.results.iter().map(|&name| (name, moved)));
    }
    change.reshapes.extend(reshapes);
    Ok(())
}

/// What a reshape calls differently from a view: the name of an argument, and its other name.
pub(super) fn renamed<'a>(node: &Node<'a>) -> Option<(&'a Json, &'static str)> {
    let items = node.inputs.items()?;
    let size = items.iter().find(|i| i.get("name").and_then(Json::as_str) == Some("size"))?;
    Some((size.get("name")?, "shape"))
}
