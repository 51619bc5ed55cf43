//! Finds the shape of a type by deserialising it, from nothing, again and again.
//!
//! A type's `Deserialize` says what it wants next: that is its shape. What it is given are samples.
//! Each pass takes another way: another variant of an enum, one field less in a struct, to see
//! whether it has a default. A type that contains itself ends by what is known to end: an empty
//! sequence, no option, a variant that worked in an earlier pass.
//!
//! A `Deserialize` that asks for other things when it is given other values, such as an untagged
//! enum, has no shape: it is [`Untraceable`].

mod access;

use std::any::type_name;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Visitor};

use self::access::{AtMostOne, Elements, Entries, NO_FIELD, OneVariant};
use super::shape::{Body, Field, Fields, NamedShape, Shape, TypeShape, Variant};

/// Why a type has no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Untraceable {
    reason: String,
    /// Another pass may know how it ends.
    is_endless: bool,
}

impl serde::de::Error for Untraceable {
    fn custom<T: std::fmt::Display>(reason: T) -> Self {
        Untraceable { reason: reason.to_string(), is_endless: false }
    }
}

impl Untraceable {
    fn endless(name: &str) -> Self {
        Untraceable { reason: format!("{name} has no end"), is_endless: true }
    }
}

/// Whether a type is looked at as encodings for people see it, or as those for programs do: a few
/// types, such as IP addresses, are texts in the former only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// As in JSON.
    ByPeople,
    /// As in bincode and MessagePack.
    ByPrograms,
}

/// Given to what wants a text, until one is accepted: many types are kept as one.
const TEXTS: [&str; 8] = [
    "",
    "1",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01",
    "00:00:00",
    "127.0.0.1:1",
    "::1",
];

/// Passes after which a type is given up: far above variants and fields of any that was written.
const PASSES_MAX: usize = 20_000;

/// How deep a sample that must end may go.
const DEPTH_MAX: u8 = 64;

/// Finds the shape of `T`; takes microseconds for most types.
///
/// # Errors
///
/// If `T` asks for other things when it is given other values, or takes no sample that is known.
pub fn trace<T: DeserializeOwned>(readable: Readable) -> Result<TypeShape, Untraceable> {
    let known = RefCell::new(Known::default());
    let (mut root, mut in_vain) = (Shape::Unknown, 0);
    for _ in 0..PASSES_MAX {
        let news = known.borrow().news;
        known.borrow_mut().incomplete = 0;
        let tracer =
            Tracer { known: &known, readable, mode: Mode::Explore, owner: None, shape: &mut root };
        let outcome = T::deserialize(tracer);
        let known = known.borrow_mut();
        if outcome.is_ok() && known.incomplete == 0 {
            return known.finish(&root);
        }
        in_vain = if known.news == news { in_vain + 1 } else { 0 };
        // Each variant that is left had its turn.
        if in_vain > known.variants + 1 {
            return Err(outcome.err().unwrap_or_else(|| Untraceable::custom("it has no end")));
        }
    }
    Err(Untraceable::custom(format!("it is not known after {PASSES_MAX} passes")))
}

/// What is known so far.
#[derive(Default)]
struct Known {
    types: Vec<Traced>,
    /// Types by their visitors, whose names have the type's path and parameters.
    by_visitor: HashMap<(&'static str, &'static str), usize>,
    /// Which of the samples a visitor accepts.
    samples: HashMap<&'static str, usize>,
    /// Options, sequences and maps that must stay empty until more variants are known.
    stuck: HashSet<(Owner, &'static str)>,
    variants: usize,
    /// Counts what was learnt.
    news: u64,
    /// Counts what this pass had to leave for another.
    incomplete: u64,
}

struct Traced {
    name: &'static str,
    content: Content,
    /// A value of it is being made.
    is_open: bool,
    is_done: bool,
}

enum Content {
    Plain(Part),
    Enum {
        variants: Vec<(&'static str, Part)>,
        next: usize,
        /// Attempts that had no end, since something was learnt; and what was known then.
        endless: (usize, u64),
        ends: Option<usize>,
    },
}

/// A struct, or a variant.
#[derive(Default)]
struct Part {
    body: Option<Body>,
    /// All that it holds is done.
    is_complete: bool,
    /// Fields that were left out once, and last one that does not exist.
    probed: usize,
}

impl Part {
    fn is_done(&self) -> bool {
        let probes = match &self.body {
            Some(Body::Struct(of)) => of.fields.len() + 1,
            _ => 0,
        };
        self.is_complete && self.probed >= probes
    }
}

/// The struct, or the enum and its variant, that a place belongs to.
type Owner = Option<(usize, Option<usize>)>;

/// How a place is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// To learn.
    Explore,
    /// What is there is known; a value is needed.
    Settled,
    /// Within itself, so deep: a value that ends is needed.
    Ending(u8),
}

impl Known {
    fn finish(&self, root: &Shape) -> Result<TypeShape, Untraceable> {
        let mut types = Vec::with_capacity(self.types.len());
        for traced in &self.types {
            let whole = |part: &Part| {
                part.body
                    .clone()
                    .ok_or_else(|| Untraceable::custom("a variant holds nothing known"))
            };
            let mut body = match &traced.content {
                Content::Plain(part) => whole(part)?,
                Content::Enum { variants, .. } => {
                    let variant = |(name, part): &(&str, Part)| {
                        Ok(Variant { name: (*name).to_owned(), body: whole(part)? })
                    };
                    Body::Enum(variants.iter().map(variant).collect::<Result<_, _>>()?)
                }
            };
            let mut is_known = true;
            body.shapes_mut(&mut |shape| is_known &= shape.is_known());
            if !is_known {
                let reason = format!("{} reads a part of its fields only", traced.name);
                return Err(Untraceable::custom(reason));
            }
            types.push(NamedShape { name: traced.name.to_owned(), body });
        }
        if !root.is_known() {
            return Err(Untraceable::custom("it does not read all that it asks for"));
        }
        Ok(TypeShape::new(root.clone(), types))
    }

    fn part(&mut self, (number, variant): (usize, Option<usize>)) -> &mut Part {
        match (&mut self.types[number].content, variant) {
            (Content::Plain(part), _) => part,
            (Content::Enum { variants, .. }, variant) => {
                &mut variants[variant.expect("an enum's part is a variant")].1
            }
        }
    }
}

/// A place that is being deserialised.
struct Tracer<'t> {
    known: &'t RefCell<Known>,
    readable: Readable,
    mode: Mode,
    owner: Owner,
    shape: &'t mut Shape,
}

impl Tracer<'_> {
    /// Notes what is wanted here.
    fn wants(&mut self, shape: Shape) -> Result<(), Untraceable> {
        if self.mode != Mode::Explore {
            return Ok(());
        }
        if *self.shape == Shape::Unknown {
            *self.shape = shape;
            self.known.borrow_mut().news += 1;
            return Ok(());
        }
        let is_alike = match (&*self.shape, &shape) {
            (Shape::Tuple(a), Shape::Tuple(b)) => a.len() == b.len(),
            (Shape::Option(_), Shape::Option(_))
            | (Shape::Seq(_), Shape::Seq(_))
            | (Shape::Map(_), Shape::Map(_)) => true,
            (a, b) => a == b,
        };
        if is_alike { Ok(()) } else { Err(Untraceable::custom("it is not always the same")) }
    }

    /// What is within this place, to be put back by the caller.
    fn within<R>(
        self,
        visitor: &'static str,
        visit: impl FnOnce(Self, bool) -> Result<R, Untraceable>,
    ) -> Result<R, Untraceable> {
        let (known, mode, stuck) = (self.known, self.mode, (self.owner, visitor));
        let is_empty = matches!(mode, Mode::Ending(_)) || known.borrow().stuck.contains(&stuck);
        if is_empty && mode == Mode::Explore {
            known.borrow_mut().incomplete += 1;
        }
        visit(self, !is_empty).map_err(|error| {
            if !error.is_endless || mode != Mode::Explore {
                return error;
            }
            let mut known = known.borrow_mut();
            if known.stuck.insert(stuck) {
                known.news += 1;
            }
            // What encloses this place may try again.
            Untraceable { is_endless: false, ..error }
        })
    }

    /// Visits with one sample after the other, one a pass.
    fn sample<'de, V: Visitor<'de>>(
        mut self,
        shape: Shape,
        samples: usize,
        visitor: V,
        visit: impl FnOnce(V, usize) -> Result<V::Value, Untraceable>,
    ) -> Result<V::Value, Untraceable> {
        self.wants(shape)?;
        let name = type_name::<V>();
        let at = self.known.borrow().samples.get(name).copied().unwrap_or_default();
        let outcome = visit(visitor, at);
        if outcome.is_err() && at + 1 < samples {
            let mut known = self.known.borrow_mut();
            known.samples.insert(name, at + 1);
            known.news += 1;
        }
        outcome
    }

    /// Enters a struct or an enum: how to look at it, and its number.
    fn enter<V>(
        &mut self,
        name: &'static str,
        content: impl FnOnce() -> Content,
    ) -> Result<Entered, Untraceable> {
        let mut known = self.known.borrow_mut();
        let known = &mut *known;
        let number = *known.by_visitor.entry((type_name::<V>(), name)).or_insert_with(|| {
            let content = content();
            if let Content::Enum { variants, .. } = &content {
                known.variants += variants.len();
            }
            known.types.push(Traced { name, content, is_open: false, is_done: false });
            known.news += 1;
            known.types.len() - 1
        });
        let traced = &mut known.types[number];
        let mode = match self.mode {
            Mode::Ending(DEPTH_MAX) => return Err(Untraceable::endless(name)),
            Mode::Ending(depth) => Mode::Ending(depth + 1),
            _ if traced.is_open => Mode::Ending(0),
            Mode::Explore if traced.is_done => Mode::Settled,
            mode => mode,
        };
        Ok(Entered { number, mode, was_open: std::mem::replace(&mut traced.is_open, true) })
    }

    fn leave(known: &RefCell<Known>, entered: &Entered) {
        known.borrow_mut().types[entered.number].is_open = entered.was_open;
    }

    /// A struct of one part.
    fn plain<'de, V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
        visit: impl FnOnce(PartTracer<'_>, V) -> Result<V::Value, Untraceable>,
    ) -> Result<V::Value, Untraceable> {
        let entered = self.enter::<V>(name, || Content::Plain(Part::default()))?;
        self.wants(Shape::Type(entered.number))?;
        let (known, readable) = (self.known, self.readable);
        let at = (entered.number, None);
        let part = PartTracer { known, readable, mode: entered.mode, at };
        let outcome = visit(part, visitor);
        Self::leave(known, &entered);
        let mut known = known.borrow_mut();
        if entered.mode == Mode::Explore && known.part(at).is_done() {
            known.types[entered.number].is_done = true;
        }
        outcome
    }
}

struct Entered {
    number: usize,
    mode: Mode,
    was_open: bool,
}

/// The inside of a struct or of a variant.
#[derive(Clone, Copy)]
struct PartTracer<'t> {
    known: &'t RefCell<Known>,
    readable: Readable,
    mode: Mode,
    at: (usize, Option<usize>),
}

impl PartTracer<'_> {
    /// Takes the part's shapes out, lets `visit` fill them, and puts them back.
    fn explore<R>(
        self,
        empty: impl FnOnce() -> Body,
        visit: impl FnOnce(&mut Body) -> Result<R, Untraceable>,
    ) -> Result<R, Untraceable> {
        if self.mode != Mode::Explore {
            return visit(&mut empty());
        }
        let (body, before) = {
            let mut known = self.known.borrow_mut();
            (known.part(self.at).body.take(), known.incomplete)
        };
        let mut body = body.unwrap_or_else(empty);
        let outcome = visit(&mut body);
        let mut known = self.known.borrow_mut();
        let is_complete = outcome.is_ok() && known.incomplete == before;
        let part = known.part(self.at);
        part.body = Some(body);
        if is_complete && !part.is_complete {
            part.is_complete = true;
            known.news += 1;
        }
        if !known.part(self.at).is_done() {
            known.incomplete += 1;
        }
        outcome
    }

    fn elements<'t, 'de, V: Visitor<'de>>(
        self,
        shapes: Vec<&'t mut Shape>,
        visitor: V,
    ) -> Result<V::Value, Untraceable>
    where
        Self: 't,
    {
        let PartTracer { known, readable, mode, at } = self;
        let owner = Some(at);
        visitor.visit_seq(Elements { known, readable, mode, owner, shapes: shapes.into_iter() })
    }

    fn unit(self) -> Result<(), Untraceable> {
        self.explore(|| Body::Unit, |_| Ok(()))
    }

    fn newtype<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Untraceable> {
        let PartTracer { known, readable, mode, at } = self;
        self.explore(
            || Body::Newtype(Shape::Unknown),
            |body| {
                let Body::Newtype(shape) = body else {
                    return Err(Untraceable::custom("it is not always a newtype"));
                };
                seed.deserialize(Tracer { known, readable, mode, owner: Some(at), shape })
            },
        )
    }

    fn tuple<'de, V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Untraceable> {
        self.explore(
            || Body::Tuple(vec![Shape::Unknown; len]),
            |body| {
                let Body::Tuple(shapes) = body else {
                    return Err(Untraceable::custom("it is not always a tuple"));
                };
                self.elements(shapes.iter_mut().collect(), visitor)
            },
        )
    }

    fn fields<'de, V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        if self.mode == Mode::Explore {
            let mut known = self.known.borrow_mut();
            let part = known.part(self.at);
            if part.is_complete && !part.is_done() {
                let without = part.probed;
                part.probed += 1;
                known.news += 1;
                drop(known);
                return self.probe(names, without, visitor);
            }
        }
        let field =
            |name: &&str| Field { name: (*name).to_owned(), shape: Shape::Unknown, default: false };
        let fields = || Fields { fields: names.iter().map(field).collect(), closed: false };
        self.explore(
            || Body::Struct(fields()),
            |body| match body {
                Body::Struct(of) if of.fields.len() == names.len() => {
                    let shapes = of.fields.iter_mut().map(|field| &mut field.shape).collect();
                    self.elements(shapes, visitor)
                }
                _ => Err(Untraceable::custom("it has not always the same fields")),
            },
        )
    }

    /// Leaves a field out, or gives one that is not asked for, to see whether that is an error.
    fn probe<'de, V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        without: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let PartTracer { known, readable, .. } = self;
        let left = names.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, name)| *name);
        let extra = (without == names.len()).then_some(NO_FIELD);
        let names: Vec<&str> = left.chain(extra).collect();
        let entries = Entries { known, readable, names: names.into_iter() };
        let outcome = visitor.visit_map(entries);
        let mut known = self.known.borrow_mut();
        let part = known.part(self.at);
        if let Some(Body::Struct(of)) = &mut part.body {
            match of.fields.get_mut(without) {
                Some(field) => field.default = outcome.is_ok(),
                None => of.closed = outcome.is_err(),
            }
        }
        if !part.is_done() {
            known.incomplete += 1;
        }
        outcome
    }
}

/// Requests for a primitive, and what they are given.
macro_rules! primitives {
    ($($method:ident $shape:ident $visit:ident($($sample:expr)?);)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
            self.wants(Shape::$shape)?;
            visitor.$visit($($sample)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Untraceable;

    // Not 0, which is no `NonZero`.
    primitives! {
        deserialize_bool Bool visit_bool(true);
        deserialize_i8 I8 visit_i8(1);
        deserialize_i16 I16 visit_i16(1);
        deserialize_i32 I32 visit_i32(1);
        deserialize_i64 I64 visit_i64(1);
        deserialize_i128 I128 visit_i128(1);
        deserialize_u8 U8 visit_u8(1);
        deserialize_u16 U16 visit_u16(1);
        deserialize_u32 U32 visit_u32(1);
        deserialize_u64 U64 visit_u64(1);
        deserialize_u128 U128 visit_u128(1);
        deserialize_f32 F32 visit_f32(1.0);
        deserialize_f64 F64 visit_f64(1.0);
        deserialize_char Char visit_char('a');
        // As many as a UUID has.
        deserialize_bytes Bytes visit_bytes(&[1; 16]);
        deserialize_byte_buf Bytes visit_byte_buf(vec![1; 16]);
        deserialize_unit Unit visit_unit();
        deserialize_ignored_any Any visit_unit();
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.sample(Shape::Any, 3, visitor, |visitor, at| match at {
            0 => visitor.visit_unit(),
            1 => visitor.visit_u64(1),
            _ => visitor.visit_str("1"),
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.sample(Shape::Str, TEXTS.len(), visitor, |visitor, at| visitor.visit_str(TEXTS[at]))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.wants(Shape::Option(Box::default()))?;
        self.within(type_name::<V>(), |this, is_some| {
            if !is_some {
                return visitor.visit_none();
            }
            let mut settled = Shape::Unknown;
            let shape = match this.shape {
                Shape::Option(shape) => shape,
                _ => &mut settled,
            };
            visitor.visit_some(Tracer { shape, ..this })
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.plain(name, visitor, |part, visitor| {
            part.unit()?;
            visitor.visit_unit()
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.plain(name, visitor, |part, visitor| part.newtype(NewtypeSeed(visitor)))
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.wants(Shape::Seq(Box::default()))?;
        self.within(type_name::<V>(), |this, is_some| {
            let Tracer { known, readable, mode, owner, shape } = this;
            let mut settled = Shape::Unknown;
            let value = match shape {
                Shape::Seq(of) => &mut **of,
                _ => &mut settled,
            };
            let value = is_some.then_some(value);
            visitor.visit_seq(AtMostOne { known, readable, mode, owner, key: None, value })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Untraceable> {
        self.wants(Shape::Map(Box::default()))?;
        self.within(type_name::<V>(), |this, is_some| {
            let Tracer { known, readable, mode, owner, shape } = this;
            let mut settled = (Shape::Unknown, Shape::Unknown);
            let (key, value) = match shape {
                Shape::Map(entry) => (&mut entry.0, &mut entry.1),
                _ => (&mut settled.0, &mut settled.1),
            };
            let (key, value) = (is_some.then_some(key), is_some.then_some(value));
            visitor.visit_map(AtMostOne { known, readable, mode, owner, key, value })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.wants(Shape::Tuple(vec![Shape::Unknown; len]))?;
        let mut settled = vec![Shape::Unknown; len];
        let Tracer { known, readable, mode, owner, shape } = self;
        let shapes = match shape {
            Shape::Tuple(shapes) => shapes,
            _ => &mut settled,
        };
        let shapes = shapes.iter_mut().collect::<Vec<_>>().into_iter();
        visitor.visit_seq(Elements { known, readable, mode, owner, shapes })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.plain(name, visitor, |part, visitor| part.tuple(len, visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        self.plain(name, visitor, |part, visitor| part.fields(fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let entered = self.enter::<V>(name, || Content::Enum {
            variants: variants.iter().map(|name| (*name, Part::default())).collect(),
            next: 0,
            endless: (0, 0),
            ends: None,
        })?;
        self.wants(Shape::Type(entered.number))?;
        let (known, readable) = (self.known, self.readable);
        let outcome = choose_variant(&mut known.borrow_mut(), &entered);
        let outcome = outcome.ok_or_else(|| Untraceable::endless(name));
        let outcome = outcome.and_then(|index| {
            let at = (entered.number, Some(index));
            let part = PartTracer { known, readable, mode: entered.mode, at };
            let value = visitor.visit_enum(OneVariant { index: index as u32, part })?;
            note_that_it_ends(&mut known.borrow_mut(), entered.number, index);
            Ok(value)
        });
        Self::leave(known, &entered);
        if entered.mode == Mode::Explore {
            let known = &mut *known.borrow_mut();
            let traced = &mut known.types[entered.number];
            let Content::Enum { variants, endless, .. } = &mut traced.content else {
                return outcome;
            };
            traced.is_done = variants.iter().all(|(_, part)| part.is_done());
            if !traced.is_done {
                known.incomplete += 1;
            }
            return outcome.map_err(|error| {
                if !error.is_endless {
                    return error;
                }
                let before = if endless.1 == known.news { endless.0 } else { 0 };
                *endless = (before + 1, known.news);
                // As long as there are variants that had no turn, another pass may find the end.
                let is_endless = endless.0 >= variants.len();
                Untraceable { is_endless, ..error }
            });
        }
        outcome
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Untraceable> {
        Err(Untraceable::custom("it reads fields that it does not name beforehand"))
    }

    fn is_human_readable(&self) -> bool {
        self.readable == Readable::ByPeople
    }
}

/// A newtype reads what is within it as if it were that.
struct NewtypeSeed<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for NewtypeSeed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(deserializer)
    }
}

/// The variant to be made: the next one that is not done, or one that ends.
fn choose_variant(known: &mut Known, entered: &Entered) -> Option<usize> {
    let Content::Enum { variants, next, ends, .. } = &mut known.types[entered.number].content
    else {
        return None;
    };
    if entered.mode != Mode::Explore {
        return *ends;
    }
    let count = variants.len();
    let index =
        (*next..*next + count).map(|at| at % count).find(|at| !variants[*at].1.is_done())?;
    *next = index + 1;
    Some(index)
}

/// The first variant that was made ends without the enum itself, or by one that was made before.
fn note_that_it_ends(known: &mut Known, number: usize, index: usize) {
    if let Content::Enum { ends: ends @ None, .. } = &mut known.types[number].content {
        *ends = Some(index);
        known.news += 1;
        known.stuck.clear();
    }
}
