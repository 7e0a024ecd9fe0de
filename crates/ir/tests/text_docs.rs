//! docs/ir.md says of the ops what the code says.

use normfold_ir::{AttrError, AttrMap, Attribute, DType, OpKind, UnaryKind, text, verify};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/ir.md");

/// The code in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The attributes column of each op.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let (_, ops) = PAGE.split_once("\n## Ops\n").unwrap();
    let mut rows = BTreeMap::new();
    for line in ops.lines().filter(|l| l.starts_with("| `")) {
        let columns: Vec<&str> = line.split(" |").collect();
        let name = code(columns[0])[0];
        let attributes = columns[columns.len() - 2];
        assert_eq!(rows.insert(name, attributes), None, "{name} is listed twice");
    }
    rows
}

#[test]
fn every_op_is_listed_with_its_attributes() {
    let rows = rows();
    let mut mnemonics = OpKind::mnemonics();
    mnemonics.sort_unstable();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), mnemonics);
    for (op, attributes) in rows {
        let wrong = AttrMap::from_iter([("?".into(), Attribute::Bool(true))]);
        let valid = match OpKind::from_attrs(op, &wrong) {
            Some(Err(AttrError::Unknown { valid, .. })) => valid,
            None if op == "opaque" => &[],
            other => panic!("{op}: {other:?}"),
        };
        let listed: Vec<&str> = code(attributes)
            .into_iter()
            .filter(|c| c.contains(" = ") || *c == "entry")
            .map(|c| c.split(" = ").next().unwrap())
            .collect();
        assert_eq!(listed, valid, "{op}");
    }
}

#[test]
fn defaults_are_those_of_the_code() {
    for (op, attributes) in rows() {
        if matches!(op, "parameter" | "return" | "constant" | "opaque") {
            continue;
        }
        let listed: Vec<&str> =
            code(attributes).into_iter().filter(|c| c.contains(" = ")).collect();
        let source =
            format!("module @m {{ graph @g() {{ {op} {{{}}} return }} }}", listed.join(", "));
        let m = text::parse(&source).unwrap_or_else(|e| panic!("{e} in {source}"));
        let g = m.graph(m.main().unwrap());
        let found = g.ops().find(|&o| g.kind(o).mnemonic() == op).unwrap();
        assert_eq!(g.kind(found).to_attrs(), AttrMap::new(), "{op}");
    }
}

/// Choices that an attribute has are all named.
#[test]
fn choices_are_listed() {
    for (op, attribute) in [
        ("activation", "f"),
        ("softmax", "f"),
        ("pool", "f"),
        ("global_pool", "f"),
        ("pad", "mode"),
        ("reduce", "f"),
        ("depth_to_space", "mode"),
    ] {
        let wrong = AttrMap::from_iter([(attribute.into(), Attribute::Word("?".into()))]);
        let Some(Err(AttrError::IllTyped { expected, .. })) = OpKind::from_attrs(op, &wrong) else {
            panic!("{op}.{attribute} takes any word");
        };
        let row = rows()[op];
        for choice in expected.trim_start_matches("one of ").split(", ") {
            let named =
                code(row).iter().any(|c| *c == choice || c.ends_with(&format!("= {choice}")));
            assert!(named, "{op}: {choice}");
        }
    }
}

#[test]
fn element_types_are_listed() {
    let listed = code(PAGE);
    for d in DType::ALL {
        assert!(listed.contains(&d.name()), "{d}");
    }
    assert!(listed.contains(&UnaryKind::Relu.mnemonic()));
}

/// The examples parse, and the first is valid and printed as it stands.
#[test]
fn examples() {
    let blocks: Vec<&str> = PAGE.split("```").skip(1).step_by(2).collect();
    let first = blocks[0].trim_start();
    let m = text::parse(first).unwrap();
    assert_eq!(verify(&m), Ok(()));
    let (_, printed) = first.split_once('\n').unwrap();
    assert_eq!(text::print(&m, &Default::default()).unwrap(), printed);
    let body = blocks.iter().find(|b| b.contains("body @then")).unwrap();
    let module = format!(
        "module @m {{ graph @g(%cond: tensor<bool>, %a: tensor<2xf32>, %b: tensor<2xf32>) {{ {body} return %r }} }}"
    );
    assert_eq!(verify(&text::parse(&module).unwrap()), Ok(()));
}
