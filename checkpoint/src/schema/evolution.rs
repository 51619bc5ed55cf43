//! The version of a state type, and how values of older versions become values of it.

use std::any::{Any, TypeId, type_name};
use std::rc::Rc;

use serde::{Serialize, de::DeserializeOwned};

use super::{Readable, TypeShape, trace};
use crate::error::BoxError;
use crate::state::{Verified, serde_decoder};

/// The version that values are written in, and migrations from older ones.
///
/// A migration makes what the next one reads, or the program's own type: 1 to 2 to 3, or 1 to 3
/// directly. Keys are not migrated.
#[derive(Default)]
pub struct Evolution {
    version: Option<u32>,
    steps: Vec<Step>,
    /// What is contradictory; said when the operator is built.
    error: Option<String>,
}

/// An older version that a program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderVersion {
    /// Its number.
    pub version: u32,
    /// Its type then.
    pub value_type: String,
    /// What that looks like.
    pub value_shape: Option<TypeShape>,
}

struct Step {
    older: OlderVersion,
    makes: TypeId,
    made_type: &'static str,
    /// An [`Open`] of what it makes.
    open: Box<dyn Any>,
}

/// Decodes, and migrates.
pub type Migrate<V> = Box<dyn Fn(Verified<'_>) -> Result<V, BoxError>>;

/// Gives the decoder of what a codec of that name wrote.
type Open<V> = Rc<dyn Fn(&str) -> Option<Migrate<V>>>;

impl Evolution {
    /// Version 1, and nothing before it.
    pub fn new() -> Evolution {
        Evolution::default()
    }

    /// The version that is written.
    pub fn version(&self) -> u32 {
        self.version.unwrap_or(1)
    }

    /// The older versions that are read.
    pub fn older(&self) -> impl Iterator<Item = &OlderVersion> {
        self.steps.iter().map(|step| &step.older)
    }

    /// Sets the version of the type.
    ///
    /// *Default*: 1. *Range*: at least 1, and above that of every migration.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        if version == 0 {
            self.refuse("the schema version is 0, and the least is 1".to_owned());
        }
        self.version = Some(version);
        self
    }

    /// Reads values of `version`, of the type `O` then, through `migrate`.
    ///
    /// Migrations are given in the order of their versions.
    #[must_use]
    pub fn migrate_from<O, V>(
        mut self,
        version: u32,
        migrate: impl Fn(O) -> Result<V, BoxError> + 'static,
    ) -> Self
    where
        O: Serialize + DeserializeOwned + 'static,
        V: 'static,
    {
        if let Some(before) = self.steps.last().map(|step| step.older.version)
            && before >= version
        {
            self.refuse(format!(
                "a migration from version {version} follows one from version {before}; they are \
                 given in the order of versions, once each"
            ));
        }
        let migrate = Rc::new(migrate);
        for step in &mut self.steps {
            if let Some(open) = step.open.downcast_ref::<Open<O>>() {
                let (open, migrate) = (Rc::clone(open), Rc::clone(&migrate));
                let open: Open<V> = Rc::new(move |codec| {
                    let (decode, migrate) = (open(codec)?, Rc::clone(&migrate));
                    Some(Box::new(move |bytes| migrate(decode(bytes)?)))
                });
                step.leads_to(open);
            }
        }
        let open: Open<V> = Rc::new(move |codec| {
            let (decode, migrate) = (serde_decoder::<O>(codec)?, Rc::clone(&migrate));
            Some(Box::new(move |bytes| migrate(decode(bytes)?)))
        });
        let mut step = Step {
            older: OlderVersion {
                version,
                value_type: type_name::<O>().to_owned(),
                value_shape: trace::<O>(Readable::ByPrograms).ok(),
            },
            makes: TypeId::of::<V>(),
            made_type: "",
            open: Box::new(()),
        };
        step.leads_to(open);
        self.steps.push(step);
        self
    }

    fn refuse(&mut self, reason: String) {
        self.error.get_or_insert(reason);
    }

    /// What is contradictory in it, for state of `V`.
    pub(crate) fn check<V: 'static>(&self) -> Result<(), String> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let ours = self.version();
        for Step { older: OlderVersion { version, .. }, makes, made_type, .. } in &self.steps {
            if *version >= ours {
                return Err(format!(
                    "a migration from version {version} is given, and the program's state is of \
                     version {ours}; set its schema_version above {version}"
                ));
            }
            if *makes != TypeId::of::<V>() {
                return Err(format!(
                    "the migration from version {version} leads to {made_type}, which is neither \
                     the state, {}, nor what a later migration reads",
                    type_name::<V>()
                ));
            }
        }
        Ok(())
    }

    /// What makes a `V` of what the codec named `codec` wrote in `version`.
    pub(crate) fn migrate<V: 'static>(&self, version: u32, codec: &str) -> Option<Migrate<V>> {
        let step = self.steps.iter().find(|step| step.older.version == version)?;
        step.open.downcast_ref::<Open<V>>()?(codec)
    }
}

impl Step {
    fn leads_to<V: 'static>(&mut self, open: Open<V>) {
        (self.makes, self.made_type) = (TypeId::of::<V>(), type_name::<V>());
        self.open = Box::new(open);
    }
}

impl std::fmt::Debug for Evolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let older: Vec<_> = self.older().map(|older| older.version).collect();
        f.debug_struct("Evolution")
            .field("version", &self.version())
            .field("older", &older)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::BINCODE;

    fn read<V: 'static>(evolution: &Evolution, version: u32, bytes: &[u8]) -> Result<V, BoxError> {
        let migrate = evolution.migrate::<V>(version, BINCODE).expect("there is a migration");
        migrate(Verified::new(bytes))
    }

    #[test]
    fn migrations_chain_or_lead_on_directly() {
        let (one, two) = (bincode::serialize(&7u8).unwrap(), bincode::serialize(&7u16).unwrap());
        let chain = Evolution::new()
            .schema_version(3)
            .migrate_from(1, |old: u8| Ok(u16::from(old) * 10))
            .migrate_from(2, |old: u16| Ok(format!("{old}!")));
        chain.check::<String>().unwrap();
        assert_eq!(read::<String>(&chain, 1, &one).unwrap(), "70!");
        assert_eq!(read::<String>(&chain, 2, &two).unwrap(), "7!");
        let direct = Evolution::new()
            .schema_version(3)
            .migrate_from(1, |old: u8| Ok(format!("{old}?")))
            .migrate_from(2, |old: u16| Ok(format!("{old}!")));
        direct.check::<String>().unwrap();
        assert_eq!(read::<String>(&direct, 1, &one).unwrap(), "7?");
        assert!(direct.migrate::<String>(1, "morse").is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        let to_text = |old: u8| Ok(old.to_string());
        let refused = |evolution: Evolution| evolution.check::<String>().unwrap_err();
        let same = refused(Evolution::new().migrate_from(1, to_text));
        assert!(same.contains("from version 1 is given, and the program's state is of version 1"));
        let newer = refused(Evolution::new().schema_version(2).migrate_from(3, to_text));
        assert!(newer.contains("set its schema_version above 3"), "{newer}");
        let twice = Evolution::new().schema_version(2).migrate_from(1, to_text);
        let twice = refused(twice.migrate_from(1, to_text));
        assert!(twice.contains("from version 1 follows one from version 1"), "{twice}");
        assert!(refused(Evolution::new().schema_version(0)).contains("the least is 1"));
        let other = Evolution::new().schema_version(2).migrate_from(1, |old: u8| Ok(old));
        let other = refused(other);
        assert!(other.contains("from version 1 leads to u8, which is neither"), "{other}");
    }
}
