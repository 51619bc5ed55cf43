//! `Completion`: the operator that sees, as a frontier, that every snapshot is durable.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Timestamp;
use timely::progress::operate::FrontierInterest;

use super::driver::Driver;
use super::participant::frontier_epoch;
use crate::coordinator::Event;
use crate::metadata::Acknowledgement;
use crate::run::Run;
use crate::time::EpochTime;

/// Sends all acknowledgements to worker 0 and feeds them, and their frontier, to its driver.
pub(super) fn completion<T: Timestamp + EpochTime>(
    acks: StreamVec<'_, T, Acknowledgement>,
    run: Arc<Run>,
    driver: Rc<RefCell<Driver>>,
) {
    let scope = acks.scope();
    let mut builder = OperatorBuilder::new("Completion".to_owned(), scope);
    let mut input = builder.new_input_connection(acks, Exchange::new(|_: &Acknowledgement| 0), []);
    builder.set_notify_for(0, FrontierInterest::Always);
    let waker = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    driver.borrow_mut().completion(waker);
    let is_coordinator = scope.index() == 0;
    builder.build_reschedule(move |_| {
        let mut durable_before = None;
        move |frontiers| {
            input.for_each(|_, acknowledgements| {
                for acknowledgement in acknowledgements.drain(..) {
                    driver.borrow_mut().feed(Event::Acknowledged(Box::new(acknowledgement)));
                }
            });
            if !is_coordinator {
                return false;
            }
            let mut driver = driver.borrow_mut();
            let before = frontier_epoch(frontiers[0].frontier());
            if driver.has_started() && durable_before != Some(before) {
                durable_before = Some(before);
                driver.feed(Event::Durable { before, now_ms: run.now_ms() });
            }
            driver.poll();
            // A metadata write may outlive the last acknowledgement.
            !run.control().is_over()
        }
    });
}
