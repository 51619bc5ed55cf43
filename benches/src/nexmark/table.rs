//! The queries, and how the result of each is summed.

use std::sync::Arc;
use std::time::Duration;

use super::run::{Setup, SideInput};
use super::{Result, by_hand, queries};
use crate::digest::Digest;
use crate::rounds::Run;

/// Both sides of a query.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) engine: fn(&Setup, Option<Duration>) -> Result<Run>,
    pub(crate) by_hand: fn(&Setup) -> Result<Run>,
}

macro_rules! query {
    ($name:ident, $note:expr) => {
        Query {
            name: stringify!($name),
            engine: |setup, interval| setup.engine(interval, queries::$name, $note),
            by_hand: |setup| setup.by_hand(by_hand::$name, $note),
        }
    };
}

/// All of them.
pub(crate) static QUERIES: [Query; 23] = [
    query!(q0, Digest::row),
    query!(q1, Digest::row),
    query!(q2, Digest::row),
    query!(q3, Digest::row),
    query!(q4, Digest::upsert),
    query!(q5, Digest::row),
    query!(q6, Digest::row),
    query!(q7, Digest::row),
    query!(q8, Digest::row),
    query!(q9, Digest::row),
    Query {
        name: "q10",
        engine: |setup, interval| setup.engine_to_files(interval, queries::q10),
        by_hand: |setup| setup.by_hand_to_files(by_hand::q10),
    },
    query!(q11, Digest::row),
    // Which bid is in which window is another matter in each run.
    query!(q12, |digest, (bidder, count)| digest.rows(bidder, count)),
    Query {
        name: "q13",
        engine: |setup, interval| {
            let rows = SideInput::write()?.read()?;
            setup.engine(
                interval,
                move |events| queries::q13(events, Arc::clone(&rows)),
                Digest::row,
            )
        },
        by_hand: |setup| {
            let rows = SideInput::write()?.read()?;
            setup.by_hand(move |events| by_hand::q13(events, Arc::clone(&rows)), Digest::row)
        },
    },
    query!(q14, Digest::row),
    query!(q15, Digest::upsert),
    query!(q16, Digest::upsert),
    query!(q17, Digest::upsert),
    query!(q18, Digest::change),
    query!(q19, Digest::change),
    query!(q20, Digest::row),
    query!(q21, Digest::row),
    query!(q22, Digest::row),
];
