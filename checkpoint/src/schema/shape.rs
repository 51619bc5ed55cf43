//! What a type looks like when it is serialised, and the fingerprint of that.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use crate::state::StableHasher;

/// A type as serde sees it: names of types and fields, order, primitives. Modules, lifetimes and
/// type parameters are not in it, so a type may move.
///
/// Of the definitions that are alike there is one, in the order in which the root comes to them:
/// equal types have equal shapes, whatever the program around them looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeShape {
    fingerprint: Fingerprint,
    root: Shape,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<NamedShape>,
}

/// A shape in 64 bits, by which people tell two of them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

/// One place in a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "most are Rust's own types by Rust's own names")]
pub enum Shape {
    /// Not looked at yet; in no shape that is finished.
    #[default]
    #[serde(skip)]
    Unknown,
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    /// Whatever the encoding says that it is: only for encodings that do.
    Any,
    Option(Box<Shape>),
    Seq(Box<Shape>),
    Map(Box<(Shape, Shape)>),
    Tuple(Vec<Shape>),
    /// So many of the same: a tuple that is too long to be written out.
    Array(usize, Box<Shape>),
    /// The definition with this number.
    Type(usize),
}

/// A struct or an enum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedShape {
    /// The name by which serde knows it: without its module.
    pub name: String,
    /// What it holds.
    pub body: Body,
}

/// What a struct, or a variant of an enum, holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "Rust's own kinds by Rust's own names")]
pub enum Body {
    Unit,
    Newtype(Shape),
    Tuple(Vec<Shape>),
    Struct(Fields),
    Enum(Vec<Variant>),
}

/// Named fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fields {
    /// In the order of the definition.
    pub fields: Vec<Field>,
    /// Whether a field that is not among them is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// A named field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// Its serialised name.
    pub name: String,
    /// Its type.
    pub shape: Shape,
    /// Whether it has a value when it is missing, in encodings that can miss it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variant {
    /// Its serialised name.
    pub name: String,
    /// What it holds; never another enum.
    pub body: Body,
}

/// A tuple longer than this, of the same all through, is written as an array.
const TUPLE_MAX: usize = 4;

impl TypeShape {
    /// The shape of what is `root` when `types` are its definitions.
    pub(super) fn new(mut root: Shape, types: Vec<NamedShape>) -> TypeShape {
        root.fold_tuples();
        let mut types = types;
        for named in &mut types {
            named.body.shapes_mut(&mut Shape::fold_tuples);
        }
        let (root, types) = merge_equal(root, types);
        let (root, types) = in_order(root, types);
        let fingerprint = fingerprint(&root, &types);
        TypeShape { fingerprint, root, types }
    }

    /// What tells it from others: everything but which fields have defaults.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The type itself.
    pub fn root(&self) -> &Shape {
        &self.root
    }

    /// The definition that [`Shape::Type`] means, if there is one.
    pub fn definition(&self, number: usize) -> Option<&NamedShape> {
        self.types.get(number)
    }
}

impl Shape {
    /// Calls `each` on the shapes directly within, then on itself.
    fn visit_mut(&mut self, each: &mut impl FnMut(&mut Shape)) {
        match self {
            Shape::Option(of) | Shape::Seq(of) | Shape::Array(_, of) => of.visit_mut(each),
            Shape::Map(entry) => {
                entry.0.visit_mut(each);
                entry.1.visit_mut(each);
            }
            Shape::Tuple(of) => of.iter_mut().for_each(|of| of.visit_mut(each)),
            _ => {}
        }
        each(self);
    }

    fn fold_tuples(&mut self) {
        self.visit_mut(&mut |shape| {
            if let Shape::Tuple(of) = shape
                && of.len() > TUPLE_MAX
                && of.iter().all(|one| *one == of[0])
            {
                *shape = Shape::Array(of.len(), Box::new(of[0].clone()));
            }
        });
    }

    fn renumber(&mut self, number: &mut impl FnMut(usize) -> usize) {
        self.visit_mut(&mut |shape| {
            if let Shape::Type(old) = shape {
                *old = number(*old);
            }
        });
    }

    pub(super) fn is_known(&self) -> bool {
        match self {
            Shape::Unknown => false,
            Shape::Option(of) | Shape::Seq(of) | Shape::Array(_, of) => of.is_known(),
            Shape::Map(entry) => entry.0.is_known() && entry.1.is_known(),
            Shape::Tuple(of) => of.iter().all(Shape::is_known),
            _ => true,
        }
    }
}

impl Body {
    /// The shapes directly within, in order.
    pub(super) fn shapes_mut(&mut self, each: &mut impl FnMut(&mut Shape)) {
        match self {
            Body::Unit => {}
            Body::Newtype(of) => each(of),
            Body::Tuple(of) => of.iter_mut().for_each(each),
            Body::Struct(of) => of.fields.iter_mut().for_each(|field| each(&mut field.shape)),
            Body::Enum(of) => of.iter_mut().for_each(|variant| variant.body.shapes_mut(each)),
        }
    }

    /// Forgets what reading it needs and the encoding does not show.
    fn forget_defaults(&mut self) {
        match self {
            Body::Struct(of) => {
                of.closed = false;
                of.fields.iter_mut().for_each(|field| field.default = false);
            }
            Body::Enum(of) => of.iter_mut().for_each(|variant| variant.body.forget_defaults()),
            _ => {}
        }
    }
}

/// Puts one in the place of definitions that are the same but for their place in the program.
fn merge_equal(mut root: Shape, mut types: Vec<NamedShape>) -> (Shape, Vec<NamedShape>) {
    loop {
        let mut first: HashMap<&NamedShape, usize> = HashMap::new();
        let numbers: Vec<usize> =
            types.iter().enumerate().map(|(at, named)| *first.entry(named).or_insert(at)).collect();
        let mut is_changed = false;
        let mut number = |old: usize| {
            is_changed |= numbers[old] != old;
            numbers[old]
        };
        root.renumber(&mut number);
        for named in &mut types {
            named.body.shapes_mut(&mut |shape| shape.renumber(&mut number));
        }
        if !is_changed {
            return (root, types);
        }
    }
}

/// Numbers the definitions as a walk from the root comes to them; drops the others.
fn in_order(mut root: Shape, types: Vec<NamedShape>) -> (Shape, Vec<NamedShape>) {
    let mut order = Vec::new();
    root.renumber(&mut |old| number_in(&mut order, old));
    let mut ordered = Vec::new();
    // The order grows while it is walked.
    while let Some(old) = order.get(ordered.len()).copied() {
        let mut named = types[old].clone();
        let mut renumber =
            |shape: &mut Shape| shape.renumber(&mut |old| number_in(&mut order, old));
        named.body.shapes_mut(&mut renumber);
        ordered.push(named);
    }
    (root, ordered)
}

fn number_in(order: &mut Vec<usize>, old: usize) -> usize {
    order.iter().position(|known| *known == old).unwrap_or_else(|| {
        order.push(old);
        order.len() - 1
    })
}

fn fingerprint(root: &Shape, types: &[NamedShape]) -> Fingerprint {
    let mut types = types.to_vec();
    for named in &mut types {
        named.body.forget_defaults();
    }
    let text = serde_json::to_vec(&(root, types)).expect("has no maps, and no unknown shapes");
    let mut hasher = StableHasher::default();
    hasher.write(&text);
    Fingerprint(hasher.finish())
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Fingerprint, String> {
        let number = u64::from_str_radix(&text, 16);
        number.map(Fingerprint).map_err(|error| format!("{text:?} is no fingerprint: {error}"))
    }
}

/// The type itself, in Rust's syntax, with definitions by their names.
impl fmt::Display for TypeShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&self.root))
    }
}

impl TypeShape {
    /// `shape` in Rust's syntax.
    pub(super) fn text(&self, shape: &Shape) -> String {
        let list = |of: &[Shape]| {
            let all: Vec<_> = of.iter().map(|shape| self.text(shape)).collect();
            all.join(", ")
        };
        match shape {
            Shape::Unknown => "?".to_owned(),
            Shape::Unit => "()".to_owned(),
            Shape::Str => "String".to_owned(),
            Shape::Bytes => "bytes".to_owned(),
            Shape::Any => "any".to_owned(),
            Shape::Option(of) => format!("Option<{}>", self.text(of)),
            Shape::Seq(of) => format!("[{}]", self.text(of)),
            Shape::Map(entry) => {
                format!("{{{}: {}}}", self.text(&entry.0), self.text(&entry.1))
            }
            Shape::Tuple(of) => format!("({})", list(of)),
            Shape::Array(len, of) => format!("[{}; {len}]", self.text(of)),
            Shape::Type(number) => {
                self.types.get(*number).map_or_else(|| "?".to_owned(), |named| named.name.clone())
            }
            primitive => format!("{primitive:?}").to_lowercase(),
        }
    }
}
