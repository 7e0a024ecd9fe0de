//! A progress bar for work that takes longer than a blink, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Work that ends sooner is not shown.
const BLINK: Duration = Duration::from_millis(300);

/// A bar that appears when the work has taken a blink.
pub(crate) struct Progress {
    start: Instant,
    watched: bool,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Nothing is shown unless somebody watches.
    pub(crate) fn new(watched: bool) -> Self {
        Self { start: Instant::now(), watched, bar: OnceLock::new() }
    }

    /// Bytes written so far, and in all. From any thread.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if !self.watched || self.start.elapsed() < BLINK {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
            ) {
                bar.set_style(style);
            }
            bar.set_message("writing");
            bar
        });
        bar.set_position(done);
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
