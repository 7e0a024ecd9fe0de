//! The two streams: results on standard output, everything about them on standard error.

use super::args::Color;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::{
    fmt::{self, Display},
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    path::Path,
};

/// Words that stand out.
pub(crate) const STRONG: Style = Style::new().bold();
/// Words that stand back.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What did not happen.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The terminal as the options want it.
pub(crate) struct Output {
    out: BufWriter<AutoStream<StdoutLock<'static>>>,
    choice: ColorChoice,
    quiet: bool,
    /// Standard output is what the model is written to.
    aside: bool,
}

impl Output {
    /// Opens the streams.
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let choice = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        let out = BufWriter::new(AutoStream::new(io::stdout().lock(), choice));
        Self { out, choice, quiet, aside: false }
    }

    /// Whether only errors are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person watches standard error.
    pub(crate) fn is_watched(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether standard error shows colours.
    pub(crate) fn colours_errors(&self) -> bool {
        AutoStream::new(io::stderr(), self.choice).current_choice() != ColorChoice::Never
    }

    /// Leaves standard output to somebody else: results go to standard error.
    pub(crate) fn step_aside(&mut self) {
        self.aside = true;
    }

    /// Bytes on standard output as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.aside {
            true => AutoStream::new(io::stderr().lock(), self.choice).write_all(bytes),
            false => self.out.write_all(bytes),
        }
    }

    /// Text on standard output; styles are dropped where they do not belong.
    pub(crate) fn print(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        match self.aside {
            true => {
                BufWriter::new(AutoStream::new(io::stderr().lock(), self.choice)).write_fmt(text)
            }
            false => self.out.write_fmt(text),
        }
    }

    /// Standard output, for what is written in pieces.
    pub(crate) fn stream(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Text on standard error. What cannot be said there cannot be said at all.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        // The streams keep their order on a shared terminal.
        let _ = self.out.flush();
        let mut err = AutoStream::new(io::stderr().lock(), self.choice);
        let _ = err.write_fmt(text).and_then(|()| err.flush());
    }

    /// Hands everything on to the system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether a path is standard output, which then is not free for anything else.
#[cfg(unix)]
pub(crate) fn is_stdout(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    // What is thrown away takes any number of writers.
    match (of(path), of(Path::new("/dev/stdout")), of(Path::new("/dev/null"))) {
        (Ok(path), Ok(stdout), null) => path == stdout && null.ok() != Some(path),
        _ => false,
    }
}

/// Whether a path is standard output: there is no such path.
#[cfg(not(unix))]
pub(crate) fn is_stdout(_: &Path) -> bool {
    false
}

/// Something in a style.
pub(crate) struct Styled<T>(pub(crate) Style, pub(crate) T);

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.0;
        write!(f, "{style}")?;
        self.1.fmt(f)?;
        write!(f, "{style:#}")
    }
}

/// Bytes for people: `102.2 MB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(102_163_456), "102.2 MB");
    }
}
