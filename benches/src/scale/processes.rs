//! The keyed count by hand in several processes, which are this program.

use std::net::TcpListener;

use super::Result;
use super::counted::{self, Work};
use crate::child::{Child, say};

/// Records a second of the workers of one process.
const RATE: &str = "rate";
const RECORDS: &str = "records";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which of the processes
    #[arg(long)]
    process: usize,

    /// Where all of them listen
    #[arg(long, value_delimiter = ',')]
    addresses: Vec<String>,

    #[arg(long)]
    keys: u64,

    #[arg(long)]
    records: u64,
}

/// One of the processes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let work = Work { keys: args.keys, records: args.records };
    let communication = timely::CommunicationConfig::Cluster {
        threads: 1,
        process: args.process,
        addresses: args.addresses.clone(),
        report: false,
        zerocopy: false,
    };
    let worker = timely::WorkerConfig::default();
    let total = counted::by_hand_on(work, timely::Config { communication, worker })?;
    say(RATE, total.rate() as u64);
    say(RECORDS, total.records());
    Ok(())
}

/// Starts the processes, of one worker each; records a second of all together.
pub(crate) fn by_hand(work: Work, processes: usize) -> Result<f64> {
    // Ports that are free now; all are held until all are known, so that they differ.
    let listeners = (0..processes).map(|_| TcpListener::bind(("127.0.0.1", 0)));
    let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
    let addresses = addresses.collect::<std::io::Result<Vec<_>>>()?.join(",");
    drop(listeners);
    let start = |process: usize| {
        let Work { keys, records } = work;
        let line = format!(
            "process --process {process} --addresses {addresses} --keys {keys} --records {records}"
        );
        Child::start(&line.split(' ').map(String::from).collect::<Vec<_>>())
    };
    let children = (0..processes).map(start).collect::<Result<Vec<_>>>()?;
    let (mut rate, mut seen) = (0, 0);
    for child in children {
        let said = child.said()?;
        rate += said.get(RATE).copied().unwrap_or(0);
        seen += said.get(RECORDS).copied().unwrap_or(0);
    }
    if seen != work.keys + work.records {
        return Err(format!("{seen} records came, not {}", work.keys + work.records).into());
    }
    Ok(rate as f64)
}
