//! `checkpoints delete`.

use std::io::{BufRead, IsTerminal, Write};
use std::str::FromStr;

use clap::Args;
use highwater::checkpoint::inspect::{self, Deleted, Which};
use highwater::checkpoint::savepoint::{SavepointName, folder};
use highwater::checkpoint::{Error, Result};
use serde_json::json;

use super::output::{Output, bytes};
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "The metadata goes first, then the segments that no other checkpoint names. A \
job that runs is not disturbed, as long as the newest checkpoint stays; where a segment may be of \
use to a run, it is left, and the next run sweeps it.

Examples:
  highwater checkpoints delete out/checkpoints 40 41
  highwater checkpoints delete out/checkpoints before-upgrade --yes"
)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    place: Place,

    /// Ids of checkpoints and names of savepoints
    #[arg(value_name = "ID|NAME", required = true, value_parser = Which::from_str)]
    doomed: Vec<Which>,

    /// Delete the newest checkpoint too, of a job that does not run
    #[arg(long)]
    force: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// For programs: a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) async fn delete(args: DeleteArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let mut ids = Vec::new();
    let mut names: Vec<SavepointName> = Vec::new();
    for which in &args.doomed {
        match which {
            Which::Latest => ids.push(inspect::read(&store, which).await?.metadata.id),
            Which::Id(id) => ids.push(*id),
            Which::Savepoint(name) => names.push(name.clone()),
        }
    }
    let there = folder::list(&store).await?;
    if let Some(absent) = names.iter().find(|name| !there.contains(name)) {
        let there: Vec<_> = there.iter().map(ToString::to_string).collect();
        return Err(Error::invalid(format!(
            "there is no savepoint {absent} at {store}; there are: {}; nothing was deleted",
            if there.is_empty() { "none".to_owned() } else { there.join(", ") }
        ))
        .into());
    }
    let doomed = ids.iter().map(|id| format!("checkpoint {id}"));
    let doomed: Vec<_> =
        doomed.chain(names.iter().map(|name| format!("savepoint {name}"))).collect();
    if !args.yes {
        confirm(&format!("delete {} at {store}?", doomed.join(", ")))?;
    }
    let mut deleted = Deleted::default();
    if !ids.is_empty() {
        deleted = inspect::delete(&store, &ids, args.force).await?;
    }
    for name in &names {
        folder::delete(&store, name).await?;
    }
    if args.json {
        output.json(&json!({ "deleted": deleted, "savepoints": names }))?;
        return Ok(Verdict::Good);
    }
    output.line(format!(
        "deleted {}, and {} segments of {}",
        doomed.join(", "),
        deleted.segments,
        bytes(deleted.bytes)
    ))?;
    if let Some(reason) = deleted.left {
        output.line(format!("segments were left for the next run to sweep: {reason}"))?;
    }
    Ok(Verdict::Good)
}

/// Asks a person, who must be there.
fn confirm(question: &str) -> Result<()> {
    let unasked = |why: &str| Error::invalid(format!("{question} {why}; nothing was deleted"));
    if !std::io::stdin().is_terminal() {
        return Err(unasked("Nobody is there to ask: say --yes"));
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(unasked("No")),
    }
}
