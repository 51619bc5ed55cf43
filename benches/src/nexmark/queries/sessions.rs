//! q11, q12: how much a user does at a time.

use std::time::Duration;

use highwater::prelude::*;
use highwater::window::{Session, Tumbling};

use super::super::event::Event;
use super::bids;

/// User sessions: bidder, bids, start and end of times in which no ten seconds passed without a bid.
///
/// ```sql
/// SELECT B.bidder, count(*) AS bid_count, SESSION_START(B.dateTime, INTERVAL '10' SECOND) AS starttime,
///   SESSION_END(B.dateTime, INTERVAL '10' SECOND) AS endtime
/// FROM bid B GROUP BY B.bidder, SESSION(B.dateTime, INTERVAL '10' SECOND)
/// ```
pub(crate) fn q11(events: Stream<'_, Event>) -> Stream<'_, (u64, u64, EventTime, EventTime)> {
    bids(events)
        .map(|bid| (bid.bidder, bid.date_time))
        .keyed()
        .window(Session::gap(Duration::from_secs(10)), |at| *at)
        .count("bids-of-session")
        .map(|session| (session.key, session.value, session.window.start, session.window.end))
}

/// Processing time windows: bidder, and how many bids within ten seconds by the time of day.
///
/// ```sql
/// SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
/// FROM TABLE(TUMBLE(TABLE B, DESCRIPTOR(p_time), INTERVAL '10' SECOND))
/// GROUP BY bidder, window_start, window_end
/// ```
pub(crate) fn q12(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    bids(events)
        .map(|bid| (bid.bidder, ()))
        .keyed()
        .window_by_processing_time(Tumbling::of(Duration::from_secs(10)))
        .count("bids-per-window")
        .map(|window| (window.key, window.value))
}
