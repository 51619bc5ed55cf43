//! `checkpoints diff`.

use std::str::FromStr;

use clap::Args;
use highwater::checkpoint::Result;
use highwater::checkpoint::inspect::{
    self, Changes, Compared, KeyChange, OperatorDiff, SplitMove, Stored, Which,
};
use highwater::checkpoint::metadata::StateSchema;
use highwater::checkpoint::schema::{Difference, Fitting, differences};
use serde_json::{Value, json};

use super::entries::Entries;
use super::output::{Output, Table};
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "Exit code 0 if the two hold the same, 1 if not. Keyed state is the same if \
its live entries are, whatever the number of workers and the segments.

Examples:
  highwater checkpoints diff out/checkpoints 41 42
  highwater checkpoints diff out/checkpoints latest latest --other out/replay
  highwater checkpoints diff out/checkpoints 41 42 --entries --json"
)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    place: Place,

    /// The first: latest, the id of a checkpoint, or the name of a savepoint
    #[arg(value_name = "A", value_parser = Which::from_str)]
    first: Which,

    /// The second
    #[arg(value_name = "B", value_parser = Which::from_str)]
    second: Which,

    /// Where the second is, if elsewhere
    #[arg(long, value_name = "PATH|URL")]
    other: Option<String>,

    /// Name of the job of the second; not needed if there is only one there
    #[arg(long, value_name = "NAME", requires = "other")]
    other_job: Option<String>,

    /// Show every key that differs, as a JSON line each
    #[arg(long)]
    entries: bool,

    /// For programs: JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn diff(args: DiffArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let other = match args.other {
        Some(location) => Place { location, job: args.other_job }.open().await?,
        None => store.clone(),
    };
    let first = inspect::read(&store, &args.first).await?;
    let second = inspect::read(&other, &args.second).await?;
    let (mut shown, mut failed) = (Entries::default(), Ok(()));
    let diffs = inspect::diff(&first, &second, |change| {
        if args.entries && failed.is_ok() {
            failed = output.json_line(&line((&first, &second), change, &mut shown)?);
        }
        Ok(())
    });
    let diffs = diffs.await?;
    failed?;
    let is_equal = diffs.iter().all(|diff| diff.compared == Compared::Equal);
    if args.json {
        let document = json!({ "equal": is_equal, "operators": diffs });
        if args.entries {
            output.json_line(&document)?;
        } else {
            output.json(&document)?;
        }
        return Ok(Verdict::good_if(is_equal));
    }
    output.line(format!("A: {first}, {}", first.metadata.epoch))?;
    output.line(format!("B: {second}, {}", second.metadata.epoch))?;
    let mut table = Table::new(&["operator", "result", "what"]);
    for OperatorDiff { uid, compared } in &diffs {
        let (result, what) = match compared {
            Compared::Equal => ("equal", Vec::new()),
            Compared::OnlyInFirst => ("only in A", Vec::new()),
            Compared::OnlyInSecond => ("only in B", Vec::new()),
            Compared::Different(changes) => ("different", describe(changes)),
        };
        let mut what = what.into_iter();
        let first = what.next().unwrap_or_default();
        table.row([uid.clone(), result.to_owned(), first]);
        what.for_each(|more| table.row([String::new(), String::new(), more]));
    }
    output.table(&table)?;
    output.line(if is_equal { "the two hold the same" } else { "the two differ" })?;
    Ok(Verdict::good_if(is_equal))
}

/// A key that differs, as each of the two has it by its own schema.
fn line(
    (first, second): (&Stored, &Stored),
    change: KeyChange,
    shown: &mut Entries,
) -> Result<Value> {
    let KeyChange { uid, key, first: ours, second: theirs } = change;
    let (first, second) = (&first.operator(uid)?.schema, &second.operator(uid)?.schema);
    let key = shown.key(uid, if ours.is_some() { first } else { second }, key)?;
    let ours = ours.map(|value| shown.value(uid, first, value)).transpose()?;
    let theirs = theirs.map(|value| shown.value(uid, second, value)).transpose()?;
    Ok(json!({ "operator": uid, "key": key, "first": ours, "second": theirs }))
}

/// Differences of types that are shown: who changed more will not read on.
const SHOWN_MAX: usize = 5;

/// Both in a line each, and where their types differ.
fn describe_schemas(a: &StateSchema, b: &StateSchema) -> Vec<String> {
    let mut lines = vec![format!("schema A: {a}"), format!("schema B: {b}")];
    let keys = (a.key_shape.as_deref(), b.key_shape.as_deref());
    let values = (a.value_shape.as_deref(), b.value_shape.as_deref());
    for (what, shapes) in [("key", keys), ("value", values)] {
        let (Some(a), Some(b)) = shapes else { continue };
        // By their places, since that tells more apart.
        let found = differences(a, b, Fitting::ByPosition);
        lines.extend(found.iter().take(SHOWN_MAX).map(|Difference { place, written, read }| {
            let space = if place.is_empty() { "" } else { " " };
            format!("{what}{space}{place}: {written} -> {read}")
        }));
        if found.len() > SHOWN_MAX {
            lines.push(format!("{what}: {} more", found.len() - SHOWN_MAX));
        }
    }
    lines
}

fn describe(changes: &Changes) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((a, b)) = &changes.schema {
        lines.extend(describe_schemas(a, b));
    }
    if let Some((a, b)) = &changes.state {
        let Changes { added, removed, changed, .. } = changes;
        lines.push(format!(
            "entries {} -> {}: {added} added, {removed} removed, {changed} changed",
            a.entries, b.entries
        ));
        lines.push(format!("digest {} -> {}", a.digest, b.digest));
    }
    for SplitMove { id, from, to } in &changes.splits {
        lines.push(format!("split {id}: {} -> {}", place(from.as_ref()), place(to.as_ref())));
    }
    if let Some((a, b)) = changes.committables {
        lines.push(format!("to commit: {a} -> {b}"));
    }
    if let Some((a, b)) = changes.items {
        lines.push(format!("items: {a} -> {b}"));
    }
    lines
}

fn place(place: Option<&(Option<Value>, bool)>) -> String {
    match place {
        None => "not there".to_owned(),
        Some((offset, is_finished)) => {
            let offset = offset.as_ref().map_or("its start".to_owned(), ToString::to_string);
            if *is_finished { format!("{offset}, finished") } else { offset }
        }
    }
}
