//! Streams that an operator has beside its own.

use std::cell::RefCell;
use std::rc::Rc;

use highwater_checkpoint::Moment;
use timely::dataflow::operators::Capability;

use crate::stream::Output;

/// The way out to a stream of another type than that of the operator: made by
/// [`States::side_output`](super::States::side_output).
pub struct SideOutput<S>(Rc<RefCell<Vec<S>>>);

impl<S: 'static> SideOutput<S> {
    /// Sends a record to the side.
    pub fn emit(&self, record: S) {
        self.0.borrow_mut().push(record);
    }

    pub(crate) fn new(output: Output<S>) -> (SideOutput<S>, Box<dyn Flush>) {
        let side = SideOutput(Rc::default());
        let flush = Side { made: side.clone(), output };
        (side, Box::new(flush))
    }
}

impl<S> Clone for SideOutput<S> {
    fn clone(&self) -> Self {
        SideOutput(Rc::clone(&self.0))
    }
}

impl<S> std::fmt::Debug for SideOutput<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SideOutput<{}>", std::any::type_name::<S>())
    }
}

/// A side output as its operator sees it.
pub(crate) trait Flush {
    /// Whether nothing was emitted since the last time.
    fn is_empty(&self) -> bool;

    /// Sends what was emitted.
    fn send(&mut self, capability: &Capability<Moment>);
}

impl dyn Flush {
    /// Sends what was emitted, if anything was.
    pub(crate) fn flush(&mut self, capability: impl FnOnce() -> Capability<Moment>) {
        if !self.is_empty() {
            self.send(&capability());
        }
    }
}

struct Side<S: 'static> {
    made: SideOutput<S>,
    output: Output<S>,
}

impl<S: 'static> Flush for Side<S> {
    fn is_empty(&self) -> bool {
        self.made.0.borrow().is_empty()
    }

    fn send(&mut self, capability: &Capability<Moment>) {
        let made = &mut *self.made.0.borrow_mut();
        self.output.activate().session(capability).give_container(made);
        made.clear();
    }
}
