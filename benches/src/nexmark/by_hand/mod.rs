//! The queries as a good timely programmer writes them: hashbrown, foldhash, mimalloc, what is needed
//! of an event before it is exchanged, and state that the frontier lets go.
//!
//! Times of messages are milliseconds of event time: what comes with a time happens then or later.

mod files;
mod hot_items;
mod joins;
mod reports;
mod sessions;
mod stateless;
mod top;
mod winning;

use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::operator::source;

use super::event::Event;
use super::source::{Events, Share};
use crate::by_hand::{Batches, HashMap, by_key};

pub(super) use crate::by_hand::Stream;
pub(super) use files::q10;
pub(super) use hot_items::{q5, q7};
pub(super) use joins::{q3, q8, q20};
pub(super) use reports::{q15, q16, q17};
pub(super) use sessions::{q11, q12};
pub(super) use stateless::{q0, q1, q2, q13, q14, q21, q22};
pub(super) use top::{q18, q19};
pub(super) use winning::{q4, q6, q9};

/// Events that the source emits in one scheduling.
const AT_ONCE: u64 = 8192;

/// Events of a batch: as many as there are in timely's own.
const BATCH: u64 = (8 << 10) / size_of::<Event>() as u64;

/// The events of one worker's share, batch by batch.
pub(super) fn read(scope: Scope<'_, u64>, events: Events, share: Share) -> Stream<'_, Event> {
    source(scope, "Events", |capability, info| {
        let activator = scope.activator_for(info.address);
        let (mut capability, mut done, mut batch) = (Some(capability), 0, Vec::new());
        move |output: &mut OutputBuilderSession<'_, u64, Batches<Event>>| {
            let until = done + AT_ONCE;
            while done < until
                && let Some(held) = &mut capability
            {
                let Some(numbers) = share.next(done, BATCH, events.total()) else {
                    capability = None;
                    return;
                };
                done += numbers.end - numbers.start;
                events.read(numbers, &mut batch);
                let last = batch.last().map_or(0, |event| event.date_time().0 as u64);
                output.session(&*held).give_container(&mut batch);
                batch.clear();
                held.downgrade(&last);
            }
            if capability.is_some() {
                activator.activate();
            }
        }
    })
}
