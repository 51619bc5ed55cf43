//! `start`: from `exec` to the first record at the end of the dataflow, of a job that counts keys: alone,
//! with checkpoints, and with one to restore; beside hand-written timely and a process that does nothing.
//!
//! The program starts itself. All times are by one clock, from before the process is made; what the
//! child says when is no part of its end, which is not waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::child::Child;
use crate::counting::{self, BUILT, FIRST, FLOW, MAIN, Program};
use crate::facts::Facts;
use crate::report::{median, spread};
use crate::restore;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Starts of each
    #[arg(long, default_value_t = 21)]
    rounds: usize,

    /// Keys in the checkpoint that is restored, of 8 bytes with values of 8 bytes
    #[arg(long, default_value_t = 131_072)]
    keys: u64,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is started, where its checkpoints are, and within how many milliseconds it should be there.
struct Case {
    name: String,
    program: Program,
    checkpoints: Option<PathBuf>,
    bar_ms: Option<f64>,
    starts: Vec<Start>,
}

/// When it had come how far, milliseconds since before the process was made.
#[derive(Clone, Copy, Debug)]
struct Start {
    main: f64,
    /// Of worker 0. None of a process that does nothing, or where another worker was at the end before it.
    flow: Option<(f64, f64)>,
    first: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut facts = Facts::open("start", args.json.as_deref())?;
    let folder = tempfile::tempdir_in(&args.dir)?;
    let filled = folder.path().join("filled");
    restore::fill(args.workers, args.keys, &filled).map_err(|error| error.to_string())?;
    let bytes = restore::segment_bytes(&filled).map_err(|error| error.to_string())?;
    println!(
        "start: {} workers, {} starts of each; to restore there are {} k keys in {:.2} MB, of {:.2} MB of \
         entries\n",
        args.workers,
        args.rounds,
        args.keys / 1000,
        bytes as f64 / 1e6,
        args.keys as f64 * 16e-6
    );
    let restored = format!("engine, {:.1} MB restored", bytes as f64 / 1e6);
    let case = |name: &str, program, checkpoints, bar_ms| Case {
        name: name.to_owned(),
        program,
        checkpoints,
        bar_ms,
        starts: Vec::new(),
    };
    let fresh = folder.path().join("fresh");
    let mut cases = [
        case("process", Program::Nothing, None, None),
        case("timely", Program::Timely, None, None),
        case("engine", Program::Engine, None, Some(50.0)),
        case("engine, checkpoints", Program::Engine, Some(fresh.clone()), Some(50.0)),
        case(&restored, Program::Engine, Some(filled), Some(100.0)),
    ];
    for round in 0..args.rounds.max(1) {
        for case in &mut cases {
            if case.checkpoints.as_ref() == Some(&fresh) && fresh.exists() {
                std::fs::remove_dir_all(&fresh)?;
            }
            let start = start(args, case.program, case.checkpoints.as_deref())?;
            facts.append("first record", &case.name, round, found(args, start))?;
            case.starts.push(start);
        }
    }
    cases.iter().for_each(print);
    Ok(())
}

fn start(args: &Args, program: Program, checkpoints: Option<&Path>) -> Result<Start> {
    let mut line = counting::Args::line(program, args.workers, args.keys);
    if let Some(folder) = checkpoints {
        line.extend(["--dir".to_owned(), folder.to_string_lossy().into_owned()]);
    }
    let child = Child::start(&line)?;
    let started = child.started();
    let said = child.said()?;
    let ms = |name: &str| {
        let at = Duration::from_nanos(*said.get(name)?);
        Some(at.saturating_sub(started).as_secs_f64() * 1e3)
    };
    let missing = |name: &str| format!("a child has not come to {name:?}");
    let main = ms(MAIN).ok_or_else(|| missing(MAIN))?;
    if program == Program::Nothing {
        return Ok(Start { main, flow: None, first: main });
    }
    let first = ms(FIRST).ok_or_else(|| missing(FIRST))?;
    Ok(Start { main, flow: ms(FLOW).zip(ms(BUILT)), first })
}

fn found(args: &Args, start: Start) -> serde_json::Value {
    json!({
        "workers": args.workers,
        "milliseconds": start.first,
        "main_ms": start.main,
        "flow_ms": start.flow.map(|(flow, _)| flow),
        "built_ms": start.flow.map(|(_, built)| built),
    })
}

fn print(case: &Case) {
    let all =
        |of: fn(&Start) -> Option<f64>| -> Vec<f64> { case.starts.iter().filter_map(of).collect() };
    let firsts = all(|start| Some(start.first));
    print!("{:<26}{} ms", case.name, spread(&firsts, 1));
    let (flow, built) = (all(|start| Some(start.flow?.0)), all(|start| Some(start.flow?.1)));
    if !flow.is_empty() {
        let main = median(&all(|start| Some(start.main)));
        let (flow, built) = (median(&flow), median(&built));
        print!(", of which main after {main:.1}, the dataflow from {flow:.1} to {built:.1}");
    }
    match case.bar_ms {
        Some(bar_ms) if median(&firsts) < bar_ms => println!("; under {bar_ms} ms"),
        Some(bar_ms) => println!("; NOT under {bar_ms} ms"),
        None => println!(),
    }
}
