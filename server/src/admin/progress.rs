//! A bar that shows how far a long command is, or a line that says what it does, when somebody
//! looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar or a line on standard error when that is a terminal; else nothing.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many steps.
    pub(super) fn new(what: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_message(what);
        Self(bar)
    }

    /// What is being done, where nothing tells how far it is.
    pub(super) fn saying(what: &'static str) -> Self {
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} ...");
        line.set_style(style.expect("the template is valid"));
        line.set_message(what);
        Self(line)
    }

    /// So many steps more are done.
    pub(super) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// All is done.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
