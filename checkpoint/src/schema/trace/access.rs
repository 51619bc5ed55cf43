//! What a traced type is given to take its parts from: elements, fields, variants.

use std::cell::RefCell;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::super::shape::Shape;
use super::{Known, Mode, Owner, PartTracer, Readable, Tracer, Untraceable};

/// The name of a field that no type has.
pub(super) const NO_FIELD: &str = "\u{1}no such field\u{1}";

/// The elements of a tuple, or of a struct.
pub(super) struct Elements<'t> {
    pub(super) known: &'t RefCell<Known>,
    pub(super) readable: Readable,
    pub(super) mode: Mode,
    pub(super) owner: Owner,
    pub(super) shapes: std::vec::IntoIter<&'t mut Shape>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Untraceable> {
        let Elements { known, readable, mode, owner, .. } = *self;
        let shape = self.shapes.next();
        shape
            .map(|shape| seed.deserialize(Tracer { known, readable, mode, owner, shape }))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.shapes.len())
    }
}

/// The fields of a struct by name, all of known types.
pub(super) struct Entries<'t> {
    pub(super) known: &'t RefCell<Known>,
    pub(super) readable: Readable,
    pub(super) names: std::vec::IntoIter<&'static str>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Untraceable;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Untraceable> {
        let name = self.names.next();
        name.map(|name| seed.deserialize(StrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Untraceable> {
        let Entries { known, readable, .. } = *self;
        let shape = &mut Shape::Unknown;
        let mode = Mode::Settled;
        seed.deserialize(Tracer { known, readable, mode, owner: None, shape })
    }
}

/// A sequence of at most one element, or a map of at most one entry.
pub(super) struct AtMostOne<'t> {
    pub(super) known: &'t RefCell<Known>,
    pub(super) readable: Readable,
    pub(super) mode: Mode,
    pub(super) owner: Owner,
    pub(super) key: Option<&'t mut Shape>,
    pub(super) value: Option<&'t mut Shape>,
}

impl AtMostOne<'_> {
    fn one<'de, S: DeserializeSeed<'de>>(
        &self,
        shape: &mut Shape,
        seed: S,
    ) -> Result<S::Value, Untraceable> {
        let AtMostOne { known, readable, mode, owner, .. } = *self;
        seed.deserialize(Tracer { known, readable, mode, owner, shape })
    }
}

impl<'de> SeqAccess<'de> for AtMostOne<'_> {
    type Error = Untraceable;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Untraceable> {
        self.value.take().map(|shape| self.one(shape, seed)).transpose()
    }
}

impl<'de> MapAccess<'de> for AtMostOne<'_> {
    type Error = Untraceable;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Untraceable> {
        self.key.take().map(|shape| self.one(shape, seed)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Untraceable> {
        match self.value.take() {
            Some(shape) => self.one(shape, seed),
            None => Err(Untraceable::custom("it wants more values than keys")),
        }
    }
}

/// One variant of an enum.
pub(super) struct OneVariant<'t> {
    pub(super) index: u32,
    pub(super) part: PartTracer<'t>,
}

impl<'de, 't> EnumAccess<'de> for OneVariant<'t> {
    type Error = Untraceable;
    type Variant = PartTracer<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, PartTracer<'t>), Untraceable> {
        let index: U32Deserializer<Untraceable> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self.part))
    }
}

impl<'de> VariantAccess<'de> for PartTracer<'_> {
    type Error = Untraceable;

    fn unit_variant(self) -> Result<(), Untraceable> {
        self.unit()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Untraceable> {
        self.newtype(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.fields(fields, visitor)
    }
}
