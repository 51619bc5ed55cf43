//! What a shape is stored as in Parquet, and how its values are taken apart into columns.
//!
//! As the Dremel paper has it (Melnik et al., VLDB 2010, section 4), and Parquet after it: only what
//! holds nothing else is stored, in a column each. Beside each value stands how many of the options
//! and lists on the way to it are there (its definition level), and which list goes on with it (its
//! repetition level). What has no such form becomes JSON in a column of text.

use std::sync::Arc;

use highwater::checkpoint::schema::{Body, Field, Shape, TypeShape};
use parquet::basic::{LogicalType, Repetition};
use parquet::errors::Result;
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::leaves::{LEVELS_BYTES, Leaf, Misfit, Place, Primitive, misfit};

/// Columns of a file: what would have more is JSON in one of them.
const COLUMNS_MAX: usize = 1000;

/// Places in a row that are looked at. Definitions may name each other, so that a few of them make
/// any number of places.
const PLACES_MAX: usize = 10 * COLUMNS_MAX;

/// How deep columns may lie in each other: bounds the stack.
const DEPTH_MAX: usize = 50;

/// A place in a row, and all that is in it.
#[derive(Debug)]
pub(super) struct Node {
    is_optional: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The column with this number.
    Leaf(usize, Primitive),
    Struct(Vec<(String, Node)>),
    /// An array in JSON; its fields are named by their numbers.
    Tuple(Vec<Node>),
    /// With the repetition level of its elements.
    List(i16, Box<Node>),
    Map(i16, Box<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: Node,
    value: Node,
}

/// What a column of a table is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'s> {
    Typed(&'s TypeShape),
    U16,
    I64,
    Bool,
    Text,
    Json,
}

/// A row, and the columns it is taken apart into.
#[derive(Debug)]
pub(super) struct Columns {
    row: Vec<(String, Node)>,
    pub(super) leaves: Vec<Leaf>,
    /// About what the leaves hold.
    bytes: usize,
}

impl Columns {
    /// Of rows with these cells, of which those that are said to be optional may be missing.
    pub(super) fn new(cells: &[(&str, bool, Cell<'_>)]) -> Columns {
        let mut planner = Planner { leaves: Vec::new(), open: Vec::new(), places: 0 };
        let node = |&(name, is_optional, cell): &(&str, bool, Cell<'_>)| {
            let mut node = match cell {
                Cell::Typed(shape) => planner.node(shape, shape.root(), 0),
                Cell::U16 => planner.leaf(Primitive::Integer(16, false)),
                Cell::I64 => planner.leaf(Primitive::Integer(64, true)),
                Cell::Bool => planner.leaf(Primitive::Bool),
                Cell::Text => planner.leaf(Primitive::Text),
                Cell::Json => planner.leaf(Primitive::Json),
            };
            node.is_optional |= is_optional;
            (name.to_owned(), node)
        };
        let row = cells.iter().map(node).collect();
        Columns { row, leaves: planner.leaves, bytes: 0 }
    }

    /// The schema of the file.
    pub(super) fn schema(&self) -> Result<TypePtr> {
        let fields = self.row.iter().map(|(name, node)| node.schema(name));
        let fields = fields.collect::<Result<_>>()?;
        Ok(Arc::new(Type::group_type_builder("entry").with_fields(fields).build()?))
    }

    /// Adds a row; none of it if it is not as the schema says.
    pub(super) fn push(&mut self, row: &Map<String, Value>) -> Misfit<()> {
        let before: Vec<_> = self.leaves.iter().map(Leaf::mark).collect();
        let place = Place::default();
        match write_fields(&self.row, row, place, &mut self.leaves) {
            Ok(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(reason) => {
                self.leaves.iter_mut().zip(before).for_each(|(leaf, mark)| leaf.truncate(mark));
                Err(reason)
            }
        }
    }

    /// About how much memory is in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the rows; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
        self.leaves.iter_mut().for_each(|leaf| leaf.truncate((0, 0)));
    }
}

/// Finds the form of each shape, and numbers the columns.
struct Planner {
    leaves: Vec<Leaf>,
    /// Definitions that are being looked at: one that comes again holds itself.
    open: Vec<usize>,
    /// How many were looked at.
    places: usize,
}

impl Planner {
    fn leaf(&mut self, primitive: Primitive) -> Node {
        self.leaves.push(Leaf::new(primitive));
        // JSON has no number that is infinite or none at all.
        let is_optional = matches!(primitive, Primitive::F32 | Primitive::F64);
        Node { is_optional, kind: Kind::Leaf(self.leaves.len() - 1, primitive) }
    }

    /// `lists` is in how many lists it is.
    fn node(&mut self, types: &TypeShape, shape: &Shape, lists: i16) -> Node {
        self.places += 1;
        if let Some(primitive) = primitive(shape) {
            return self.leaf(primitive);
        }
        let columns = self.leaves.len();
        let node = self.group(types, shape, lists);
        // What has no column would leave no trace of its being there.
        let has_columns = |_: &Node| (columns + 1..=COLUMNS_MAX).contains(&self.leaves.len());
        node.filter(has_columns).unwrap_or_else(|| {
            self.leaves.truncate(columns);
            self.leaf(Primitive::Json)
        })
    }

    /// None if there is no form for it.
    fn group(&mut self, types: &TypeShape, shape: &Shape, lists: i16) -> Option<Node> {
        let holds_itself = matches!(shape, Shape::Type(number) if self.open.contains(number));
        if holds_itself || self.open.len() == DEPTH_MAX || self.places > PLACES_MAX {
            return None;
        }
        // Of what is no definition the place counts for the depth alone.
        self.open.push(if let Shape::Type(number) = shape { *number } else { usize::MAX });
        let node = self.form(types, shape, lists);
        self.open.pop();
        node
    }

    fn form(&mut self, types: &TypeShape, shape: &Shape, lists: i16) -> Option<Node> {
        let kind = match shape {
            Shape::Option(of) => {
                return Some(Node { is_optional: true, ..self.node(types, of, lists) });
            }
            Shape::Seq(of) | Shape::Array(_, of) => {
                Kind::List(lists + 1, Box::new(self.node(types, of, lists + 1)))
            }
            Shape::Tuple(of) => self.tuple(types, of, lists),
            Shape::Map(entry) => {
                let key = self.leaf(key(types, &entry.0)?);
                let value = self.node(types, &entry.1, lists + 1);
                Kind::Map(lists + 1, Box::new(Entry { key, value }))
            }
            Shape::Type(number) => match &types.definition(*number)?.body {
                Body::Newtype(of) => return Some(self.node(types, of, lists)),
                Body::Tuple(of) => self.tuple(types, of, lists),
                Body::Struct(of) => {
                    let field = |field: &Field| {
                        let mut node = self.node(types, &field.shape, lists);
                        node.is_optional |= field.default;
                        (field.name.clone(), node)
                    };
                    Kind::Struct(of.fields.iter().map(field).collect())
                }
                // Variants without anything in them are their names.
                Body::Enum(of) if of.iter().all(|variant| variant.body == Body::Unit) => {
                    return Some(self.leaf(Primitive::Text));
                }
                Body::Unit | Body::Enum(_) => return None,
            },
            _ => return None,
        };
        Some(Node { is_optional: false, kind })
    }

    fn tuple(&mut self, types: &TypeShape, of: &[Shape], lists: i16) -> Kind {
        Kind::Tuple(of.iter().map(|shape| self.node(types, shape, lists)).collect())
    }
}

fn primitive(shape: &Shape) -> Option<Primitive> {
    Some(match shape {
        Shape::Bool => Primitive::Bool,
        Shape::I8 => Primitive::Integer(8, true),
        Shape::I16 => Primitive::Integer(16, true),
        Shape::I32 => Primitive::Integer(32, true),
        Shape::I64 => Primitive::Integer(64, true),
        Shape::U8 => Primitive::Integer(8, false),
        Shape::U16 => Primitive::Integer(16, false),
        Shape::U32 => Primitive::Integer(32, false),
        Shape::U64 => Primitive::Integer(64, false),
        Shape::I128 | Shape::U128 => Primitive::Digits,
        Shape::F32 => Primitive::F32,
        Shape::F64 => Primitive::F64,
        Shape::Char | Shape::Str => Primitive::Text,
        Shape::Bytes => Primitive::Bytes,
        _ => return None,
    })
}

/// What the keys of a map are stored as, if that is possible: they are texts in JSON, which say of
/// these types alone what they were.
fn key(types: &TypeShape, shape: &Shape) -> Option<Primitive> {
    if let Shape::Type(number) = shape
        && let Body::Newtype(of) = &types.definition(*number)?.body
    {
        // A newtype in a newtype is rare, and one that holds itself has no end.
        return primitive(of).filter(|key| key.is_of_key());
    }
    primitive(shape).filter(|key| key.is_of_key())
}

impl Node {
    fn schema(&self, name: &str) -> Result<TypePtr> {
        let own = if self.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        let group = |name: &str, repetition, logical, fields| {
            let group = Type::group_type_builder(name).with_repetition(repetition);
            group.with_logical_type(logical).with_fields(fields).build().map(Arc::new)
        };
        match &self.kind {
            Kind::Leaf(_, primitive) => {
                let (physical, logical) = primitive.types();
                let leaf = Type::primitive_type_builder(name, physical).with_repetition(own);
                leaf.with_logical_type(logical).build().map(Arc::new)
            }
            Kind::Struct(fields) => {
                let fields = fields.iter().map(|(name, node)| node.schema(name));
                group(name, own, None, fields.collect::<Result<_>>()?)
            }
            Kind::Tuple(fields) => {
                let fields = fields.iter().enumerate();
                let fields = fields.map(|(at, node)| node.schema(&at.to_string()));
                group(name, own, None, fields.collect::<Result<_>>()?)
            }
            Kind::List(_, of) => {
                let of = vec![of.schema("element")?];
                let list = group("list", Repetition::REPEATED, None, of)?;
                group(name, own, Some(LogicalType::List), vec![list])
            }
            Kind::Map(_, entry) => {
                let of = vec![entry.key.schema("key")?, entry.value.schema("value")?];
                let entries = group("key_value", Repetition::REPEATED, None, of)?;
                group(name, own, Some(LogicalType::Map), vec![entries])
            }
        }
    }

    /// Takes `value` apart; none is one that is missing. Returns about how many bytes it takes.
    fn write(&self, value: Option<&Value>, at: Place, leaves: &mut [Leaf]) -> Misfit<usize> {
        let is_null = value.is_none_or(Value::is_null);
        let mut at = at;
        if self.is_optional {
            if is_null {
                return Ok(self.write_null(at, leaves));
            }
            at.definition += 1;
        }
        let Some(value) = value else { return Err("is missing".to_owned()) };
        let array = || value.as_array().ok_or_else(|| misfit("an array", value));
        match &self.kind {
            Kind::Leaf(number, primitive) => leaves[*number].push(*primitive, value, at),
            Kind::Struct(fields) => {
                let all = value.as_object().ok_or_else(|| misfit("an object", value))?;
                write_fields(fields, all, at, leaves)
            }
            Kind::Tuple(of) => {
                let all = array()?;
                if all.len() != of.len() {
                    return Err(format!("has {} elements, should have {}", all.len(), of.len()));
                }
                let write = |(of, value): (&Node, &Value)| of.write(Some(value), at, leaves);
                of.iter().zip(all).map(write).sum()
            }
            Kind::List(level, of) => {
                let all = array()?;
                if all.is_empty() {
                    return Ok(of.write_null(at, leaves));
                }
                let places = at.repeated(*level);
                all.iter().zip(places).map(|(value, at)| of.write(Some(value), at, leaves)).sum()
            }
            Kind::Map(level, entry) => {
                let all = value.as_object().ok_or_else(|| misfit("an object", value))?;
                if all.is_empty() {
                    return Ok(
                        entry.key.write_null(at, leaves) + entry.value.write_null(at, leaves)
                    );
                }
                let write = |((key, value), at): ((&String, &Value), Place)| {
                    let key = match entry.key.kind {
                        Kind::Leaf(_, Primitive::Text) => Value::from(key.as_str()),
                        _ => serde_json::from_str(key).map_err(|error| error.to_string())?,
                    };
                    let key = entry.key.write(Some(&key), at, leaves)?;
                    Ok(key + entry.value.write(Some(value), at, leaves)?)
                };
                all.iter().zip(at.repeated(*level)).map(write).sum()
            }
        }
    }

    /// Says that nothing is there beyond `at`.
    fn write_null(&self, at: Place, leaves: &mut [Leaf]) -> usize {
        match &self.kind {
            Kind::Leaf(number, _) => {
                leaves[*number].place(at);
                LEVELS_BYTES
            }
            Kind::Struct(fields) => fields.iter().map(|(_, of)| of.write_null(at, leaves)).sum(),
            Kind::Tuple(of) => of.iter().map(|of| of.write_null(at, leaves)).sum(),
            Kind::List(_, of) => of.write_null(at, leaves),
            Kind::Map(_, entry) => {
                entry.key.write_null(at, leaves) + entry.value.write_null(at, leaves)
            }
        }
    }
}

fn write_fields(
    fields: &[(String, Node)],
    all: &Map<String, Value>,
    at: Place,
    leaves: &mut [Leaf],
) -> Misfit<usize> {
    let (mut bytes, mut found) = (0, 0);
    for (name, node) in fields {
        let value = all.get(name);
        found += usize::from(value.is_some());
        bytes += node.write(value, at, leaves).map_err(|reason| format!("{name} {reason}"))?;
    }
    if found < all.len() {
        let others = all.keys().filter(|name| fields.iter().all(|(known, _)| known != *name));
        let others: Vec<_> = others.map(String::as_str).collect();
        return Err(format!("has fields that its schema has not: {}", others.join(", ")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use highwater::checkpoint::schema::{Readable, trace};
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn columns<T: DeserializeOwned>() -> Columns {
        Columns::new(&[("value", false, Cell::Typed(&trace::<T>(Readable::ByPrograms).unwrap()))])
    }

    fn push(columns: &mut Columns, value: Value) -> Misfit<()> {
        columns.push(&Map::from_iter([("value".to_owned(), value)]))
    }

    fn levels(columns: &Columns) -> Vec<(Vec<i16>, Vec<i16>)> {
        let levels = |leaf: &Leaf| (leaf.definitions.clone(), leaf.repetitions.clone());
        columns.leaves.iter().map(levels).collect()
    }

    #[test]
    fn levels_say_what_is_there_and_what_goes_on() {
        let mut columns = columns::<Vec<(u8, Vec<Option<u8>>)>>();
        push(&mut columns, json!([[1, [1, null]], [2, []], [3, [5]]])).unwrap();
        push(&mut columns, json!([])).unwrap();
        // Of the numbers: three in a row, and none. Of the options: a list in each of three.
        let numbers = (vec![1, 1, 1, 0], vec![0, 1, 1, 0]);
        let options = (vec![3, 2, 1, 3, 0], vec![0, 2, 1, 1, 0]);
        assert_eq!(levels(&columns), [numbers, options]);
    }

    #[test]
    fn a_row_that_does_not_fit_leaves_nothing() {
        let mut columns = columns::<(Vec<u8>, Option<String>, i64)>();
        push(&mut columns, json!([[1, 2], "text", -1])).unwrap();
        let (before, bytes) = (levels(&columns), columns.bytes());
        for (value, says) in [
            (json!([[1, 256], "text", 1]), "value is a number out of range, should be an integer"),
            (json!([[1], 7, 1]), "should be a text"),
            (json!([[1], null, 0.5]), "should be an integer"),
            (json!([[1], null]), "has 2 elements, should have 3"),
            (json!({}), "value is an object, should be an array"),
        ] {
            let reason = push(&mut columns, value).unwrap_err();
            assert!(reason.contains(says), "{reason}");
            assert_eq!((levels(&columns), columns.bytes()), (before.clone(), bytes), "{reason}");
        }
        let unknown =
            Map::from_iter([("value".into(), json!([[], null, 1])), ("x".into(), json!(1))]);
        let reason = columns.push(&unknown).unwrap_err();
        assert!(reason.contains("has fields that its schema has not: x"), "{reason}");
        assert!(columns.push(&Map::new()).unwrap_err().contains("value is missing"));
    }

    /// A document may say anything: definitions that make a million columns, or hold themselves.
    #[test]
    fn columns_are_bounded_whatever_the_definitions() {
        let definition = |below: [usize; 2]| {
            let field = |name: &str, below| json!({ "name": name, "shape": { "type": below } });
            let fields = [field("a", below[0]), field("b", below[1])];
            json!({ "name": "T", "body": { "struct": { "fields": fields } } })
        };
        let halves: Vec<_> = (0..200).map(|at| definition([at + 1, at + 1])).collect();
        for types in [halves, vec![definition([1, 0]), definition([0, 1])]] {
            let shape = json!({ "fingerprint": "0", "root": { "type": 0 }, "types": types });
            let shape: TypeShape = serde_json::from_value(shape).unwrap();
            let columns = Columns::new(&[("value", false, Cell::Typed(&shape))]);
            assert!((1..=COLUMNS_MAX).contains(&columns.leaves.len()));
            columns.schema().unwrap();
        }
    }
}
