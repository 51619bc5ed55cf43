//! What a restore would do, without doing any of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::schema::changed;
use super::{Run, RunOptions};
use crate::error::{Error, Result};
use crate::metadata::{
    CheckpointId, CheckpointMetadata, Compatibility, OperatorStateMetadata, Origin, StateKind,
    StateSchema,
};
use crate::savepoint::folder::date;
use crate::time::Epoch;

/// What a run would restore: of [`Run::plan`], to be shown to a person, or as JSON to a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestorePlan {
    /// Name of the job that would start.
    pub job: String,
    /// Workers that it would have.
    pub workers: usize,
    /// Its key groups.
    pub key_groups: u16,
    /// Whether state that no operator claims would be dropped.
    pub allow_non_restored_state: bool,
    /// What it would start from; nothing if it would start afresh.
    pub restored: Option<Restored>,
    /// By uid, what is in the checkpoint or in the program.
    pub operators: Vec<OperatorPlan>,
}

/// The checkpoint that would be restored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restored {
    /// Its id, where it was taken.
    pub checkpoint: CheckpointId,
    /// The job that it was taken of.
    pub job: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// Why it was taken.
    pub origin: Origin,
    /// When it was complete, milliseconds since the Unix epoch.
    pub completed_ms: u64,
    /// Workers that took part.
    pub workers: usize,
    /// All input had been read: the job would have nothing to do.
    pub input_ended: bool,
    /// Bytes of all its segments.
    pub bytes: u64,
}

/// What would become of one operator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorPlan {
    /// Its uid.
    pub uid: String,
    /// What it is, in the program if it is there.
    pub kind: StateKind,
    /// How checkpoint and program compare.
    pub difference: Difference,
    /// Splits in the checkpoint, those that are read to their end included.
    pub splits: usize,
    /// Segments in the checkpoint.
    pub segments: usize,
    /// Bytes of the segments.
    pub bytes: u64,
}

/// How the state of an operator in a checkpoint compares with the program's.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The program has it, with the same schema: it is restored.
    Matched,
    /// The program has it, and makes its own of what the checkpoint has: by a migration, another
    /// codec, or the names of fields.
    Migrates,
    /// The checkpoint does not have it: it starts empty.
    New,
    /// The program does not have it: the job would not start, unless it is allowed to drop it.
    Unclaimed,
    /// It is of another schema: the job would not start.
    Changed {
        /// In the checkpoint.
        checkpoint: Box<StateSchema>,
        /// In the program.
        program: Box<StateSchema>,
    },
}

impl RestorePlan {
    /// Compares a checkpoint, none for a start afresh, with the operators of a program.
    pub fn new(
        options: &RunOptions,
        checkpoint: Option<&CheckpointMetadata>,
        program: &BTreeMap<String, StateSchema>,
    ) -> RestorePlan {
        let none = Vec::new();
        let states = checkpoint.map_or(&none, |checkpoint| &checkpoint.operators);
        let there: BTreeMap<&str, _> = states.iter().map(|state| (&*state.uid, state)).collect();
        let mut uids: Vec<&str> = there.keys().copied().collect();
        uids.extend(program.keys().map(String::as_str).filter(|uid| !there.contains_key(uid)));
        uids.sort_unstable();
        let operators = uids.iter().map(|uid| operator(uid, there.get(uid).copied(), program));
        RestorePlan {
            job: options.job.clone(),
            workers: options.workers,
            key_groups: options.key_groups.count(),
            allow_non_restored_state: options.allow_non_restored_state,
            restored: checkpoint.map(|checkpoint| Restored {
                checkpoint: checkpoint.id,
                job: checkpoint.job.clone(),
                epoch: checkpoint.epoch,
                origin: checkpoint.origin,
                completed_ms: checkpoint.completed_ms,
                workers: checkpoint.workers,
                input_ended: checkpoint.input_ended,
                bytes: checkpoint.bytes_total,
            }),
            operators: operators.collect(),
        }
    }

    /// Whether the job would start.
    ///
    /// # Errors
    ///
    /// The one with which it would not: `Incompatible`.
    pub fn check(&self) -> Result<()> {
        let Some(restored) = &self.restored else { return Ok(()) };
        let is_unclaimed = |operator: &&OperatorPlan| operator.difference == Difference::Unclaimed;
        let changed = self.operators.iter().find_map(|operator| match &operator.difference {
            Difference::Changed { checkpoint, program } => {
                changed(&operator.uid, checkpoint, program)
            }
            _ => None,
        });
        let left: Vec<_> = self.operators.iter().filter(is_unclaimed).map(named).collect();
        let is_left = !left.is_empty() && !self.allow_non_restored_state;
        let reason = changed.or_else(|| {
            let program = self.operators.iter().filter(|operator| !is_unclaimed(operator));
            is_left.then(|| unclaimed(&left.join(", "), program.map(|operator| &*operator.uid)))
        });
        reason.map_or(Ok(()), |reason| Err(Error::Incompatible { id: restored.checkpoint, reason }))
    }
}

fn named(operator: &OperatorPlan) -> String {
    format!("{} {:?}", operator.kind, operator.uid)
}

fn operator(
    uid: &str,
    state: Option<&OperatorStateMetadata>,
    program: &BTreeMap<String, StateSchema>,
) -> OperatorPlan {
    let ours = program.get(uid);
    let difference = match (state, ours) {
        (None, _) => Difference::New,
        (Some(_), None) => Difference::Unclaimed,
        (Some(state), Some(ours)) => match ours.compare(&state.schema) {
            Compatibility::Same => Difference::Matched,
            Compatibility::Migrates => Difference::Migrates,
            Compatibility::Changed { .. } => {
                let (checkpoint, program) = (state.schema.clone(), ours.clone());
                Difference::Changed { checkpoint: checkpoint.into(), program: program.into() }
            }
        },
    };
    let kind = ours.or(state.map(|state| &state.schema)).map(|schema| schema.kind);
    OperatorPlan {
        uid: uid.to_owned(),
        kind: kind.unwrap_or_default(),
        difference,
        splits: state.map_or(0, |state| state.splits.len()),
        segments: state.map_or(0, |state| state.segments.len()),
        bytes: state.map_or(0, |state| state.segments.iter().map(|s| s.bytes).sum()),
    }
}

/// Why the state of operators that the program lacks is not left behind.
pub(crate) fn unclaimed<'a>(what: &str, program: impl Iterator<Item = &'a str>) -> String {
    let there = program.map(|uid| format!("{uid:?}")).collect::<Vec<_>>().join(", ");
    format!(
        "it has state of {what}, which the program lacks; the program has {there}; bring the \
         operator back, drop its state with --allow-non-restored-state, or start afresh with \
         --restore none"
    )
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Difference::Matched => "matched",
            Difference::Migrates => "migrates",
            Difference::New => "new",
            Difference::Unclaimed => "unclaimed",
            Difference::Changed { .. } => "changed",
        })
    }
}

/// A table for people.
impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RestorePlan { job, workers, key_groups, restored, operators, .. } = self;
        match restored {
            None => writeln!(f, "job {job} would start afresh")?,
            Some(restored) => {
                let Restored { checkpoint, epoch, completed_ms, bytes, .. } = restored;
                let date = date(*completed_ms);
                write!(f, "job {job} would restore checkpoint {checkpoint}")?;
                if restored.job != *job {
                    write!(f, " of job {}", restored.job)?;
                }
                let were = restored.workers;
                writeln!(f, ": {epoch}, {date}, {bytes} bytes, by {were} workers")?;
                if restored.input_ended {
                    writeln!(f, "all input had been read: nothing would be left to do")?;
                }
            }
        }
        writeln!(f, "workers {workers}, key groups {key_groups}")?;
        let width = operators.iter().map(|operator| operator.uid.chars().count()).max();
        let width = width.unwrap_or(0).max("operator".len());
        let (kind, restore) = ("kind", "restore");
        writeln!(f, "  {:width$}  {kind:14}  {restore:9}  splits         bytes", "operator")?;
        for OperatorPlan { uid, kind, difference, splits, bytes, .. } in operators {
            let kind = kind.to_string();
            writeln!(f, "  {uid:width$}  {kind:14}  {difference:9}  {splits:6}  {bytes:12}")?;
            if let Difference::Changed { checkpoint, program } = difference {
                writeln!(f, "    checkpoint: {checkpoint}")?;
                writeln!(f, "    program:    {program}")?;
            }
        }
        match self.check() {
            Ok(()) => write!(f, "it would start"),
            Err(_) => write!(f, "it would not start"),
        }
    }
}

impl Run {
    /// What this run would restore, with the operators that were built on it; none of a run that
    /// was opened to be run.
    pub fn plan(&self) -> Option<RestorePlan> {
        let planned = self.planned.as_ref()?;
        let program = planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let checkpoint = self.restored.map(|_| &self.start);
        Some(RestorePlan::new(&self.options, checkpoint, &program))
    }

    /// Whether the run is not going to start: [`Run::open_to_plan`].
    pub fn is_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// Takes note of an operator, in a run that is only planned.
    pub(crate) fn plan_operator(&self, uid: &str, schema: &StateSchema) -> bool {
        let Some(planned) = &self.planned else { return false };
        let mut program = planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        program.insert(uid.to_owned(), schema.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixture;

    fn options() -> RunOptions {
        RunOptions::new("wordcount", "memory:///plan").unwrap()
    }

    fn plan(change: impl FnOnce(&mut BTreeMap<String, StateSchema>)) -> RestorePlan {
        let metadata = fixture();
        let operators = metadata.operators.iter();
        let mut program =
            operators.map(|state| (state.uid.clone(), state.schema.clone())).collect();
        change(&mut program);
        RestorePlan::new(&options(), Some(&metadata), &program)
    }

    #[test]
    fn a_program_that_fits_would_start() {
        let plan = plan(|_| {});
        plan.check().unwrap();
        assert!(plan.operators.iter().all(|o| o.difference == Difference::Matched), "{plan}");
        let lines = &plan.operators[2];
        assert_eq!((&*lines.uid, lines.splits, lines.bytes), ("lines", 1, 0));
        let count = &plan.operators[0];
        assert_eq!((&*count.uid, count.segments, count.bytes), ("count", 2, 32768));
    }

    #[test]
    fn what_is_in_one_of_the_two_alone_is_named() {
        let grown = plan(|program| drop(program.insert("a".into(), StateSchema::default())));
        grown.check().expect("a new operator starts empty");
        assert_eq!(
            (&*grown.operators[0].uid, &grown.operators[0].difference),
            ("a", &Difference::New)
        );
        let shrunk = plan(|program| drop(program.remove("count")));
        let error = shrunk.check().unwrap_err().to_string();
        assert!(error.contains("\"count\", which the program lacks"), "{error}");
        assert!(shrunk.to_string().ends_with("it would not start"), "{shrunk}");
        RestorePlan { allow_non_restored_state: true, ..shrunk }.check().expect("it is allowed");
    }

    #[test]
    fn a_changed_schema_shows_both() {
        let plan = plan(|program| program.get_mut("count").unwrap().value_type = "i32".into());
        let text = plan.to_string();
        assert!(text.contains("checkpoint: keyed state of (String, u64)"), "{text}");
        assert!(text.contains("program:    keyed state of (String, i32)"), "{text}");
        assert!(plan.check().unwrap_err().to_string().contains("i32"));
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["operators"][0]["difference"]["changed"]["program"]["value_type"], "i32");
    }

    #[test]
    fn a_start_afresh_has_only_new_operators() {
        let program = BTreeMap::from([("count".into(), StateSchema::default())]);
        let plan = RestorePlan::new(&options(), None, &program);
        plan.check().unwrap();
        assert_eq!(plan.operators[0].difference, Difference::New);
        assert!(plan.to_string().contains("would start afresh"), "{plan}");
    }
}
