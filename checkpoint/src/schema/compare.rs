//! Whether what was written as one shape can be read as another, and where they differ.
//!
//! Encodings *by position* (bincode, abomonation) need the same shape. Encodings *by name*
//! (MessagePack with named fields, JSON) allow more, as far as nothing is guessed:
//!
//! * a field may be new, if it has a default, and a field may be gone, unless the type denies
//!   unknown fields; fields may change places;
//! * an enum may have new variants, and they may change places;
//! * all else must be the same, names of types included.

use std::collections::HashSet;

use super::shape::{Body, Field, Fields, NamedShape, Shape, TypeShape};

/// Where two shapes differ: a place within the type, what is written there, what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The place, as in `Order.lines.price`; empty for the type itself.
    pub place: String,
    /// What the checkpoint has there.
    pub written: String,
    /// What the program has there.
    pub read: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { place, written, read } = self;
        let colon = if place.is_empty() { "" } else { ": " };
        write!(f, "{place}{colon}{written} in the checkpoint, {read} in the program")
    }
}

/// How an encoding finds the fields of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitting {
    /// By their places.
    ByPosition,
    /// By their names.
    ByName,
}

/// Where what was written as `written` cannot be read as `read`; nothing if it can.
pub fn differences(written: &TypeShape, read: &TypeShape, fitting: Fitting) -> Vec<Difference> {
    let seen = HashSet::new();
    let mut comparison = Comparison { written, read, fitting, seen, found: Vec::new() };
    if written.fingerprint() != read.fingerprint() {
        comparison.shapes("", written.root(), read.root());
    }
    comparison.found
}

struct Comparison<'s> {
    written: &'s TypeShape,
    read: &'s TypeShape,
    fitting: Fitting,
    /// Pairs of definitions that are compared already: types may contain themselves.
    seen: HashSet<(usize, usize)>,
    found: Vec<Difference>,
}

const NOTHING: &str = "nothing";

impl<'s> Comparison<'s> {
    fn differ(&mut self, place: &str, written: impl Into<String>, read: impl Into<String>) {
        let (written, read) = (written.into(), read.into());
        self.found.push(Difference { place: place.to_owned(), written, read });
    }

    fn shapes(&mut self, place: &str, written: &'s Shape, read: &'s Shape) {
        match (written, read) {
            (Shape::Option(a), Shape::Option(b)) | (Shape::Seq(a), Shape::Seq(b)) => {
                self.shapes(place, a, b);
            }
            (Shape::Array(n, a), Shape::Array(m, b)) if n == m => self.shapes(place, a, b),
            (Shape::Map(a), Shape::Map(b)) => {
                self.shapes(place, &a.0, &b.0);
                self.shapes(place, &a.1, &b.1);
            }
            (Shape::Tuple(a), Shape::Tuple(b)) if a.len() == b.len() => {
                self.each(place, a, b);
            }
            (Shape::Type(a), Shape::Type(b)) => self.types(place, *a, *b),
            (a, b) if a == b => {}
            (a, b) => self.differ(place, self.written.text(a), self.read.text(b)),
        }
    }

    fn each(&mut self, place: &str, written: &'s [Shape], read: &'s [Shape]) {
        for (at, (written, read)) in written.iter().zip(read).enumerate() {
            self.shapes(&format!("{place}.{at}"), written, read);
        }
    }

    fn types(&mut self, place: &str, written: usize, read: usize) {
        if !self.seen.insert((written, read)) {
            return;
        }
        let (Some(old), Some(new)) = (self.written.definition(written), self.read.definition(read))
        else {
            return self.differ(place, "a broken shape", "a broken shape");
        };
        let (NamedShape { name, body }, NamedShape { name: new_name, body: new_body }) = (old, new);
        if name != new_name {
            let hint = format!("{new_name} (which serde may call {name} by `rename`)");
            return self.differ(place, name.as_str(), hint);
        }
        self.bodies(name, body, new_body);
    }

    fn bodies(&mut self, place: &str, written: &'s Body, read: &'s Body) {
        match (written, read) {
            (Body::Unit, Body::Unit) => {}
            (Body::Newtype(a), Body::Newtype(b)) => self.shapes(&format!("{place}.0"), a, b),
            (Body::Tuple(a), Body::Tuple(b)) if a.len() == b.len() => self.each(place, a, b),
            (Body::Struct(a), Body::Struct(b)) => self.fields(place, a, b),
            (Body::Enum(a), Body::Enum(b)) => {
                let names = |of: &'s [super::shape::Variant]| {
                    of.iter().map(|variant| (variant.name.as_str(), &variant.body)).collect()
                };
                self.variants(place, names(a), names(b));
            }
            (a, b) => self.differ(place, kind(a), kind(b)),
        }
    }

    fn fields(&mut self, place: &str, written: &'s Fields, read: &'s Fields) {
        let named = |of: &'s Fields, name: &str| of.fields.iter().find(|f| f.name == name);
        for field in &written.fields {
            let at = format!("{place}.{}", field.name);
            match named(read, &field.name) {
                Some(new) => self.shapes(&at, &field.shape, &new.shape),
                None if self.fitting == Fitting::ByName && !read.closed => {}
                None => self.differ(&at, self.written.text(&field.shape), NOTHING),
            }
        }
        for Field { name, shape, default } in &read.fields {
            let may_miss = self.fitting == Fitting::ByName && *default;
            if named(written, name).is_none() && !may_miss {
                let mut read = self.read.text(shape);
                if self.fitting == Fitting::ByName {
                    read.push_str(" without a default");
                }
                self.differ(&format!("{place}.{name}"), NOTHING, read);
            }
        }
        let order = |of: &'s Fields| of.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>();
        self.order(place, &order(written), &order(read));
    }

    fn variants(
        &mut self,
        place: &str,
        written: Vec<(&'s str, &'s Body)>,
        read: Vec<(&'s str, &'s Body)>,
    ) {
        for (name, body) in &written {
            let at = format!("{place}::{name}");
            match read.iter().find(|(new, _)| new == name) {
                Some((_, new)) => self.bodies(&at, body, new),
                None => self.differ(&at, "a variant", NOTHING),
            }
        }
        if self.fitting == Fitting::ByPosition {
            for (name, _) in &read {
                if !written.iter().any(|(old, _)| old == name) {
                    self.differ(&format!("{place}::{name}"), NOTHING, "a variant");
                }
            }
        }
        let order = |of: &[(&'s str, &'s Body)]| of.iter().map(|(name, _)| *name).collect();
        let (written, read): (Vec<_>, Vec<_>) = (order(&written), order(&read));
        self.order(place, &written, &read);
    }

    /// Places matter where fields are found by them; said only when they are all that differs.
    fn order(&mut self, place: &str, written: &[&str], read: &[&str]) {
        let mut sorted = [written.to_vec(), read.to_vec()];
        for names in &mut sorted {
            names.sort_unstable();
        }
        let is_same = self.fitting == Fitting::ByName || written == read;
        if !is_same && sorted[0] == sorted[1] {
            self.differ(place, written.join(", "), read.join(", "));
        }
    }
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Unit => "nothing within",
        Body::Newtype(_) => "a newtype",
        Body::Tuple(_) => "a tuple",
        Body::Struct(_) => "a struct",
        Body::Enum(_) => "an enum",
    }
}
