//! Windows of as many records of a key.

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::{Bincode, stable_hash};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use serde::{Deserialize, Serialize};

use super::fold::Fold;
use super::gate::Gate;
use crate::operators::{Now, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{Window, Windowed};

/// A window that is not full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partial<A> {
    value: A,
    records: u64,
    /// The least time of them, and the greatest.
    from: i64,
    until: i64,
}

impl<A> Partial<A> {
    pub(super) fn try_map<B>(
        self,
        map: impl FnOnce(A) -> Result<B, BoxError>,
    ) -> Result<Partial<B>, BoxError> {
        let Partial { value, records, from, until } = self;
        Ok(Partial { value: map(value)?, records, from, until })
    }
}

/// See the module.
pub(super) struct CountWindows<K: Key, V, F: Fold<K, V>, T> {
    pub(super) windows: Slot<KeyedState<Moment, K, Partial<F::Kept>, Bincode>>,
    pub(super) records: u64,
    pub(super) fold: F,
    pub(super) gate: Gate<K, V, T>,
}

impl<K, V, F, T> Work<(K, V), Windowed<K, F::Said>> for CountWindows<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Fold<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    fn batch(&mut self, now: &Now<'_, Windowed<K, F::Said>>, batch: &mut Vec<(K, V)>) {
        let CountWindows { windows, records, fold, gate } = self;
        let (at_now, mut made) = (gate.now(now), now.made.borrow_mut());
        windows.with(|state| {
            let table = state.table();
            for (key, value) in batch.drain(..) {
                let (hash, at) = (stable_hash(&key), gate.time_of(at_now, &value));
                let new = || Partial { value: fold.init(), records: 0, from: at, until: at };
                let full = table.update(hash, key, new, |key, partial| {
                    fold.add(&mut partial.value, value);
                    partial.records += 1;
                    partial.from = partial.from.min(at);
                    partial.until = partial.until.max(at);
                    (partial.records >= *records).then(|| {
                        let window = Window::new(partial.from, partial.until + 1);
                        let value = fold.say(key, window, &partial.value);
                        (Windowed { key: key.clone(), window, value }, key.clone())
                    })
                });
                if let Some((windowed, key)) = full {
                    made.push(windowed);
                    table.remove(hash, key);
                }
            }
        });
    }
}
