//! `checkpoints verify`.

use std::io::IsTerminal;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use highwater::checkpoint::inspect::{self, Progress, Stored, Verifier, Which};
use highwater::checkpoint::store::BlobStore;
use highwater::checkpoint::{Error, Result};
use indicatif::{HumanCount, ProgressBar};
use serde_json::json;

use super::listing::is_damage;
use super::output::{Output, bytes};
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(after_help = "Exit code 1 if anything is damaged or missing; all of it is listed.

Examples:
  highwater checkpoints verify out/checkpoints
  highwater checkpoints verify s3://bucket/checkpoints before-upgrade --job wordcount")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Place,

    /// Which: all, latest, the id of a checkpoint, or the name of a savepoint
    #[arg(value_name = "all|latest|ID|NAME", default_value = "all")]
    which: String,

    /// For programs: a JSON document
    #[arg(long)]
    json: bool,
}

pub(super) async fn verify(args: VerifyArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let since = Instant::now();
    let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
    let mut verifier = Verifier::new(|progress: Progress| {
        if let Some(bar) = &bar {
            let Progress { segments, bytes: read, .. } = progress;
            bar.set_message(format!("{segments} segments, {}", bytes(read)));
            bar.tick();
        }
    });
    let mut checkpoints = 0;
    for (name, stored) in chosen(&store, &args.which).await? {
        checkpoints += 1;
        match stored {
            Ok(stored) => verifier.verify(&stored).await?,
            Err(error) => verifier.found(name, None, &error),
        }
    }
    let (progress, findings) = (verifier.progress(), verifier.findings().to_vec());
    drop(verifier);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let elapsed = since.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    if args.json {
        output.json(&json!({
            "checkpoints": checkpoints,
            "segments": progress.segments,
            "bytes": progress.bytes,
            "entries": progress.entries,
            "seconds": elapsed,
            "findings": findings,
        }))?;
        return Ok(Verdict::good_if(findings.is_empty()));
    }
    for finding in &findings {
        let operator = finding.operator.as_ref().map(|uid| format!(", operator {uid}"));
        let operator = operator.unwrap_or_default();
        output.line(format!("damaged: {}{operator}: {}", finding.checkpoint, finding.reason))?;
    }
    let speed = bytes((progress.bytes as f64 / elapsed) as u64);
    output.line(format!(
        "{}: read {checkpoints} checkpoints, {} segments, {} entries, {} in {elapsed:.2} s ({speed}/s)",
        if findings.is_empty() { "all is whole".to_owned() } else { format!("{} found", findings.len()) },
        progress.segments,
        HumanCount(progress.entries),
        bytes(progress.bytes),
    ))?;
    Ok(Verdict::good_if(findings.is_empty()))
}

/// What is to be verified; an error in place of one whose metadata is damaged.
async fn chosen(store: &BlobStore, which: &str) -> Result<Vec<(String, Result<Stored>)>> {
    let mut names = Vec::new();
    if which == "all" {
        names.extend(inspect::list(store).await?.iter().map(|listed| Which::Id(listed.id)));
        let savepoints = inspect::savepoints(store).await?;
        names.extend(savepoints.into_iter().map(|listed| Which::Savepoint(listed.name)));
        if names.is_empty() {
            names.push(Which::Latest);
        }
    } else {
        names.push(Which::from_str(which)?);
    }
    let mut chosen = Vec::new();
    for name in names {
        let stored = inspect::read(store, &name).await;
        let shown = match &name {
            Which::Latest => "the newest checkpoint".to_owned(),
            Which::Id(id) => format!("checkpoint {id}"),
            Which::Savepoint(name) => format!("savepoint {name}"),
        };
        match stored {
            // Of a version that this build does not read: no damage, but not verified either.
            Err(error @ Error::Invalid { .. }) if which != "all" => return Err(error),
            Err(error) if !is_damage(&error) && !matches!(error, Error::Invalid { .. }) => {
                return Err(error);
            }
            stored => chosen.push((shown, stored)),
        }
    }
    Ok(chosen)
}
