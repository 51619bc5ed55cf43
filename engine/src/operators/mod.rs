//! The operators that take part in checkpoints, as timely sees them.

mod broadcast;
mod for_each;
mod keyed_fold;
mod process;
mod sink;
mod source;

pub(crate) use broadcast::with_broadcast;
pub(crate) use for_each::for_each;
pub(crate) use keyed_fold::{Keyed, KeyedFold, keyed_fold};
pub(crate) use process::{process, process_keyed};
pub(crate) use sink::sink;
pub(crate) use source::source;

use highwater_checkpoint::dataflow::Again;
use timely::scheduling::Activator;

/// About the pacing step: when something elsewhere must catch up.
const SOON: std::time::Duration = std::time::Duration::from_millis(1);

fn reschedule(activator: &Activator, again: Again) {
    match again {
        Again::Now => activator.activate(),
        Again::Soon => activator.activate_after(SOON),
        Again::WhenWoken => {}
    }
}
