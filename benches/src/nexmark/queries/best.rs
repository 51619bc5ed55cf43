//! What ranks highest in each window, over all keys.

use std::time::Duration;

use highwater::prelude::*;
use highwater::stream::{Arrival, Data};
use highwater::window::Tumbling;
use serde::{Deserialize, Serialize};

/// The records of a window that rank highest so far, all of one rank.
#[derive(Clone, Serialize, Deserialize)]
struct Best<T> {
    end: EventTime,
    rank: u64,
    records: Vec<T>,
}

impl<T> Best<T> {
    fn merge(mut self, mut other: Best<T>) -> Best<T> {
        match self.rank.cmp(&other.rank) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => {
                self.records.append(&mut other.records);
                self
            }
        }
    }
}

/// The records that rank highest in each window of `size`, those that tie among them.
///
/// Each worker looks among its own records first, so that few go to the one that decides.
pub(super) fn best_of_windows<T: Data + Clone>(
    records: Stream<'_, T>,
    size: Duration,
    time_of: fn(&T) -> EventTime,
    rank_of: fn(&T) -> u64,
) -> Stream<'_, T> {
    let size_ms = size.as_millis() as i64;
    let here = records.process_watermarks("best-here", move |state| {
        let windows = state.split_list::<Best<T>>("windows");
        move |ctx, arrival| match arrival {
            Arrival::Record(record) => {
                let rank = rank_of(&record);
                let at = time_of(&record).0;
                let holds = |best: &&mut Best<T>| best.end.0 - size_ms <= at && at < best.end.0;
                windows.with(|windows| match windows.iter_mut().find(holds) {
                    Some(best) if rank < best.rank => {}
                    Some(best) if rank == best.rank => best.records.push(record),
                    Some(best) => {
                        best.rank = rank;
                        best.records.clear();
                        best.records.push(record);
                    }
                    None => {
                        let end = EventTime((at.div_euclid(size_ms) + 1) * size_ms);
                        windows.push(Best { end, rank, records: vec![record] });
                    }
                });
            }
            Arrival::Watermark(watermark) => windows.with(|windows| {
                windows
                    .extract_if(.., |best| best.end <= watermark)
                    .for_each(|best| ctx.emit(best));
            }),
        }
    });
    here.key_by(|best| best.end)
        .window(Tumbling::of(size), |best| EventTime(best.end.0 - 1))
        .reduce("best", Best::merge)
        .flat_map(|window| window.value.records)
}
