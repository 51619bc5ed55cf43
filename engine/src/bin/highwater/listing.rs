//! `checkpoints list` and `checkpoints show`.

use std::str::FromStr;

use clap::Args;
use highwater::checkpoint::inspect::{self, LiveEntries, Stored, Which};
use highwater::checkpoint::metadata::{
    CheckpointMetadata, OperatorStateMetadata, Origin, StateKind,
};
use highwater::checkpoint::{Error, Result};
use serde_json::{Value, json};

use super::output::{Output, Table, age, bytes, date};
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "Example:\n  highwater checkpoints list out/checkpoints --job wordcount --json"
)]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,

    /// Savepoints alone
    #[arg(long)]
    savepoints: bool,

    /// For programs: a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(args: ListArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let mut rows: Vec<(String, Result<CheckpointMetadata>)> = Vec::new();
    if !args.savepoints {
        let listed = inspect::list(&store).await?.into_iter();
        rows.extend(listed.map(|listed| (listed.id.to_string(), listed.metadata)));
    }
    let listed = inspect::savepoints(&store).await?.into_iter();
    rows.extend(listed.map(|listed| (listed.name.to_string(), listed.metadata)));
    if args.json {
        let rows: Vec<Value> =
            rows.iter().map(|(name, metadata)| summary(name, metadata)).collect();
        output.json(&Value::Array(rows))?;
        return Ok(Verdict::Good);
    }
    if rows.is_empty() {
        let what = if args.savepoints { "savepoints" } else { "checkpoints" };
        output.line(format!("there are no {what} at {store}"))?;
        return Ok(Verdict::Good);
    }
    let mut table = Table::new(&[
        "id",
        ">epoch",
        "origin",
        "completed at",
        "age",
        ">duration",
        ">written",
        ">total",
        ">operators",
    ]);
    for (name, metadata) in rows {
        match metadata {
            Ok(metadata) => table.row([
                name,
                metadata.epoch.to_string(),
                origin(metadata.origin),
                date(metadata.completed_ms),
                age(metadata.completed_ms),
                format!("{} ms", metadata.duration_ms),
                bytes(metadata.bytes_written),
                bytes(metadata.bytes_total),
                metadata.operators.len().to_string(),
            ]),
            Err(error) => table.row([name, "?".to_owned(), format!("damaged: {error}")]),
        }
    }
    output.table(&table)?;
    Ok(Verdict::Good)
}

fn summary(name: &str, metadata: &Result<CheckpointMetadata>) -> Value {
    match metadata {
        Ok(metadata) => json!({
            "id": metadata.id,
            "savepoint": Some(name).filter(|name| *name != metadata.id.to_string()),
            "job": metadata.job,
            "epoch": metadata.epoch,
            "generation": metadata.generation,
            "origin": metadata.origin,
            "input_ended": metadata.input_ended,
            "workers": metadata.workers,
            "completed_ms": metadata.completed_ms,
            "completed_at": date(metadata.completed_ms),
            "duration_ms": metadata.duration_ms,
            "bytes_written": metadata.bytes_written,
            "bytes_total": metadata.bytes_total,
            "operators": metadata.operators.len(),
        }),
        Err(error) => json!({ "name": name, "error": error.to_string() }),
    }
}

/// Why a checkpoint was taken, in a few words.
pub(super) fn origin(origin: Origin) -> String {
    match origin {
        Origin::Restore { from: Some(from) } => format!("restored from {from}"),
        Origin::Restore { from: None } => "started afresh".to_owned(),
        Origin::Fork { from } => format!("forked from {from}"),
        Origin::Interval => "interval".to_owned(),
        Origin::Savepoint => "savepoint".to_owned(),
        Origin::Stop => "stop".to_owned(),
        Origin::EndOfInput => "end of input".to_owned(),
        Origin::Drain => "drain".to_owned(),
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  highwater checkpoints show out/checkpoints
  highwater checkpoints show out/checkpoints 42 --digest
  highwater checkpoints show out/checkpoints before-upgrade --json")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    place: Place,

    /// Which: latest, the id of a checkpoint, or the name of a savepoint
    #[arg(value_name = "latest|ID|NAME", default_value = "latest", value_parser = Which::from_str)]
    which: Which,

    /// Read all entries too: how many are live, and their digest
    #[arg(long)]
    digest: bool,

    /// For programs: the whole metadata as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(args: ShowArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let stored = inspect::read(&store, &args.which).await?;
    let mut states = Vec::new();
    if args.digest {
        for operator in &stored.metadata.operators {
            let groups = 0..stored.metadata.key_groups;
            let live = LiveEntries::open(&stored.store, operator, groups).await?;
            states.push(live.summarize().await?);
        }
    }
    if args.json {
        let mut document = serde_json::to_value(&stored.metadata)?;
        for (at, state) in states.iter().enumerate() {
            document["operators"][at]["live"] = serde_json::to_value(state)?;
        }
        output.json(&document)?;
        return Ok(Verdict::Good);
    }
    header(&stored, output)?;
    let mut table = Table::new(&["operator", "kind", ">entries", ">bytes", ">segments", "codec"]);
    for operator in &stored.metadata.operators {
        let bytes_of = operator.segments.iter().map(|segment| segment.bytes).sum();
        table.row([
            operator.uid.clone(),
            operator.schema.kind.to_string(),
            entries(operator),
            bytes(bytes_of),
            operator.segments.len().to_string(),
            operator.schema.codec.clone(),
        ]);
    }
    output.table(&table)?;
    for (at, operator) in stored.metadata.operators.iter().enumerate() {
        output.line("")?;
        details(operator, output)?;
        if let Some(state) = states.get(at).filter(|_| operator.schema.kind == StateKind::Keyed) {
            output.line(format!("  live: {} entries, digest {}", state.entries, state.digest))?;
        }
    }
    Ok(Verdict::Good)
}

/// Live entries if the checkpoint says so; else no more than a bound is known without reading.
fn entries(operator: &OperatorStateMetadata) -> String {
    match (operator.schema.kind, operator.entries) {
        (_, Some(entries)) => entries.to_string(),
        (StateKind::Keyed, None) => {
            format!("<= {}", operator.segments.iter().map(|segment| segment.entries).sum::<u64>())
        }
        _ => String::new(),
    }
}

fn header(stored: &Stored, output: &mut Output) -> std::io::Result<()> {
    let metadata = &stored.metadata;
    output.line(format!("{stored}, at {}", stored.store))?;
    output.line(format!(
        "  {}, {}, {}, completed {} ({} ago) in {} ms",
        metadata.epoch,
        metadata.generation,
        origin(metadata.origin),
        date(metadata.completed_ms),
        age(metadata.completed_ms),
        metadata.duration_ms
    ))?;
    output.line(format!(
        "  {} workers, {} key groups, {} written, {} in all{}",
        metadata.workers,
        metadata.key_groups,
        bytes(metadata.bytes_written),
        bytes(metadata.bytes_total),
        if metadata.input_ended { ", all input was read" } else { "" }
    ))?;
    output.line("")
}

fn details(operator: &OperatorStateMetadata, output: &mut Output) -> std::io::Result<()> {
    let schema = &operator.schema;
    let types = match schema.kind {
        StateKind::Keyed => format!("({}, {})", schema.key_type, schema.value_type),
        _ => format!("{} {}", schema.key_type, schema.value_type),
    };
    let (kind, version) = (schema.kind, schema.version);
    output.line(format!("{}: {kind} of {}, version {version}", operator.uid, types.trim()))?;
    if let Some(shape) = &schema.value_shape {
        output.line(format!("  values are {shape}, fingerprint {}", shape.fingerprint()))?;
    }
    if let Some(digest) = operator.digest {
        output.line(format!("  digest {digest}"))?;
    }
    for segment in &operator.segments {
        output.line(format!(
            "  {:?} of groups {} to {}, {}: {} entries, {}, {}",
            segment.kind,
            segment.first_group,
            segment.last_group,
            segment.epoch,
            segment.entries,
            bytes(segment.bytes),
            segment.object
        ))?;
    }
    for split in &operator.splits {
        let offset = split.offset.as_ref().map_or("its start".to_owned(), ToString::to_string);
        let finished = if split.finished { ", finished" } else { "" };
        output.line(format!("  split {} at {offset}{finished}", split.id))?;
    }
    for committable in &operator.committables {
        output.line(format!("  to commit: {committable}"))?;
    }
    if !operator.items.is_empty() {
        output.line(format!("  {} items", operator.items.len()))?;
    }
    Ok(())
}

/// Whether a metadata could not be read for what is in the store, and not for the store itself.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Missing { .. })
}
