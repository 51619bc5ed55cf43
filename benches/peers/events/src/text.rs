//! Texts that live as long as the process: a pointer wide, and free to copy, as in the project's own
//! benchmarks.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(&'static &'static str);

impl Text {
    /// Keeps it for ever.
    pub fn of(text: String) -> Text {
        let text: &'static str = Box::leak(text.into_boxed_str());
        Text(Box::leak(Box::new(text)))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

/// By its length and its first and last eight bytes.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        state.write_u64(bytes.len() as u64);
        match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                state.write_u64(u64::from_le_bytes(*first));
                state.write_u64(u64::from_le_bytes(*last));
            }
            _ => state.write_u64(bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// Only between processes, of which there is one.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        String::deserialize(deserializer).map(Text::of)
    }
}
