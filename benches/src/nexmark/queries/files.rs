//! q10: what is written to files.

use std::path::PathBuf;

use highwater::prelude::*;
use highwater_connectors::files::FileSink;

use super::super::event::Event;
use super::super::text::Text;
use super::bids;

/// Log to file system: all bids, with their day and minute, as CSV.
///
/// Files appear with the checkpoints. The partitions of the SQL are columns: the sink has one
/// directory.
///
/// ```sql
/// SELECT auction, bidder, price, dateTime, extra, DATE_FORMAT(dateTime, 'yyyy-MM-dd'),
///   DATE_FORMAT(dateTime, 'HH:mm') FROM bid
/// ```
pub(crate) fn q10(events: Stream<'_, Event>, folder: PathBuf) {
    bids(events)
        .map(|bid| {
            let (day, minute) = (bid.day(), bid.minute());
            (bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra, day, minute)
        })
        .sink("log", FileSink::csv(folder));
}

/// A row of it.
pub(crate) type Logged = (u64, u64, u64, EventTime, Text, u64, u64);
