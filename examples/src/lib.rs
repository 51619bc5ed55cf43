//! What the programs in `examples/` share: how their input says when something was, and how what they
//! have written is read again to be shown.

use std::time::UNIX_EPOCH;
use std::{fs, io, path::Path};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Milliseconds since the Unix epoch, of a field such as `2013-01-01T10:00:00Z`.
///
/// # Errors
///
/// If it is no time in UTC, or one before 1970.
pub fn utc_ms<'de, D: Deserializer<'de>>(field: D) -> Result<i64, D::Error> {
    let text = String::deserialize(field)?;
    let time = humantime::parse_rfc3339(&text)
        .map_err(|error| D::Error::custom(format!("{text:?} is no time in UTC: {error}")))?;
    let since = time.duration_since(UNIX_EPOCH).map_err(D::Error::custom)?;
    i64::try_from(since.as_millis()).map_err(D::Error::custom)
}

/// An event time as it is read by people: `2013-01-01T10:00:00Z`.
pub fn utc(at_ms: i64) -> String {
    let since = std::time::Duration::from_millis(at_ms.max(0).unsigned_abs());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// All rows that a sink of files has written to a directory; not those of its hidden files, which are
/// not committed.
///
/// # Errors
///
/// If a file cannot be read.
pub fn rows(directory: &Path) -> io::Result<Vec<String>> {
    let mut rows = Vec::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        if part.extension().is_some_and(|extension| extension == "csv") {
            rows.extend(fs::read_to_string(part)?.lines().map(str::to_owned));
        }
    }
    Ok(rows)
}

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
