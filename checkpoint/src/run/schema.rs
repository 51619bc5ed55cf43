//! Whether the restored state of an operator is of the types that the program has now.

use super::Run;
use crate::error::Result;
use crate::metadata::{Compatibility, OperatorStateMetadata, StateKind, StateSchema};

impl Run {
    /// What the checkpoint has of operator `uid`.
    pub(crate) fn restored_state(&self, uid: &str) -> Option<&OperatorStateMetadata> {
        self.start.operators.iter().find(|state| state.uid == uid)
    }

    /// Checks that the state of operator `uid`, if the checkpoint has any, can be read by a program
    /// whose schema is `ours`; returns whether its entries must be written anew.
    pub(crate) fn check_schema(&self, uid: &str, ours: &StateSchema) -> Result<bool> {
        let Some(state) = self.restored_state(uid) else { return Ok(false) };
        match changed(uid, &state.schema, ours) {
            Some(reason) => Err(self.incompatible(reason)),
            None => Ok(ours.compare(&state.schema) == Compatibility::Migrates),
        }
    }
}

/// Why state of another schema is not restored; none if it is.
pub(super) fn changed(uid: &str, theirs: &StateSchema, ours: &StateSchema) -> Option<String> {
    let Compatibility::Changed { reason } = ours.compare(theirs) else { return None };
    let is_keyed = [theirs.kind, ours.kind] == [StateKind::Keyed; 2];
    let migrate = if is_keyed && theirs.version <= ours.version {
        let above = (theirs.version + 1).max(ours.version);
        format!("give it schema_version({above}) and migrate_from({}, ..), ", theirs.version)
    } else {
        String::new()
    };
    Some(format!(
        "operator {uid:?} has changed: {reason}; the checkpoint holds {theirs}, the program has \
         {ours}; {migrate}bring the old type back, or start afresh with --restore none"
    ))
}
