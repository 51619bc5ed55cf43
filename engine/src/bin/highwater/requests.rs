//! `savepoint` and `stop`: what a running job is asked for.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use highwater::checkpoint::savepoint::SavepointName;
use highwater::checkpoint::savepoint::request::{Done, Patience, RequestKind, ask};
use highwater::job::parse_duration;
use serde_json::Value;

use super::output::{Output, bytes};
use super::{Outcome, Place, Verdict};

/// For how long to wait.
#[derive(Args)]
struct Waiting {
    /// Give up if no run of the job has taken the request up by then
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    taken_up_within: Duration,

    /// Give up if it is not done by then, though it may be later
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    timeout: Duration,

    /// For programs: a JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "A savepoint is a folder that is whole by itself; no run deletes it. Start from it \
with --restore NAME, or from anywhere by its path.

Example:
  highwater savepoint out/checkpoints --name before-upgrade"
)]
pub(super) struct SavepointArgs {
    #[command(flatten)]
    place: Place,

    /// Its name: a letter, then letters, digits, `-`, `_` and `.`
    #[arg(long, value_name = "NAME", value_parser = SavepointName::from_str)]
    name: SavepointName,

    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
#[command(after_help = "The job resumes from its last checkpoint when it is started again.

Examples:
  highwater stop out/checkpoints
  highwater stop out/checkpoints --savepoint before-upgrade
  highwater stop out/checkpoints --drain")]
pub(super) struct StopArgs {
    #[command(flatten)]
    place: Place,

    /// Make a savepoint of the last checkpoint
    #[arg(long, value_name = "NAME", value_parser = SavepointName::from_str)]
    savepoint: Option<SavepointName>,

    /// End as if the input had: windows fire and totals are emitted
    #[arg(long)]
    drain: bool,

    #[command(flatten)]
    waiting: Waiting,
}

pub(super) async fn savepoint(args: SavepointArgs, output: &mut Output) -> Outcome {
    let kind = RequestKind::Savepoint { name: args.name };
    send(&args.place, kind, &args.waiting, "the job goes on", output).await
}

pub(super) async fn stop(args: StopArgs, output: &mut Output) -> Outcome {
    let StopArgs { place, savepoint, drain, waiting } = args;
    let (kind, done) = if drain {
        (RequestKind::Drain { savepoint }, "drained the job")
    } else {
        (RequestKind::Stop { savepoint }, "stopped the job")
    };
    send(&place, kind, &waiting, done, output).await
}

async fn send(
    place: &Place,
    kind: RequestKind,
    waiting: &Waiting,
    did: &str,
    output: &mut Output,
) -> Outcome {
    let store = place.open().await?;
    let patience = Patience { taken_up: waiting.taken_up_within, answered: waiting.timeout };
    let done = ask(&store, kind, patience).await?;
    if waiting.json {
        let document: Value = serde_json::to_value(&done)?;
        output.json(&document)?;
        return Ok(Verdict::Good);
    }
    let Done { savepoint, checkpoint, epoch, bytes: size, duration_ms, .. } = done;
    let savepoint = savepoint.map(|name| format!(", with savepoint {name}")).unwrap_or_default();
    let size = bytes(size);
    output.line(format!(
        "{did}{savepoint}: checkpoint {checkpoint}, {epoch}, {size}, in {duration_ms} ms"
    ))?;
    Ok(Verdict::Good)
}
