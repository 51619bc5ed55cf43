//! q10: a file of CSV for each worker, synced at the end.

use std::fs::File;
use std::path::PathBuf;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::Event;
use super::super::queries::Logged;
use super::Stream;

/// # Panics
///
/// If the file cannot be written: nothing else is to be done then.
pub(crate) fn q10(events: Stream<'_, Event>, folder: PathBuf) {
    let rows = events.flat_map(|event| -> Option<Logged> {
        let bid = event.bid()?;
        let (day, minute) = (bid.day(), bid.minute());
        Some((bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra, day, minute))
    });
    let path = folder.join(format!("part-{}.csv", rows.scope().index()));
    let file = File::create(&path).expect("the folder is there");
    let writer =
        csv::WriterBuilder::new().has_headers(false).buffer_capacity(256 * 1024).from_writer(file);
    let mut writer = Some(writer);
    rows.sink(Pipeline, "Log", move |(input, frontier)| {
        let Some(open) = &mut writer else { return };
        input.for_each(|_, batch| {
            batch.drain(..).for_each(|row| open.serialize(row).expect("the disk has room"));
        });
        if frontier.is_empty()
            && let Some(writer) = writer.take()
        {
            let file = writer.into_inner().expect("the disk has room");
            file.sync_all().expect("the disk has room");
        }
    });
}
