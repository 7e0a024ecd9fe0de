//! SIGINT, SIGTERM and SIGHUP: the run leaves the disk as it found it and ends. SIGXFSZ: a write fails.

#[cfg(unix)]
use std::sync::Arc;

/// From here on a file that would pass the limit of `ulimit -f` is a write that fails, as on a full disk, and no end of the
/// program. A handler that does nothing stands for ignoring it.
#[cfg(unix)]
pub(crate) fn survive_limits() {
    // Where that fails the system ends the program as it would have.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn survive_limits() {}

/// From here on a signal that asks the program to end removes what is not finished first.
///
/// A thread waits for it, so whatever the others do, reading, folding, an engine that runs, does not have to be asked. Then
/// the program dies by that signal: shells see 128 + its number, and a shell script that was interrupted stops.
#[cfg(unix)]
pub(crate) fn install() {
    use signal_hook::{consts, iterator::Signals, low_level::emulate_default_handler};

    let ignored = ignored();
    let mut wanted = vec![consts::SIGINT, consts::SIGTERM];
    // A caller that wants a signal ignored, as `nohup` does, cannot be told from one that does not without /proc.
    wanted.extend(ignored.map(|_| consts::SIGHUP));
    wanted.retain(|signal| ignored.unwrap_or(0) >> (signal - 1) & 1 == 0);
    let Ok(mut signals) = Signals::new(wanted) else { return };
    let wait = move || {
        let Some(signal) = signals.forever().next() else { return };
        let _halted = normfold_frontends::save::remove_unfinished();
        // The first process of a container does not die by signals.
        if std::process::id() != 1 {
            let _ = emulate_default_handler(signal);
        }
        std::process::exit(128 + signal);
    };
    // Without the thread signals would be swallowed; a system that has no room for it has none for the run either.
    if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(wait) {
        tracing::warn!(%error, "no thread for signals");
    }
}

/// The signals that this process was started to ignore, as a mask; `None` where nobody says.
#[cfg(unix)]
fn ignored() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Nothing to prepare: the system ends the program, and fresh files stay.
#[cfg(not(unix))]
pub(crate) fn install() {}
