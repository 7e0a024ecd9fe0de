//! The JSON of a program as views: nodes, arguments, inputs and outputs, and the names they mention.

use crate::{FrontendError, json::Json};
use normfold_ir::{DType, Dim, TensorType, Type};
use std::collections::{HashMap, HashSet};

/// The format, in messages.
pub(super) const FORMAT: &str = "PyTorch program";
/// The schema version that is read: others are other formats (`schema.SCHEMA_VERSION`).
const MAJOR: i64 = 8;

pub(super) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> FrontendError {
    FrontendError::invalid(FORMAT, place, problem)
}

/// A program.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) json: &'a Json,
    pub(super) graph: &'a Json,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) inputs: Vec<Input<'a>>,
    /// Mentions of values among the results, in order.
    pub(super) outputs: Vec<&'a Json>,
    /// The lists that `inputs` are of.
    pub(super) graph_inputs: &'a Json,
    pub(super) input_specs: &'a Json,
    pub(super) output_specs: &'a Json,
    types: HashMap<&'a str, &'a Json>,
}

/// A call of an op (`schema.Node`).
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) target: &'a str,
    pub(super) json: &'a Json,
    pub(super) inputs: &'a Json,
    pub(super) args: Vec<Arg<'a>>,
    /// Names of the results, those of lists in order.
    pub(super) results: Vec<&'a str>,
    /// The innermost module that made the call: its name, with `@n` from its second call on, and its class.
    pub(super) module: Option<(&'a str, &'a str)>,
}

/// An argument (`schema.NamedArgument`).
#[derive(Debug)]
pub(super) struct Arg<'a> {
    pub(super) name: &'a str,
    /// The union: one member, named after its kind.
    pub(super) value: &'a Json,
    /// Mentions of values in it, in order.
    pub(super) reads: Vec<&'a Json>,
}

/// What an input stands for (`schema.InputSpec`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role<'a> {
    /// A parameter, a buffer, or a constant tensor of that fully qualified name.
    Weight(&'a str),
    /// Passed by the caller, or something that is no tensor.
    Passed,
}

/// An input.
#[derive(Debug)]
pub(super) struct Input<'a> {
    /// The name that nodes mention; `None` for a constant that the caller has to pass again.
    pub(super) name: Option<&'a str>,
    pub(super) role: Role<'a>,
}

fn member<'a>(json: &'a Json, key: &str, place: &str) -> Result<&'a Json, FrontendError> {
    json.some(key).ok_or_else(|| invalid(place, format!("`{key}` is not there")))
}

fn list<'a>(json: &'a Json, key: &str, place: &str) -> Result<&'a Json, FrontendError> {
    let list = member(json, key, place)?;
    match list.items() {
        Some(_) => Ok(list),
        None => Err(invalid(place, format!("`{key}` is {}, not a list", list.kind()))),
    }
}

fn text<'a>(json: &'a Json, key: &str, place: &str) -> Result<&'a str, FrontendError> {
    let member = member(json, key, place)?;
    member.as_str().ok_or_else(|| invalid(place, format!("`{key}` is {}", member.kind())))
}

/// The only member of a union.
pub(super) fn union(json: &Json) -> Option<(&str, &Json)> {
    match json.members() {
        [(key, value)] => Some((key, value)),
        _ => None,
    }
}

/// Calls `f` with every mention of a value in an argument.
fn mentions<'a>(argument: &'a Json, f: &mut impl FnMut(&'a Json)) {
    let Some((kind, value)) = union(argument) else { return };
    let items = value.items().unwrap_or_default();
    match kind {
        "as_tensor" | "as_custom_obj" => value.get("name").into_iter().for_each(f),
        "as_tensors" => items.iter().filter_map(|i| i.get("name")).for_each(f),
        "as_nested_tensors" => {
            let inner = items.iter().flat_map(|l| l.items().unwrap_or_default());
            inner.filter_map(|i| i.get("name")).for_each(f);
        }
        "as_optional_tensors" => items.iter().for_each(|i| mentions(i, f)),
        "as_optional_tensor" => mentions(value, f),
        "as_sym_int" | "as_sym_float" | "as_sym_bool" => {
            value.get("as_name").into_iter().for_each(f);
        }
        "as_sym_ints" | "as_sym_floats" | "as_sym_bools" => {
            items.iter().filter_map(|i| i.get("as_name")).for_each(f);
        }
        "as_string_to_argument" => value.members().iter().for_each(|(_, i)| mentions(i, f)),
        _ => {}
    }
}

pub(super) fn mentioned(argument: &Json) -> Vec<&Json> {
    let mut found = Vec::new();
    mentions(argument, &mut |json| found.push(json));
    found
}

fn names<'a>(argument: &'a Json, out: &mut Vec<&'a str>) {
    mentions(argument, &mut |json| out.extend(json.as_str()));
}

impl<'a> Program<'a> {
    /// Reads a program.
    ///
    /// # Errors
    /// It is of another schema version, or lacks something.
    pub(super) fn read(json: &'a Json) -> Result<Self, FrontendError> {
        let version = json.get("schema_version");
        let number = |key| version.and_then(|v| v.get(key)).and_then(Json::as_i64);
        match (number("major"), number("minor")) {
            (Some(MAJOR), _) => {}
            (Some(major), minor) => {
                let minor = minor.unwrap_or(0);
                return Err(FrontendError::unsupported(
                    FORMAT,
                    format!(
                        "schema version {major}.{minor} (it is of another release of PyTorch; {MAJOR} is read)"
                    ),
                ));
            }
            _ => return Err(invalid("schema_version", "it says no version")),
        }
        let module = member(json, "graph_module", "program")?;
        let graph = member(module, "graph", "graph_module")?;
        let signature = member(module, "signature", "graph_module")?;
        let nodes = list(graph, "nodes", "graph")?.items().unwrap_or_default();
        let nodes = nodes.iter().enumerate().map(|(i, n)| Node::read(n, i));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let graph_inputs = list(graph, "inputs", "graph")?;
        let input_specs = list(signature, "input_specs", "signature")?;
        let output_specs = list(signature, "output_specs", "signature")?;
        let (named, specs) = (graph_inputs.items(), input_specs.items());
        let (named, specs) = (named.unwrap_or_default(), specs.unwrap_or_default());
        if named.len() != specs.len() {
            let (n, m) = (named.len(), specs.len());
            return Err(invalid("signature", format!("{m} input_specs for {n} inputs")));
        }
        let inputs = named.iter().zip(specs).enumerate().map(|(i, (n, s))| Input::read(n, s, i));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = list(graph, "outputs", "graph")?.items().unwrap_or_default();
        let outputs = outputs.iter().flat_map(mentioned).collect();
        let values = graph.get("tensor_values").map(Json::members).unwrap_or_default();
        let types = values.iter().map(|(name, meta)| (&**name, meta)).collect();
        Ok(Self {
            json,
            graph,
            nodes,
            inputs,
            outputs,
            graph_inputs,
            input_specs,
            output_specs,
            types,
        })
    }

    /// What the program says of the type of a value.
    pub(super) fn ty(&self, name: &str) -> Type {
        self.meta(name).and_then(tensor_type).map_or(Type::Unknown, Type::Tensor)
    }

    /// What the program says of a value (`schema.TensorMeta`).
    pub(super) fn meta(&self, name: &str) -> Option<&'a Json> {
        self.types.get(name).copied()
    }

    /// The results that are no results of the caller's call but updates of buffers and parameters: what is updated, by name.
    pub(super) fn updated(&self) -> impl Iterator<Item = &'a str> {
        let specs = self.output_specs.items().unwrap_or_default();
        specs.iter().filter_map(|spec| {
            let (kind, spec) = union(spec)?;
            let key = match kind {
                "buffer_mutation" => "buffer_name",
                "parameter_mutation" => "parameter_name",
                _ => return None,
            };
            spec.get(key)?.as_str()
        })
    }
}

impl<'a> Node<'a> {
    fn read(json: &'a Json, index: usize) -> Result<Self, FrontendError> {
        let place = || format!("node {index}");
        let target = text(json, "target", &place())?;
        let inputs = list(json, "inputs", &place())?;
        let mut args = Vec::new();
        for input in inputs.items().unwrap_or_default() {
            let value = member(input, "arg", &place())?;
            // Arguments of control flow have no names.
            let name = input.get("name").and_then(Json::as_str).unwrap_or_default();
            args.push(Arg { name, value, reads: mentioned(value) });
        }
        let mut seen = HashSet::new();
        if let Some(twice) = args.iter().find(|a| !a.name.is_empty() && !seen.insert(a.name)) {
            return Err(invalid(place(), format!("it has two arguments `{}`", twice.name)));
        }
        let mut results = Vec::new();
        for output in list(json, "outputs", &place())?.items().unwrap_or_default() {
            names(output, &mut results);
        }
        let stack = json.get("metadata").and_then(|m| m.get("nn_module_stack"));
        let last = stack.and_then(Json::as_str).and_then(|s| s.rsplit(';').next());
        let module = last.and_then(|entry| {
            let mut parts = entry.splitn(3, ',').skip(1);
            Some((parts.next()?, parts.next()?))
        });
        Ok(Self { target, json, inputs, args, results, module })
    }

    /// The argument of that name.
    pub(super) fn arg(&self, name: &str) -> Option<&Arg<'a>> {
        self.args.iter().find(|a| a.name == name)
    }

    /// Everything that it mentions, in order.
    pub(super) fn reads(&self) -> impl Iterator<Item = &'a str> {
        self.args.iter().flat_map(|a| &a.reads).filter_map(|json| json.as_str())
    }

    /// `conv2d` of `torch.ops.aten.conv2d.default`, with the overload; `None` for what is not ATen's.
    pub(super) fn aten(&self) -> Option<(&'a str, &'a str)> {
        aten(self.target)
    }

    /// The module that made the call, without the number of the call.
    pub(super) fn module_name(&self) -> Option<&'a str> {
        let (name, _) = self.module?;
        Some(name.split_once('@').map_or(name, |(name, _)| name))
    }

    /// What messages call the node.
    pub(super) fn place(&self) -> &'a str {
        let name = self.json.get("name").and_then(Json::as_str);
        name.or(self.results.first().copied()).unwrap_or(self.target)
    }
}

/// The op and the overload that a target names, of those of ATen.
pub(super) fn aten(target: &str) -> Option<(&str, &str)> {
    let name = target.strip_prefix("torch.ops.aten.")?;
    Some(name.rsplit_once('.').unwrap_or((name, "")))
}

impl<'a> Input<'a> {
    fn read(input: &'a Json, spec: &'a Json, index: usize) -> Result<Self, FrontendError> {
        let place = || format!("input {index}");
        let (kind, spec) =
            union(spec).ok_or_else(|| invalid(place(), "its spec is not of one kind"))?;
        let name = mentioned(input).first().and_then(|json| json.as_str());
        let weight = |key| {
            let weight = text(spec, key, &place())?;
            let said = spec.get("arg").and_then(|a| a.get("name")).and_then(Json::as_str);
            if name.is_none() || said != name {
                return Err(invalid(place(), format!("`{weight}` is given to another input")));
            }
            Ok(Role::Weight(weight))
        };
        let role = match kind {
            "parameter" => weight("parameter_name")?,
            "buffer" => weight("buffer_name")?,
            "tensor_constant" => weight("tensor_constant_name")?,
            _ => Role::Passed,
        };
        Ok(Self { name, role })
    }
}

/// `schema.ScalarType`.
pub(super) fn dtype(code: i64) -> Option<DType> {
    Some(match code {
        1 => DType::U8,
        2 => DType::I8,
        3 => DType::I16,
        4 => DType::I32,
        5 => DType::I64,
        6 => DType::F16,
        7 => DType::F32,
        8 => DType::F64,
        10 => DType::C64,
        11 => DType::C128,
        12 => DType::Bool,
        13 => DType::BF16,
        28 => DType::U16,
        29 => DType::F8E4M3FN,
        30 => DType::F8E5M2,
        31 => DType::F8E4M3FNUZ,
        32 => DType::F8E5M2FNUZ,
        33 => DType::F8E8M0,
        34 => DType::U32,
        35 => DType::U64,
        _ => return None,
    })
}

/// The number of an element type.
pub(super) fn code(dtype: DType) -> Option<i64> {
    (1..=35).find(|&n| self::dtype(n) == Some(dtype))
}

/// The element type of a `schema.TensorMeta`.
pub(super) fn element(meta: &Json) -> Option<DType> {
    dtype(meta.get("dtype")?.as_i64()?)
}

fn dim(size: &Json) -> Dim {
    match union(size) {
        Some(("as_int", n)) => {
            let n = n.as_i64().and_then(|n| u64::try_from(n).ok());
            n.map_or(Dim::Unknown, Dim::Known)
        }
        Some(("as_expr", expr)) => {
            let text = expr.get("expr_str").and_then(Json::as_str).unwrap_or_default();
            symbol(text).map_or(Dim::Unknown, |name| Dim::Named(name.into()))
        }
        _ => Dim::Unknown,
    }
}

/// The name of an expression that is one symbol: `s77`, or `Symbol('s77', …)`.
fn symbol(expr: &str) -> Option<&str> {
    let name = match expr.strip_prefix("Symbol('") {
        Some(rest) => {
            let (name, rest) = rest.split_once('\'')?;
            // Nothing behind its own parenthesis.
            let inner = rest.strip_suffix(')')?;
            (!inner.contains(['(', ')', '*', '/', '-'])).then_some(name)?
        }
        None => expr,
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && name.chars().all(word)).then_some(name)
}

/// The type of a `schema.TensorMeta`, if it is one of ours.
fn tensor_type(meta: &Json) -> Option<TensorType> {
    // Sparse layouts are other tensors (`schema.Layout`).
    if meta.get("layout").and_then(Json::as_i64) != Some(7) {
        return None;
    }
    let shape = meta.get("sizes")?.items()?.iter().map(dim).collect();
    Some(TensorType { dtype: element(meta)?, shape: Some(shape) })
}

#[cfg(test)]
mod tests {
    use super::{aten, symbol};

    #[test]
    fn expressions_of_one_symbol_have_a_name() {
        assert_eq!(symbol("s77"), Some("s77"));
        assert_eq!(symbol("Symbol('s77', positive=True, integer=True)"), Some("s77"));
        assert_eq!(symbol("2*s77"), None);
        assert_eq!(symbol("Mul(Integer(2), Symbol('s77', integer=True))"), None);
        assert_eq!(symbol("Symbol('s7', integer=True) + Symbol('s8', integer=True)"), None);
        assert_eq!(symbol("12"), None);
    }

    #[test]
    fn targets_have_an_overload() {
        assert_eq!(aten("torch.ops.aten.conv2d.padding"), Some(("conv2d", "padding")));
        assert_eq!(aten("torch.ops.mylib.conv2d.default"), None);
    }
}
