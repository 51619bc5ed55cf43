//! Entries as JSON by their shapes alone, for who has a checkpoint and not the program.
//!
//! What comes out is what `serde_json::to_value` makes of the value, as far as that is defined:
//! keys of maps that JSON does not know are their own JSON as a text, and integers beyond 64 bits
//! are texts of digits.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::shape::{Body, Fields, NamedShape, Shape, TypeShape, Variant};
use crate::error::{Error, Result};
use crate::state::{ABOMONATION, BINCODE, MESSAGE_PACK};

/// Values within one entry beyond those that its bytes can hold: a sequence of what has no bytes
/// costs memory that no bytes bound.
const VALUES_MAX: usize = 1 << 16;

/// How deep values may lie within each other: bounds the stack.
const DEPTH_MAX: u32 = 200;

/// Decodes `bytes`, a key or a value that `codec` encoded, to JSON.
///
/// # Errors
///
/// `Invalid` if the codec cannot be read without the program's types; `Corrupt` about the entry if
/// the bytes are not what the shape says.
pub fn to_json(shape: &TypeShape, codec: &str, bytes: &[u8]) -> Result<Value> {
    let left = Cell::new(VALUES_MAX + 8 * bytes.len());
    let seed = Seed { types: shape, shape: shape.root(), left: &left, depth: 0 };
    let decoded = match codec {
        BINCODE => {
            use bincode::Options;
            let options = bincode::DefaultOptions::new().with_fixint_encoding();
            let options = options.reject_trailing_bytes();
            options.deserialize_seed(seed, bytes).map_err(|error| error.to_string())
        }
        MESSAGE_PACK => from_message_pack(seed, bytes),
        codec if codec.starts_with(ABOMONATION) => {
            return Err(Error::invalid(format!(
                "entries in {codec} are the memory of the program that wrote them, and are not \
                 available without it"
            )));
        }
        codec => return Err(Error::invalid(format!("this build does not read {codec:?}"))),
    };
    decoded.map_err(|error| {
        Error::corrupt("an entry", format!("its {} bytes are no {shape}: {error}", bytes.len()))
    })
}

fn from_message_pack(seed: Seed<'_>, bytes: &[u8]) -> std::result::Result<Value, String> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    let value = seed.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    drop(deserializer);
    match rest.len() {
        0 => Ok(value),
        left => Err(format!("{left} bytes are left over")),
    }
}

/// Reads one value of a shape.
#[derive(Clone, Copy)]
struct Seed<'s> {
    types: &'s TypeShape,
    shape: &'s Shape,
    left: &'s Cell<usize>,
    depth: u32,
}

impl<'s> Seed<'s> {
    fn of(self, shape: &'s Shape) -> Seed<'s> {
        Seed { shape, ..self }
    }

    fn count<E: serde::de::Error>(self) -> std::result::Result<Self, E> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| E::custom("it holds too many values"))?);
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("it is more than {DEPTH_MAX} values deep")));
        }
        Ok(Seed { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Value, D::Error> {
        let this = self.count()?;
        match self.shape {
            Shape::Unknown => Err(D::Error::custom("its shape is not known")),
            Shape::Unit => from.deserialize_unit(Primitive),
            Shape::Bool => from.deserialize_bool(Primitive),
            Shape::I8 => from.deserialize_i8(Primitive),
            Shape::I16 => from.deserialize_i16(Primitive),
            Shape::I32 => from.deserialize_i32(Primitive),
            Shape::I64 => from.deserialize_i64(Primitive),
            Shape::I128 => from.deserialize_i128(Primitive),
            Shape::U8 => from.deserialize_u8(Primitive),
            Shape::U16 => from.deserialize_u16(Primitive),
            Shape::U32 => from.deserialize_u32(Primitive),
            Shape::U64 => from.deserialize_u64(Primitive),
            Shape::U128 => from.deserialize_u128(Primitive),
            Shape::F32 => from.deserialize_f32(Primitive),
            Shape::F64 => from.deserialize_f64(Primitive),
            Shape::Char => from.deserialize_char(Primitive),
            Shape::Str => from.deserialize_str(Primitive),
            Shape::Bytes => from.deserialize_bytes(Primitive),
            Shape::Any => <Value as serde::Deserialize>::deserialize(from),
            Shape::Option(of) => from.deserialize_option(Maybe(this.of(of))),
            Shape::Seq(of) => from.deserialize_seq(All(this.of(of))),
            Shape::Map(entry) => from.deserialize_map(Pairs(this.of(&entry.0), this.of(&entry.1))),
            Shape::Tuple(of) => from.deserialize_tuple(of.len(), Each(this, of)),
            Shape::Array(len, of) => from.deserialize_tuple(*len, All(this.of(of))),
            Shape::Type(number) => {
                let Some(NamedShape { body, .. }) = self.types.definition(*number) else {
                    return Err(D::Error::custom(format!("its shape has no type {number}")));
                };
                match body {
                    Body::Unit => from.deserialize_unit_struct("", Primitive),
                    Body::Newtype(of) => from.deserialize_newtype_struct("", Newtype(this.of(of))),
                    Body::Tuple(of) => from.deserialize_tuple(of.len(), Each(this, of)),
                    Body::Struct(of) => from.deserialize_tuple(of.fields.len(), Named(this, of)),
                    Body::Enum(of) => from.deserialize_enum("", &[], OneOf(this, of)),
                }
            }
        }
    }
}

/// Any value that holds no other.
struct Primitive;

macro_rules! as_they_are {
    ($($method:ident($type:ty);)*) => {
        $(fn $method<E>(self, value: $type) -> std::result::Result<Value, E> {
            Ok(Value::from(value))
        })*
    };
}

impl<'de> Visitor<'de> for Primitive {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a primitive value")
    }

    as_they_are! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f32(f32);
        visit_f64(f64);
        visit_str(&str);
        visit_string(String);
        visit_bytes(&[u8]);
    }

    fn visit_i128<E>(self, value: i128) -> std::result::Result<Value, E> {
        let number = Number::from_i128(value);
        Ok(number.map_or_else(|| Value::from(value.to_string()), Value::Number))
    }

    fn visit_u128<E>(self, value: u128) -> std::result::Result<Value, E> {
        let number = Number::from_u128(value);
        Ok(number.map_or_else(|| Value::from(value.to_string()), Value::Number))
    }

    fn visit_char<E>(self, value: char) -> std::result::Result<Value, E> {
        Ok(Value::from(value.to_string()))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    /// A unit struct is an empty sequence in some encodings.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Value::Null),
            Some(_) => Err(A::Error::custom("a sequence in place of a primitive value")),
        }
    }
}

struct Maybe<'s>(Seed<'s>);

impl<'de> Visitor<'de> for Maybe<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an option")
    }

    fn visit_none<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> std::result::Result<Value, D::Error> {
        self.0.deserialize(from)
    }
}

struct Newtype<'s>(Seed<'s>);

impl<'de> Visitor<'de> for Newtype<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a newtype")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<Value, D::Error> {
        self.0.deserialize(from)
    }
}

/// Elements that are all of one shape.
struct All<'s>(Seed<'s>);

impl<'de> Visitor<'de> for All<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = seq.next_element_seed(self.0)? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }
}

/// Elements of a shape each.
struct Each<'s>(Seed<'s>, &'s [Shape]);

impl<'de> Visitor<'de> for Each<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a tuple of {}", self.1.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut all = Vec::new();
        for shape in self.1 {
            let missing = || A::Error::invalid_length(all.len(), &self);
            all.push(seq.next_element_seed(self.0.of(shape))?.ok_or_else(missing)?);
        }
        match seq.next_element::<IgnoredAny>() {
            Ok(Some(_)) => Err(A::Error::custom("a tuple has more elements than its shape")),
            _ => Ok(Value::Array(all)),
        }
    }
}

/// Fields: in order, or with their names.
struct Named<'s>(Seed<'s>, &'s Fields);

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a struct of {} fields", self.1.fields.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut all = Map::new();
        for (at, field) in self.1.fields.iter().enumerate() {
            let value = seq.next_element_seed(self.0.of(&field.shape))?;
            let value = value.ok_or_else(|| A::Error::invalid_length(at, &self))?;
            all.insert(field.name.clone(), value);
        }
        Ok(Value::Object(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let field = self.1.fields.iter().find(|field| field.name == name);
            let value = match field {
                Some(field) => map.next_value_seed(self.0.of(&field.shape))?,
                None => map.next_value()?,
            };
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

struct Pairs<'s>(Seed<'s>, Seed<'s>);

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key_seed(self.0)? {
            let key = match key {
                Value::String(text) => text,
                other => other.to_string(),
            };
            all.insert(key, map.next_value_seed(self.1)?);
        }
        Ok(Value::Object(all))
    }
}

/// A variant: its name, and what it holds.
struct OneOf<'s>(Seed<'s>, &'s [Variant]);

impl<'de> Visitor<'de> for OneOf<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {} variants", self.1.len())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> std::result::Result<Value, A::Error> {
        let (variant, access) = data.variant_seed(WhichOf(self.1))?;
        let value = match &variant.body {
            Body::Unit => {
                access.unit_variant()?;
                return Ok(Value::from(variant.name.clone()));
            }
            Body::Newtype(of) => access.newtype_variant_seed(self.0.of(of))?,
            Body::Tuple(of) => access.tuple_variant(of.len(), Each(self.0, of))?,
            Body::Struct(of) => access.tuple_variant(of.fields.len(), Named(self.0, of))?,
            Body::Enum(_) => return Err(A::Error::custom("an enum in place of a variant")),
        };
        Ok(Value::Object(Map::from_iter([(variant.name.clone(), value)])))
    }
}

/// Finds the variant, by number or by name.
struct WhichOf<'s>(&'s [Variant]);

impl<'de, 's> DeserializeSeed<'de> for WhichOf<'s> {
    type Value = &'s Variant;

    fn deserialize<D: Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<&'s Variant, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl<'s> Visitor<'_> for WhichOf<'s> {
    type Value = &'s Variant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {} variants", self.0.len())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<&'s Variant, E> {
        let variant = usize::try_from(number).ok().and_then(|at| self.0.get(at));
        variant.ok_or_else(|| E::custom(format!("variant {number} of {}", self.0.len())))
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<&'s Variant, E> {
        let variant = self.0.iter().find(|variant| variant.name == name);
        variant.ok_or_else(|| E::custom(format!("no variant {name:?}")))
    }
}
