//! The version of the records of one side that a join keeps, and how older ones become it: joins keep
//! them in different types.

use std::rc::Rc;

use highwater_checkpoint::BoxError;
use highwater_checkpoint::schema::Evolution;
use highwater_checkpoint::state::typed::Retention;

use super::interval::Kept;
use crate::state::{Forever, Ttl};
use crate::stream::Data;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Evolved {
    /// Of records alone.
    pub(crate) plain: Evolution,
    /// With a time to live.
    pub(crate) timed: Evolution,
    /// Of interval joins.
    pub(crate) matched: Evolution,
}

/// Those of both sides.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub(crate) left: Evolved,
    pub(crate) right: Evolved,
}

type OfForever<V> = <Forever as Retention>::Stored<V>;
type OfTtl<V> = <Ttl as Retention>::Stored<V>;

impl Evolved {
    pub(crate) fn schema_version(self, version: u32) -> Evolved {
        Evolved {
            plain: self.plain.schema_version(version),
            timed: self.timed.schema_version(version),
            matched: self.matched.schema_version(version),
        }
    }

    pub(crate) fn migrate_from<O: Data, N: Data>(
        self,
        version: u32,
        migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
    ) -> Evolved {
        let migrate = Rc::new(migrate);
        let plain = Rc::clone(&migrate);
        let timed = Rc::clone(&migrate);
        Evolved {
            plain: self
                .plain
                .migrate_from(version, move |old: OfForever<O>| Forever::try_map(old, &*plain)),
            timed: self
                .timed
                .migrate_from(version, move |old: OfTtl<O>| Ttl::try_map(old, &*timed)),
            matched: self.matched.migrate_from(version, move |old: OfForever<Kept<O>>| {
                Forever::try_map(old, |kept| kept.try_map(&*migrate))
            }),
        }
    }

    /// Of what is kept as long as that.
    pub(crate) fn of<M: Retention>(self, retention: M) -> Evolution {
        if retention.ttl().is_some() { self.timed } else { self.plain }
    }
}
