//! Ctrl-C and SIGTERM: the first stops with a checkpoint, the second at once.

use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::stop::Stop;

/// What a shell reports for a program that Ctrl-C ended.
const EXIT_AT_ONCE: i32 = 130;

/// Listens until it is dropped.
pub(super) struct Listener(Handle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Makes the process's signals stop the job.
pub(super) fn listen(stop: Arc<Stop>) -> std::io::Result<Listener> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let wait = move || {
        for _ in signals.forever() {
            if !stop.ask() {
                tracing::warn!("stopped at once; the job resumes from its last checkpoint");
                std::process::exit(EXIT_AT_ONCE);
            }
            tracing::warn!("stopping with a last checkpoint; once more stops at once");
        }
    };
    std::thread::Builder::new().name("highwater-signals".to_owned()).spawn(wait)?;
    Ok(Listener(handle))
}
