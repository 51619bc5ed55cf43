//! q3, q4, q20: those queries that are nothing but joins and reductions of collections.

use std::cmp::Reverse;
use std::error::Error;
use std::hash::Hash;
use std::sync::Arc;

use differential_dataflow::VecCollection;
use differential_dataflow::operators::CountTotal;
use peers_events::{Arguments, Digest, Event, Job, Shared, events, hash, hash_of_key};
use timely::dataflow::operators::probe::Handle;

use crate::run;

pub(crate) fn query(arguments: &Arguments) -> Result<Job, Box<dyn Error>> {
    let (name, events) = (arguments.get("case")?, events(arguments.get("file")?)?);
    let workers = arguments.number("workers")? as usize;
    macro_rules! job {
        ($query:ident) => {
            Box::new(move |shared: &Arc<Shared>| {
                let digest = Digest::new(shared);
                let event = move |i: u64| events[i as usize];
                run(workers, events.len() as u64, event, move |events, probe| {
                    $query(events, probe, digest.clone());
                });
            })
        };
    }
    Ok(match name {
        "q3" => job!(q3),
        "q4" => job!(q4),
        "q20" => job!(q20),
        name => return Err(format!("there is no job for {name}").into()),
    })
}

/// Sums the rows that come and go.
fn note<R: Hash + Ord + Clone + std::fmt::Debug + 'static>(
    rows: VecCollection<'_, u64, R>,
    probe: &Handle<u64>,
    mut digest: Digest,
    hash: impl Fn(&R) -> u64 + 'static,
) {
    rows.inspect(move |(row, _, diff)| {
        let diff = diff.cast_unsigned() as u64;
        digest.add(diff, hash(row).wrapping_mul(diff));
    })
    .probe_with(probe);
}

fn q3(events: VecCollection<'_, u64, Event>, probe: &Handle<u64>, digest: Digest) {
    let people = events.clone().flat_map(|event| match event {
        Event::Person(person) if matches!(&*person.state, "OR" | "ID" | "CA") => {
            Some((person.id, (person.name, person.city, person.state)))
        }
        _ => None,
    });
    let auctions = events.flat_map(|event| match event {
        Event::Auction(auction) if auction.category == 10 => Some((auction.seller, auction.id)),
        _ => None,
    });
    let rows = people
        .join_map(auctions, |_, (name, city, state), auction| (*name, *city, *state, *auction));
    note(rows, probe, digest, hash);
}

fn q4(events: VecCollection<'_, u64, Event>, probe: &Handle<u64>, digest: Digest) {
    let auctions = events.clone().flat_map(|event| match event {
        Event::Auction(auction) => {
            Some((auction.id, (auction.date_time, auction.expires, auction.category)))
        }
        _ => None,
    });
    let bids = events.flat_map(Event::bid).map(|bid| (bid.auction, (bid.price, bid.date_time)));
    let averages = auctions
        .join_map(bids, |id, (opens, expires, category), (price, at)| {
            ((*opens..=*expires).contains(at), (*id, *category), *price)
        })
        .filter(|(is_in_time, ..)| *is_in_time)
        .map(|(_, auction, price)| (auction, Reverse(price)))
        // The first one is the dearest.
        .reduce(|_, prices, dearest| dearest.push((*prices[0].0, 1isize)))
        // Sum and count are differences, so that one more price is one addition.
        .explode(|((_, category), Reverse(price))| [(category, (price as isize, 1isize))])
        .count_total()
        .map(|(category, (sum, count))| (category, sum.cast_unsigned() / count.cast_unsigned()));
    note(averages, probe, digest, |(category, average)| hash_of_key(category, &(*average as u64)));
}

fn q20(events: VecCollection<'_, u64, Event>, probe: &Handle<u64>, digest: Digest) {
    let auctions = events.clone().flat_map(|event| match event {
        Event::Auction(auction) if auction.category == 10 => Some((auction.id, auction)),
        _ => None,
    });
    let bids = events.flat_map(Event::bid).map(|bid| (bid.auction, bid));
    let rows = bids.join_map(auctions, |_, bid, auction| (*bid, *auction));
    note(rows, probe, digest, hash);
}
