//! The version of what windows have come to, and how older ones become it: each kind of windows keeps
//! it in another type, and which kind it is is known when the operator is built.

use std::rc::Rc;

use highwater_checkpoint::BoxError;
use highwater_checkpoint::schema::Evolution;

use super::counted::Partial;
use super::counted_sliding::Slice;
use super::sessions::Sessions;
use super::whole::Pane;
use crate::stream::Data;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Evolved {
    pub(super) slices: Evolution,
    pub(super) panes: Evolution,
    pub(super) sessions: Evolution,
    pub(super) partials: Evolution,
    pub(super) counted_slices: Evolution,
}

impl Evolved {
    fn each(self, mut evolve: impl FnMut(Evolution) -> Evolution) -> Evolved {
        Evolved {
            slices: evolve(self.slices),
            panes: evolve(self.panes),
            sessions: evolve(self.sessions),
            partials: evolve(self.partials),
            counted_slices: evolve(self.counted_slices),
        }
    }

    pub(crate) fn schema_version(self, version: u32) -> Evolved {
        self.each(|evolution| evolution.schema_version(version))
    }

    pub(crate) fn migrate_from<O: Data, N: Data>(
        self,
        version: u32,
        migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
    ) -> Evolved {
        let shared = Rc::new(migrate);
        macro_rules! within {
            ($kept:ident, $wrapped:ident) => {{
                let migrate = Rc::clone(&shared);
                self.$kept.migrate_from(version, move |old: $wrapped<O>| old.try_map(&*migrate))
            }};
        }
        let migrate = Rc::clone(&shared);
        Evolved {
            slices: self.slices.migrate_from(version, move |old: O| migrate(old)),
            panes: within!(panes, Pane),
            sessions: within!(sessions, Sessions),
            partials: within!(partials, Partial),
            counted_slices: within!(counted_slices, Slice),
        }
    }
}
