//! `state dump`: the entries of an operator as JSON lines.

use std::str::FromStr;

use clap::Args;
use highwater::checkpoint::Error;
use highwater::checkpoint::inspect::{self, LiveEntries, Which};
use highwater::checkpoint::metadata::StateKind;
use serde_json::json;

use super::entries::Entries;
use super::output::Output;
use super::{Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "One line an entry: {\"group\": 7, \"key\": .., \"value\": ..}, by key group, and by \
the bytes of the key within it. Of a source, its splits and offsets; of a sink, what it is to commit; of a list, its items. \
Keys and values are JSON; those of types that the checkpoint does not describe are the bytes of \
their encoding, in hexadecimal, and a note on stderr says so. The job need not run. Memory is bounded by the size of one key group.

Examples:
  highwater state dump out/checkpoints --operator count
  highwater state dump out/checkpoints --operator count --checkpoint before-upgrade --key-group 7"
)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    place: Place,

    /// The uid of the operator
    #[arg(long, value_name = "UID")]
    operator: String,

    /// Which checkpoint: latest, an id, or the name of a savepoint
    #[arg(long, value_name = "latest|ID|NAME", default_value = "latest", value_parser = Which::from_str)]
    checkpoint: Which,

    /// One key group alone
    #[arg(long, value_name = "N")]
    key_group: Option<u16>,
}

pub(super) async fn dump(args: DumpArgs, output: &mut Output) -> Outcome {
    let store = args.place.open().await?;
    let stored = inspect::read(&store, &args.checkpoint).await?;
    let operator = stored.operator(&args.operator)?;
    let key_groups = stored.metadata.key_groups;
    let groups = match args.key_group {
        None => 0..key_groups,
        Some(group) if group < key_groups => group..group + 1,
        Some(group) => {
            return Err(Error::invalid(format!(
                "there is no key group {group}: {stored} has {key_groups}, from 0 to {}",
                key_groups.saturating_sub(1)
            ))
            .into());
        }
    };
    for split in &operator.splits {
        output.json_line(&serde_json::to_value(split)?)?;
    }
    for item in operator.committables.iter().chain(&operator.items) {
        output.json_line(item)?;
    }
    if operator.schema.kind != StateKind::Keyed {
        return Ok(Verdict::Good);
    }
    let mut shown = Entries::default();
    let mut entries = LiveEntries::open(&stored.store, operator, groups).await?;
    while let Some((group, blocks)) = entries.next_group().await? {
        for (key, value) in blocks.iter().flatten() {
            let key = shown.key(&operator.uid, &operator.schema, key)?;
            let value = value.unwrap_or_default();
            let value = shown.value(&operator.uid, &operator.schema, value)?;
            output.json_line(&json!({ "group": group, "key": key, "value": value }))?;
        }
    }
    Ok(Verdict::Good)
}
