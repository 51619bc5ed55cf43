//! `restore --dry-run`: what can be said of a restore without the program.

use std::str::FromStr;

use clap::Args;
use highwater::checkpoint::inspect::{self, Which, WorkerShare};
use highwater::checkpoint::metadata::StateKind;
use serde_json::json;

use super::output::{Output, Table, bytes};
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "A job restores itself when it is started; this only looks. Which operators would \
match, be new, be left behind or have changed, the program alone knows: start it with
  PROGRAM --checkpoint-dir PATH --restore WHICH --dry-run

Example:
  highwater restore out/checkpoints before-upgrade --dry-run --workers 4"
)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    place: Place,

    /// Which: latest, the id of a checkpoint, or the name of a savepoint
    #[arg(value_name = "latest|ID|NAME", default_value = "latest", value_parser = Which::from_str)]
    which: Which,

    /// Change nothing; must be said, since a job is restored by starting its program
    #[arg(long, required = true)]
    dry_run: bool,

    /// Number of workers that the job would have [default: as many as took part]
    #[arg(short, long, value_name = "N")]
    workers: Option<usize>,

    /// For programs: a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) async fn restore(args: RestoreArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let stored = inspect::read(&store, &args.which).await?;
    let metadata = &stored.metadata;
    let shares = inspect::spread(&stored, args.workers.unwrap_or(metadata.workers)).await?;
    if args.json {
        let operators = metadata.operators.iter().map(|operator| {
            json!({ "uid": operator.uid, "schema": operator.schema, "splits": operator.splits })
        });
        output.json(&json!({
            "job": metadata.job,
            "checkpoint": metadata.id,
            "epoch": metadata.epoch,
            "input_ended": metadata.input_ended,
            "key_groups": metadata.key_groups,
            "operators": operators.collect::<Vec<_>>(),
            "workers": shares,
        }))?;
        return Ok(Verdict::Good);
    }
    output.line(format!("{stored}, {}, with {} workers", metadata.epoch, shares.len()))?;
    if metadata.input_ended {
        output.line("  all input was read: nothing would be left to do")?;
    }
    let mut table = Table::new(&["operator", "kind", "schema", ">version", ">splits", ">bytes"]);
    for operator in &metadata.operators {
        let schema = &operator.schema;
        let types = match schema.kind {
            StateKind::Keyed => format!("({}, {})", schema.key_type, schema.value_type),
            _ => schema.value_type.clone(),
        };
        let size = operator.segments.iter().map(|segment| segment.bytes).sum();
        table.row([
            operator.uid.clone(),
            schema.kind.to_string(),
            format!("{types} in {}", schema.codec),
            schema.version.to_string(),
            operator.splits.len().to_string(),
            bytes(size),
        ]);
    }
    output.table(&table)?;
    output.line("")?;
    let mut table = Table::new(&[">worker", "key groups", ">entries to read", ">bytes to read"]);
    for WorkerShare { worker, first_group, groups, bytes: size, entries } in shares {
        let last = first_group + groups.saturating_sub(1);
        table.row([
            worker.to_string(),
            format!("{first_group} to {last}"),
            entries.to_string(),
            bytes(size),
        ]);
    }
    output.table(&table)?;
    output.line("")?;
    output.line("which operators would match, the program says: PROGRAM --restore .. --dry-run")?;
    Ok(Verdict::Good)
}
