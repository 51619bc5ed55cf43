//! What is recorded of the types of an operator's state, and whether a program can go on from it.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::StateKind;
use crate::error::{Error, Result};
use crate::schema::{
    Evolution, Fitting, OlderVersion, Readable, TypeShape, differences, to_json, trace,
};
use crate::state::{ABOMONATION, BINCODE, Codec, MESSAGE_PACK};

/// The name of what the state of sources and sinks is encoded in: it is part of the metadata.
pub const JSON: &str = "json";

/// What an operator's state consists of. Of a checkpoint: what was written. Of a program: what it
/// reads and writes, and which older versions it has migrations for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSchema {
    /// Source, keyed operator, sink or list.
    pub kind: StateKind,
    /// Rust type of the key, or of the split: for people, and for types without a shape.
    pub key_type: String,
    /// Rust type of the value, or of the offset, the committable or the item.
    pub value_type: String,
    /// How entries are encoded: `bincode-1`, `messagepack`, `abomonation-..` or `json`.
    pub codec: String,
    /// Version that the user gives to the type of the value; 1 unless said.
    pub version: u32,
    /// What the key looks like; none if it has no shape, and in checkpoints of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_shape: Option<Box<TypeShape>>,
    /// What the value looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_shape: Option<Box<TypeShape>>,
    /// Older versions that the program reads; of a checkpoint, none.
    #[serde(skip)]
    pub migrates: Box<[OlderVersion]>,
}

/// Whether a program can go on from a checkpoint's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// As it is.
    Same,
    /// Every entry becomes another, by a migration, another codec or by the names of its fields;
    /// the first snapshot holds them all.
    Migrates,
    /// No.
    Changed {
        /// What differs, both sides of it.
        reason: String,
    },
}

impl StateSchema {
    /// That of keyed state, as `evolution` says.
    pub fn keyed<K, V, C: Codec<K> + Codec<V>>(evolution: &Evolution) -> StateSchema {
        StateSchema {
            kind: StateKind::Keyed,
            key_type: std::any::type_name::<K>().to_owned(),
            value_type: std::any::type_name::<V>().to_owned(),
            codec: <C as Codec<V>>::NAME.to_owned(),
            version: evolution.version(),
            key_shape: <C as Codec<K>>::shape().ok().map(Box::new),
            value_shape: <C as Codec<V>>::shape().ok().map(Box::new),
            migrates: evolution.older().cloned().collect(),
        }
    }

    /// That of what the metadata itself holds: splits of `S` at offsets of `O`.
    pub fn source<S: DeserializeOwned, O: DeserializeOwned>() -> StateSchema {
        StateSchema {
            kind: StateKind::Source,
            key_type: std::any::type_name::<S>().to_owned(),
            value_type: std::any::type_name::<O>().to_owned(),
            key_shape: trace::<S>(Readable::ByPeople).ok().map(Box::new),
            value_shape: trace::<O>(Readable::ByPeople).ok().map(Box::new),
            ..StateSchema::in_json()
        }
    }

    /// That of committables of `T`.
    pub fn sink<T: DeserializeOwned>() -> StateSchema {
        StateSchema {
            kind: StateKind::Sink,
            value_type: std::any::type_name::<T>().to_owned(),
            value_shape: trace::<T>(Readable::ByPeople).ok().map(Box::new),
            ..StateSchema::in_json()
        }
    }

    /// That of a list of items of `I`.
    pub fn list<I: DeserializeOwned>() -> StateSchema {
        StateSchema { kind: StateKind::List, ..StateSchema::sink::<I>() }
    }

    fn in_json() -> StateSchema {
        StateSchema { codec: JSON.to_owned(), version: 1, ..StateSchema::default() }
    }

    /// What a checkpoint records of it.
    #[must_use]
    pub fn recorded(self) -> StateSchema {
        StateSchema { migrates: Box::default(), ..self }
    }

    /// A key of its segments as JSON, without the program's type.
    ///
    /// # Errors
    ///
    /// `Invalid` if that is not possible, with the reason; `Corrupt` if it is no such key.
    pub fn key_to_json(&self, key: &[u8]) -> Result<Value> {
        // They are not as in memory, ever.
        let codec = if self.codec.starts_with(ABOMONATION) { BINCODE } else { &self.codec };
        to_json(shape(&self.key_type, self.key_shape.as_deref())?, codec, key)
    }

    /// As [`key_to_json`](Self::key_to_json), of a value.
    ///
    /// # Errors
    ///
    /// As [`key_to_json`](Self::key_to_json).
    pub fn value_to_json(&self, value: &[u8]) -> Result<Value> {
        to_json(shape(&self.value_type, self.value_shape.as_deref())?, &self.codec, value)
    }

    /// Whether a program with this schema can go on from state of the schema `theirs`.
    pub fn compare(&self, theirs: &StateSchema) -> Compatibility {
        match self.difference(theirs) {
            Err(reason) => Compatibility::Changed { reason },
            Ok(true) => Compatibility::Migrates,
            Ok(false) => Compatibility::Same,
        }
    }

    /// What makes it impossible, or whether entries must be written anew.
    fn difference(&self, theirs: &StateSchema) -> std::result::Result<bool, String> {
        if self.kind != theirs.kind {
            return Err(both("it is a", &theirs.kind, &self.kind));
        }
        let fitting = fitting(&theirs.codec);
        let serde_codecs = [BINCODE, MESSAGE_PACK];
        let is_other_codec = self.codec != theirs.codec;
        if is_other_codec && (self.codec == JSON || !serde_codecs.contains(&theirs.codec.as_str()))
        {
            return Err(both("the codec is", &theirs.codec, &self.codec));
        }
        // Segments are folded by the bytes of keys, so nothing may be missing in one.
        let of_keys = if self.kind == StateKind::Keyed { Fitting::ByPosition } else { fitting };
        check(
            "the key",
            (&theirs.key_type, theirs.key_shape.as_deref()),
            (&self.key_type, self.key_shape.as_deref()),
            of_keys,
        )?;
        let written = (theirs.value_type.as_str(), theirs.value_shape.as_deref());
        if theirs.version == self.version {
            check("the value", written, (&self.value_type, self.value_shape.as_deref()), fitting)?;
            let fingerprint =
                |schema: &StateSchema| schema.value_shape.as_deref().map(TypeShape::fingerprint);
            let is_other_shape = fingerprint(self)
                .is_some_and(|ours| fingerprint(theirs).is_some_and(|theirs| theirs != ours));
            return Ok(is_other_codec || is_other_shape);
        }
        if theirs.version > self.version {
            let (theirs, ours) = (theirs.version, self.version);
            return Err(both("its version is", &theirs, &format!("{ours}, which is older")));
        }
        let Some(older) = self.migrates.iter().find(|older| older.version == theirs.version) else {
            let ours = format!("{}, and no migration from {}", self.version, theirs.version);
            return Err(both("its version is", &theirs.version, &ours));
        };
        let what = format!("the value that is migrated from version {}", older.version);
        check(&what, written, (&older.value_type, older.value_shape.as_ref()), fitting)?;
        Ok(true)
    }
}

fn shape<'s>(name: &str, shape: Option<&'s TypeShape>) -> Result<&'s TypeShape> {
    shape.ok_or_else(|| {
        Error::invalid(format!(
            "entries of {name} are bytes without the program: the type does not always look the \
             same to serde, or the checkpoint is of a build that did not record what it looks like"
        ))
    })
}

fn fitting(codec: &str) -> Fitting {
    if codec == MESSAGE_PACK || codec == JSON { Fitting::ByName } else { Fitting::ByPosition }
}

fn both(what: &str, theirs: &dyn fmt::Display, ours: &dyn fmt::Display) -> String {
    format!("{what} {theirs} in the checkpoint, {ours} in the program")
}

/// Differences that are shown: who changed more will not read on.
const SHOWN_MAX: usize = 5;

/// By shapes if both are known, by names if not.
fn check(
    what: &str,
    (written_type, written): (&str, Option<&TypeShape>),
    (read_type, read): (&str, Option<&TypeShape>),
    fitting: Fitting,
) -> std::result::Result<(), String> {
    let (Some(written), Some(read)) = (written, read) else {
        if written_type == read_type {
            return Ok(());
        }
        return Err(both(&format!("{what} is"), &written_type, &read_type));
    };
    let found = differences(written, read, fitting);
    if found.is_empty() {
        return Ok(());
    }
    let mut shown: Vec<_> = found.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if found.len() > SHOWN_MAX {
        shown.push(format!("{} more", found.len() - SHOWN_MAX));
    }
    Err(format!("{what} differs ({})", shown.join("; ")))
}

/// What it is, its version, and its fingerprint.
impl fmt::Display for StateSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str, shape: Option<&TypeShape>| {
            shape.map_or_else(|| name.to_owned(), ToString::to_string)
        };
        let key = text(&self.key_type, self.key_shape.as_deref());
        let value = text(&self.value_type, self.value_shape.as_deref());
        match self.kind {
            StateKind::Keyed => write!(f, "keyed state of ({key}, {value})")?,
            StateKind::Source => write!(f, "a source of {key} at {value}")?,
            StateKind::Sink => write!(f, "a sink of {value}")?,
            StateKind::List => write!(f, "a list of {value}")?,
        }
        write!(f, " in {}, version {}", self.codec, self.version)?;
        match &self.value_shape {
            Some(shape) => write!(f, ", fingerprint {}", shape.fingerprint()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Bincode, MessagePack};

    fn keyed<V, C>() -> StateSchema
    where
        V: Serialize + DeserializeOwned,
        C: Codec<u64> + Codec<V>,
    {
        StateSchema::keyed::<u64, V, C>(&Evolution::new())
    }

    fn reason(ours: &StateSchema, theirs: &StateSchema) -> String {
        match ours.compare(theirs) {
            Compatibility::Changed { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// As builds wrote it that recorded names alone.
    fn by_name(schema: &StateSchema) -> StateSchema {
        StateSchema { key_shape: None, value_shape: None, ..schema.clone() }
    }

    #[test]
    fn what_was_recorded_by_names_alone_is_compared_by_them() {
        let ours = keyed::<Vec<u64>, Bincode>();
        assert_eq!(ours.compare(&by_name(&ours)), Compatibility::Same);
        let theirs = by_name(&keyed::<Vec<i64>, Bincode>());
        let expected = "the value is alloc::vec::Vec<i64> in the checkpoint, alloc::vec::Vec<u64> in \
                        the program";
        assert_eq!(reason(&ours, &theirs), expected);
        let text = ours.value_to_json(&[0; 8]).unwrap().to_string();
        assert_eq!(text, "[]");
        let text = by_name(&ours).value_to_json(&[0; 8]).unwrap_err().to_string();
        assert!(text.starts_with("entries of alloc::vec::Vec<u64> are bytes"), "{text}");
    }

    #[test]
    fn kinds_codecs_and_keys_must_fit() {
        let ours = keyed::<u64, Bincode>();
        let source = StateSchema::source::<u64, u64>();
        assert_eq!(
            reason(&ours, &source),
            "it is a source in the checkpoint, keyed operator in the program"
        );
        assert_eq!(ours.compare(&keyed::<u64, MessagePack>()), Compatibility::Migrates);
        let memory = StateSchema { codec: "abomonation-0.7 of another".into(), ..ours.clone() };
        assert_eq!(
            reason(&ours, &memory),
            "the codec is abomonation-0.7 of another in the checkpoint, bincode-1 in the program"
        );
        let other = StateSchema::keyed::<i64, u64, Bincode>(&Evolution::new());
        assert_eq!(
            reason(&ours, &other),
            "the key differs (i64 in the checkpoint, u64 in the program)"
        );
    }

    #[test]
    fn versions_need_migrations_and_never_go_back() {
        let evolve = || Evolution::new().schema_version(2).migrate_from(1, |old: u32| Ok(old));
        let new = StateSchema::keyed::<u64, u64, Bincode>(&evolve());
        assert_eq!(new.compare(&keyed::<u32, Bincode>()), Compatibility::Migrates);
        assert_eq!(new.compare(&keyed::<u32, MessagePack>()), Compatibility::Migrates);
        assert_eq!(new.compare(&new.clone().recorded()), Compatibility::Same);
        assert!(reason(&new, &keyed::<u64, Bincode>()).starts_with("the value that is migrated"));
        let old = keyed::<u64, Bincode>();
        assert_eq!(
            reason(&old, &new),
            "its version is 2 in the checkpoint, 1, which is older in the program"
        );
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let schema = StateSchema::keyed::<String, Option<(u8, i8)>, MessagePack>(&Evolution::new());
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<StateSchema>(&text).unwrap(), schema);
        assert!(schema.to_string().starts_with(
            "keyed state of (String, Option<(u8, i8)>) in messagepack, version 1, fingerprint "
        ));
    }
}
