//! How far something is, on the last line of a terminal.

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Ui;

/// How often the line is drawn.
const TICK: Duration = Duration::from_millis(120);

/// A line that says how far something is, gone when it is dropped. Without a terminal it says nothing.
#[derive(Debug)]
pub(crate) struct Meter(Option<ProgressBar>);

impl Meter {
    /// Begins.
    pub(crate) fn start(ui: &Ui) -> Self {
        let is_shown = ui.err().is_terminal && !ui.is_quiet();
        Self(is_shown.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}")
                .expect("the template is a constant");
            bar.set_style(style);
            bar.enable_steady_tick(TICK);
            bar
        }))
    }

    /// Says how far it is. Called as often as one likes.
    pub(crate) fn say(&self, text: fmt::Arguments<'_>, done: u64) {
        // Nobody reads a thousand lines in a second.
        if let Some(bar) = self.0.as_ref().filter(|_| done.is_multiple_of(64)) {
            bar.set_message(text.to_string());
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
