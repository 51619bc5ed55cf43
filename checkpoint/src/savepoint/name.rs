//! Names of savepoints.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Characters of the longest name: with it a path stays below what file systems take.
const CHARACTERS_MAX: usize = 100;

/// The name of a savepoint, unique within its job.
///
/// A letter first, then letters and digits of ASCII, `-`, `_` and `.`, up to 100 characters in all.
/// So it is one segment of a path as it is, and is neither the id of a checkpoint nor a path;
/// `latest` and `none` mean something else wherever a name may stand, and are refused.
///
/// ```
/// use highwater_checkpoint::savepoint::SavepointName;
///
/// let name: SavepointName = "before-upgrade.2".parse()?;
/// assert_eq!(name.as_str(), "before-upgrade.2");
/// assert!("42".parse::<SavepointName>().is_err());
/// # Ok::<(), highwater_checkpoint::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SavepointName(String);

impl SavepointName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SavepointName {
    type Err = Error;

    fn from_str(name: &str) -> Result<SavepointName, Error> {
        let refuse = |why: &str| {
            Err(Error::invalid(format!(
                "{name:?} cannot name a savepoint: {why}; give a letter, then letters, digits, \
                 `-`, `_` and `.`, at most {CHARACTERS_MAX} in all"
            )))
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name == "latest" || name == "none" {
            return refuse("it means something else to --restore");
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return refuse("it does not begin with a letter");
        }
        if let Some(c) = name.chars().find(|c| !is_allowed(*c)) {
            return refuse(&format!("it has the character {c:?}"));
        }
        if name.len() > CHARACTERS_MAX {
            return refuse(&format!("it has {} characters", name.len()));
        }
        Ok(SavepointName(name.to_owned()))
    }
}

impl TryFrom<String> for SavepointName {
    type Error = Error;

    fn try_from(name: String) -> Result<SavepointName, Error> {
        name.parse()
    }
}

impl From<SavepointName> for String {
    fn from(name: SavepointName) -> String {
        name.0
    }
}

impl fmt::Display for SavepointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path_and_nothing_else() {
        let longest = "a".repeat(CHARACTERS_MAX);
        for name in ["a", "before-upgrade", "v1.2_rc", "Latest", longest.as_str()] {
            assert_eq!(name.parse::<SavepointName>().unwrap().as_str(), name);
        }
        let longer = "a".repeat(CHARACTERS_MAX + 1);
        for (name, why) in [
            ("", "begin with a letter"),
            ("42", "begin with a letter"),
            ("..", "begin with a letter"),
            ("a/b", "'/'"),
            ("a b", "' '"),
            ("caf\u{e9}", "'\u{e9}'"),
            ("latest", "--restore"),
            ("none", "--restore"),
            (longer.as_str(), "101 characters"),
        ] {
            let error = name.parse::<SavepointName>().unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
            let json = serde_json::to_string(name).unwrap();
            serde_json::from_str::<SavepointName>(&json).expect_err("refused in a document too");
        }
    }
}
