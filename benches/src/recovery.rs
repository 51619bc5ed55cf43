//! `recovery`: from the end of a run to the first record of the next one, with all state back; after a
//! kill of the process, on the same and on other numbers of workers, and after a failure within it.
//!
//! The job is that of `restore`, which says how fast the state itself is read, beside a plain loop. Here the
//! whole way is measured: the end of a process, `exec`, claim, choice of the checkpoint, state, first record.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::child::Child;
use crate::counting::{self, FAILS, FIRST, Program, SAVED};
use crate::facts::Facts;
use crate::report::spread;
use crate::restore;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of 8 bytes with values of 8 bytes, millions
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    keys: Vec<u64>,

    /// Worker threads of the run that ends
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Worker threads of the run after it
    #[arg(long, value_delimiter = ',', default_value = "2,1,4")]
    onto: Vec<usize>,

    /// Recoveries of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut facts = Facts::open("recovery", args.json.as_deref())?;
    for millions in &args.keys {
        let folder = tempfile::tempdir_in(&args.dir)?;
        let keys = millions * 1_000_000;
        let mut sides: Vec<(String, Vec<f64>)> = args
            .onto
            .iter()
            .map(|workers| (format!("killed, onto {workers}"), Vec::new()))
            .collect();
        sides.push((format!("failed, on {}", args.workers), Vec::new()));
        for round in 0..args.rounds.max(1) {
            for (at, (name, all)) in sides.iter_mut().enumerate() {
                let took = match args.onto.get(at) {
                    Some(onto) => killed(args, keys, folder.path(), *onto)?,
                    None => failed(args, keys, folder.path())?,
                };
                let took = took.as_secs_f64();
                let found = json!({
                    "workers": args.onto.get(at).unwrap_or(&args.workers),
                    "keys": keys,
                    "seconds": took,
                    "milliseconds": took * 1e3,
                    "checkpoint_bytes": bytes(folder.path())?,
                });
                facts.append(&format!("{millions} M keys"), name, round, found)?;
                all.push(took);
            }
        }
        let bytes = bytes(folder.path())? as f64 / 1e6;
        println!("\nrecovery: {millions} M keys, {bytes:.1} MB, from {} workers", args.workers);
        for (name, all) in &sides {
            println!("{name:<16} first record after {} s", spread(all, 3));
        }
    }
    Ok(())
}

fn bytes(folder: &Path) -> Result<u64> {
    restore::segment_bytes(folder).map_err(|error| error.to_string().into())
}

fn line(workers: usize, keys: u64, folder: &Path) -> Vec<String> {
    let mut line = counting::Args::line(Program::Engine, workers, keys);
    line.extend(["--goes-on".to_owned(), "--dir".to_owned()]);
    line.push(folder.to_string_lossy().into_owned());
    line
}

/// From the kill of a run to the first record of the one after it.
fn killed(args: &Args, keys: u64, folder: &Path, onto: usize) -> Result<Duration> {
    let mut child = Child::start(&line(args.workers, keys, folder))?;
    child.wait_for(SAVED)?;
    let at = child.kill()?;
    let mut child = Child::start(&line(onto, keys, folder))?;
    let first = child.wait_for(FIRST)?;
    child.kill()?;
    Ok(first.saturating_sub(at))
}

/// From a panic to the first record of the run that the process starts then.
fn failed(args: &Args, keys: u64, folder: &Path) -> Result<Duration> {
    let mut line = line(args.workers, keys, folder);
    line.push("--fails".to_owned());
    let mut child = Child::start(&line)?;
    let at = child.wait_for(FAILS)?;
    let first = child.wait_for(FIRST)?;
    child.kill()?;
    Ok(first.saturating_sub(at))
}
