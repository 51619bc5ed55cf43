//! Keys and values of state as JSON, or as bytes where nothing but the program can read them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use highwater::checkpoint::metadata::StateSchema;
use highwater::checkpoint::{Error, Result};
use serde_json::Value;

/// Bytes that an error shows of an entry: enough to find it again.
const SHOWN_MAX: usize = 64;

/// Shows entries, and says once of each kind of them why it cannot.
#[derive(Debug, Default)]
pub(super) struct Entries {
    said: BTreeSet<String>,
}

impl Entries {
    /// A key of the operator `uid`.
    pub(super) fn key(&mut self, uid: &str, schema: &StateSchema, key: &[u8]) -> Result<Value> {
        self.shown(format!("the keys of {uid}"), schema.key_to_json(key), key)
    }

    /// A value of the operator `uid`.
    pub(super) fn value(&mut self, uid: &str, schema: &StateSchema, value: &[u8]) -> Result<Value> {
        self.shown(format!("the values of {uid}"), schema.value_to_json(value), value)
    }

    fn shown(&mut self, what: String, decoded: Result<Value>, bytes: &[u8]) -> Result<Value> {
        match decoded {
            Ok(value) => Ok(value),
            Err(Error::Invalid { reason }) => {
                let note = format!("{what} are shown in hexadecimal: {reason}");
                if !self.said.contains(&note) {
                    eprintln!("note: {note}");
                    self.said.insert(note);
                }
                Ok(Value::from(hexadecimal(bytes)))
            }
            Err(Error::Corrupt { object, reason }) => {
                let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
                let more = if shown.len() < bytes.len() { ".." } else { "" };
                let object = format!("{object} among {what}, {}{more},", hexadecimal(shown));
                Err(Error::Corrupt { object, reason })
            }
            Err(other) => Err(other),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A string takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
