//! Golden cases: IR text whose first lines say what to run and how to judge it.
//!
//! ```text
//! // RUN: --passes=fold-bn{direction=backward},dce [--stop-after-rewrites=N] [--weights=hash|stats|full|none]
//! // TOLERANCE: 2e-3        of the largest value; 1e-5 unless said otherwise
//! // NO-EVAL: why           values are not compared
//! ```

use normfold_ir::text::Weights;

/// A golden case.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// The pipeline.
    pub passes: String,
    /// The limit of rewrites.
    pub stop_after_rewrites: Option<u64>,
    /// How large constants are shown.
    pub weights: Weights,
    /// How far values may be apart, relative to the largest.
    pub tolerance: f64,
    /// Why values are not compared.
    pub no_eval: Option<String>,
}

impl Case {
    /// Reads the header of a case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        let run =
            first.strip_prefix("// RUN:").ok_or("the first line is not `// RUN: --passes=…`")?;
        let mut case = Case {
            passes: String::new(),
            stop_after_rewrites: None,
            weights: Weights::Hash,
            tolerance: 1e-5,
            no_eval: None,
        };
        let mut has_passes = false;
        for flag in flags(run) {
            match flag.split_once('=') {
                Some(("--passes", value)) => {
                    (case.passes, has_passes) = (value.to_owned(), true);
                }
                Some(("--stop-after-rewrites", n)) => {
                    case.stop_after_rewrites =
                        Some(n.parse().map_err(|_| format!("`{flag}`: no number"))?);
                }
                Some(("--weights", "hash")) => case.weights = Weights::Hash,
                Some(("--weights", "stats")) => case.weights = Weights::Stats,
                Some(("--weights", "full")) => case.weights = Weights::Full,
                Some(("--weights", "none")) => case.weights = Weights::None,
                _ => return Err(format!("unknown flag `{flag}`")),
            }
        }
        if !has_passes {
            return Err("the first line has no --passes=…".into());
        }
        for line in text.lines().skip(1) {
            if let Some(t) = line.strip_prefix("// TOLERANCE:") {
                case.tolerance = t.trim().parse().map_err(|_| format!("`{line}`: no number"))?;
            } else if let Some(why) = line.strip_prefix("// NO-EVAL:") {
                if why.trim().is_empty() {
                    return Err("NO-EVAL without a reason".into());
                }
                case.no_eval = Some(why.trim().to_owned());
            } else if !line.starts_with("//") && !line.trim().is_empty() {
                break;
            }
        }
        Ok(case)
    }
}

/// Words separated by blanks; blanks in braces or quotes do not separate.
fn flags(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut depth, mut quote) = (0_u32, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 && quote.is_none() {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn headers() {
        let case = Case::parse(
            "// RUN: --passes=fold-bn{only='a b' shared=copy},dce --stop-after-rewrites=3\n// TOLERANCE: 2e-3\nmodule @m {}",
        )
        .unwrap();
        assert_eq!(case.passes, "fold-bn{only='a b' shared=copy},dce");
        assert_eq!((case.stop_after_rewrites, case.tolerance), (Some(3), 2e-3));
        assert!(Case::parse("module @m {}").is_err());
        assert!(Case::parse("// RUN: --passes=dce --wrong\n").is_err());
        assert!(Case::parse("// RUN: --passes=dce\n// NO-EVAL:\n").is_err());
    }
}
