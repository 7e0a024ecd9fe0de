use super::*;
use crate::{Globs, NoOptions, PassCx, PassError, PassOutcome, option_enum, pass_options};
use arbtest::arbitrary::{Result, Unstructured};
use normfold_ir::Graph;
use normfold_property::holds;

option_enum! {
    /// Which way.
    enum Way {
        /// Up.
        Up "up",
        /// Down.
        Down "down",
    }
}

pass_options! {
    /// Options of every type.
    struct EveryOptions {
        /// A flag.
        flag: bool = false,
        /// A flag that is on.
        on_by_default: bool = true,
        /// A size.
        max_bytes: u64 = 64 << 20,
        /// A number.
        ratio: f64 = 0.5,
        /// A choice.
        way: Way = Way::Up,
        /// A text.
        label: String = String::new(),
        /// Names.
        only: Globs = Globs::default(),
        /// A limit.
        limit: Option<u64> = None,
    }
}

macro_rules! idle_pass {
    ($name:ident $text:literal $options:ty) => {
        struct $name;
        impl PassSpec for $name {
            type Options = $options;
            const INFO: PassInfo = PassInfo {
                name: $text,
                summary: "",
                description: "",
                statistics: &[],
                reasons: &[],
            };
            fn new(_: $options) -> Self {
                $name
            }
        }
        impl Pass for $name {
            fn run(
                &mut self,
                _: &mut Graph,
                _: &mut PassCx<'_>,
            ) -> std::result::Result<PassOutcome, PassError> {
                Ok(PassOutcome::unchanged())
            }
        }
    };
}
idle_pass!(Every "every" EveryOptions);
idle_pass!(Plain "plain-pass" NoOptions);

fn registry() -> PassRegistry {
    let mut r = PassRegistry::default();
    r.register::<Every>().register::<Plain>();
    r.pipeline("default", "every{flag},plain-pass", "What is usual");
    r.pipeline("cleanup", "fixpoint(plain-pass)", "Clean up");
    r.pipeline("all", "default,cleanup", "Both");
    r.pipeline("broken", "plain-pass{x}", "Wrong");
    r.pipeline("ouroboros", "fixpoint(ouroboros)", "Names itself");
    r.pipeline("nothing", "", "Nothing");
    r
}

#[test]
fn prints_what_it_means() {
    for (text, printed) in [
        ("", ""),
        (" \n", ""),
        ("plain-pass", "plain-pass"),
        (" plain-pass { } , every ", "plain-pass,every"),
        ("every{flag}", "every{flag=true}"),
        ("every{flag=false on-by-default=true}", "every"),
        ("every{ way=down\n,  max-bytes=65536KiB }", "every{way=down}"),
        ("every{max-bytes=1024}", "every{max-bytes=1KiB}"),
        ("every{max-bytes=128kB}", "every{max-bytes=125KiB}"),
        ("every{max-bytes=3M}", "every{max-bytes=3000000}"),
        ("every{ratio=5e-1}", "every"),
        ("every{only=features.*|a[0]/b:c}", "every{only=features.*|a[0]/b:c}"),
        (r#"every{only="a, b*"}"#, r#"every{only="a, b*"}"#),
        (r#"every{label='it\'s "so"'}"#, r#"every{label="it's \"so\""}"#),
        (r"every{label=C:\x}", r"every{label=C:\x}"),
        ("every{limit=3}", "every{limit=3}"),
        ("every{limit=none}", "every"),
        (
            "fixpoint( plain-pass , fixpoint{max=3} (every) )",
            "fixpoint(plain-pass,fixpoint{max=3}(every))",
        ),
        ("default", "every{flag=true},plain-pass"),
        ("all,plain-pass", "every{flag=true},plain-pass,fixpoint(plain-pass),plain-pass"),
        ("nothing,plain-pass", "plain-pass"),
    ] {
        let p = Pipeline::parse(text, &registry()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(p.to_string(), printed, "{text}");
        assert_eq!(Pipeline::parse(printed, &registry()), Ok(p), "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    use PipelineErrorKind::*;
    for (text, kind, wrong, said) in [
        (
            "plain-pas",
            UnknownPass,
            "plain-pas",
            "there is no pass `plain-pas`; did you mean `plain-pass`?",
        ),
        ("xyz", UnknownPass, "xyz", "there are every, plain-pass, default, cleanup"),
        ("plain-pass,defualt", UnknownPass, "defualt", "did you mean `default`?"),
        (
            "every{flg}",
            UnknownOption,
            "flg",
            "`every` has no option `flg`; did you mean `flag`? valid: flag, on-by-default",
        ),
        ("every,plain-pass{x=1}", UnknownOption, "x", "it takes no options"),
        (
            "every{way=left}",
            BadValue,
            "left",
            "option `way` of `every` cannot be `left`; it takes one of up, down",
        ),
        ("every{way}", BadValue, "way", "cannot be nothing"),
        ("every{ratio=NaN}", BadValue, "NaN", "it takes a finite number"),
        ("every{max-bytes=-1}", BadValue, "-1", "a number, or a size such as 64MiB or 9kB"),
        ("every{only='a\\'}", Syntax, "'a\\'}", "the quote is not closed"),
        ("every{flag,flag=false}", DuplicateOption, "flag", "option `flag` is set twice"),
        ("every{flag", Syntax, "", "expected `,`, a blank or `}`, the text ends here"),
        ("every{label=}", Syntax, "}", "expected a value, found `}`"),
        ("every{,}", Syntax, ",", "expected an option or `}`, found `,`"),
        ("every,,plain-pass", Syntax, ",", "expected the name of a pass, found `,`"),
        ("every,", Syntax, "", "expected the name of a pass, the text ends here"),
        ("every plain-pass", Syntax, "p", "expected `,` or the end, found `p`"),
        ("every)", Syntax, ")", "expected `,` or the end"),
        ("fixpoint", Syntax, "", "expected `(` and the passes to repeat"),
        ("fixpoint(every", Syntax, "", "expected `,` or `)`"),
        ("fixpoint()", Syntax, ")", "expected the name of a pass"),
        ("fixpoint{max=0}(every)", BadValue, "0", "a number from 1 on"),
        ("fixpoint{rounds=2}(every)", UnknownOption, "rounds", "valid: max"),
        ("every,default{flag}", UnknownOption, "flag", "it stands for `every{flag},plain-pass`"),
        (
            "every,broken",
            UnknownOption,
            "broken",
            "in `broken`, which stands for `plain-pass{x}`: `plain-pass` has no option `x`",
        ),
        ("every, 世界", UnknownPass, "世界", "there is no pass `世界`"),
        ("every\u{1F600}", Syntax, "\u{1F600}", "expected `,` or the end"),
    ] {
        let e = Pipeline::parse(text, &registry()).expect_err(text);
        assert_eq!((e.kind, e.text.as_str()), (kind, text), "{e}");
        assert_eq!(&text[e.offset..e.offset + e.len], wrong, "{text}: {e}");
        assert!(e.len > 0 || e.offset == text.len(), "{text}: {e}");
        assert!(e.to_string().contains(said), "{text}: {e}");
    }
    let second = Pipeline::parse("every{flag,flag=false}", &registry()).unwrap_err();
    assert_eq!(second.offset, 11);
}

#[test]
fn nests_only_so_deep() {
    let nested = |n: usize| format!("{}every{}", "fixpoint(".repeat(n), ")".repeat(n));
    assert!(Pipeline::parse(&nested(MAX_DEPTH), &registry()).is_ok());
    for text in [nested(MAX_DEPTH + 1), nested(100_000), "ouroboros".to_owned()] {
        let e = Pipeline::parse(&text, &registry()).unwrap_err();
        assert_eq!(e.kind, PipelineErrorKind::TooDeep, "{e}");
    }
}

fn any_text(u: &mut Unstructured<'_>) -> Result<String> {
    const CHARS: [char; 20] = [
        'a', 'Z', '0', '.', '*', '?', '|', '\\', '"', '\'', ' ', '\n', ',', '{', '}', '(', ')',
        '=', 'é', '\u{7}',
    ];
    let n = u.int_in_range(0..=6)?;
    (0..n).map(|_| u.choose(&CHARS).copied()).collect()
}

fn any_pipeline(u: &mut Unstructured<'_>, depth: usize, least: usize) -> Result<Pipeline> {
    let mut p = Pipeline::new();
    for _ in 0..u.int_in_range(least..=3)? {
        match u.int_in_range(0..=3)? {
            0 => p = p.with::<Plain>(NoOptions),
            1 if depth > 0 => {
                let max = u.int_in_range(1..=40)?;
                p.items.push(Item::Fixpoint { max, body: any_pipeline(u, depth - 1, 1)? });
            }
            _ => {
                let ratio: f64 = u.arbitrary()?;
                p = p.with::<Every>(EveryOptions {
                    flag: u.arbitrary()?,
                    on_by_default: u.arbitrary()?,
                    max_bytes: u.arbitrary()?,
                    ratio: if ratio.is_finite() { ratio } else { 0.0 },
                    way: *u.choose(&[Way::Up, Way::Down])?,
                    label: any_text(u)?,
                    only: Globs::new(&any_text(u)?).unwrap_or_default(),
                    limit: u.arbitrary()?,
                });
            }
        }
    }
    Ok(p)
}

#[test]
fn parse_of_print_is_the_same() {
    let registry = registry();
    holds(300, |u| {
        let p = any_pipeline(u, 3, 0)?;
        let text = p.to_string();
        assert_eq!(Pipeline::parse(&text, &registry).as_ref(), Ok(&p), "{text}");
        Ok(())
    });
}

#[test]
fn no_text_panics() {
    let registry = registry();
    holds(300, |u| {
        let words = [
            "every",
            "plain-pass",
            "fixpoint",
            "{",
            "}",
            "(",
            ")",
            ",",
            "=",
            "flag",
            "way",
            "\"",
            " ",
            "é",
        ];
        let n = u.int_in_range(0..=12)?;
        let text: String = (0..n).map(|_| u.choose(&words).copied()).collect::<Result<_>>()?;
        if let Err(e) = Pipeline::parse(&text, &registry) {
            assert!(
                text.is_char_boundary(e.offset) && text.is_char_boundary(e.offset + e.len),
                "{text}: {e}"
            );
        }
        Ok(())
    });
}
