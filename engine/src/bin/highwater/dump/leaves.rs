//! The values of one column, and which places of rows they stand at.

use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::data_type::ByteArray;
use serde_json::Value;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    Bool,
    /// Bits, and whether there is a sign.
    Integer(i8, bool),
    F32,
    F64,
    Text,
    /// Numbers beyond 64 bits, as the digits that they are.
    Digits,
    Bytes,
    /// Whatever it is, as text.
    Json,
}

/// The values of one column that are not written yet.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) values: Values,
    pub(super) definitions: Vec<i16>,
    pub(super) repetitions: Vec<i16>,
}

#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

/// Where a value stands: what is there and what is repeated on the way to it.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) definition: i16,
    pub(super) repetition: i16,
}

/// Why a row is not what its schema says.
pub(super) type Misfit<T> = std::result::Result<T, String>;

impl Primitive {
    pub(super) fn is_of_key(self) -> bool {
        matches!(self, Primitive::Text | Primitive::Integer(..))
    }

    pub(super) fn types(self) -> (PhysicalType, Option<LogicalType>) {
        match self {
            Primitive::Bool => (PhysicalType::BOOLEAN, None),
            Primitive::Integer(bits, is_signed) => {
                let physical = if bits == 64 { PhysicalType::INT64 } else { PhysicalType::INT32 };
                (physical, Some(LogicalType::integer(bits, is_signed)))
            }
            Primitive::F32 => (PhysicalType::FLOAT, None),
            Primitive::F64 => (PhysicalType::DOUBLE, None),
            Primitive::Text | Primitive::Digits => {
                (PhysicalType::BYTE_ARRAY, Some(LogicalType::String))
            }
            Primitive::Bytes => (PhysicalType::BYTE_ARRAY, None),
            Primitive::Json => (PhysicalType::BYTE_ARRAY, Some(LogicalType::Json)),
        }
    }
}

impl Place {
    /// Those of the elements of a list that begins here.
    pub(super) fn repeated(self, level: i16) -> impl Iterator<Item = Place> {
        let first = Place { definition: self.definition + 1, ..self };
        let next = Place { repetition: level, ..first };
        std::iter::once(first).chain(std::iter::repeat(next))
    }
}

/// What both levels of a value take in memory.
pub(super) const LEVELS_BYTES: usize = 2 * size_of::<i16>();

pub(super) fn misfit(should_be: &str, value: &Value) -> String {
    let is = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number out of range",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("is {is}, should be {should_be}")
}

impl Leaf {
    pub(super) fn new(primitive: Primitive) -> Leaf {
        let values = match primitive {
            Primitive::Bool => Values::Bool(Vec::new()),
            Primitive::Integer(64, _) => Values::I64(Vec::new()),
            Primitive::Integer(..) => Values::I32(Vec::new()),
            Primitive::F32 => Values::F32(Vec::new()),
            Primitive::F64 => Values::F64(Vec::new()),
            _ => Values::Bytes(Vec::new()),
        };
        Leaf { values, definitions: Vec::new(), repetitions: Vec::new() }
    }

    pub(super) fn mark(&self) -> (usize, usize) {
        let values = match &self.values {
            Values::Bool(all) => all.len(),
            Values::I32(all) => all.len(),
            Values::I64(all) => all.len(),
            Values::F32(all) => all.len(),
            Values::F64(all) => all.len(),
            Values::Bytes(all) => all.len(),
        };
        (values, self.definitions.len())
    }

    pub(super) fn truncate(&mut self, (values, levels): (usize, usize)) {
        match &mut self.values {
            Values::Bool(all) => all.truncate(values),
            Values::I32(all) => all.truncate(values),
            Values::I64(all) => all.truncate(values),
            Values::F32(all) => all.truncate(values),
            Values::F64(all) => all.truncate(values),
            Values::Bytes(all) => all.truncate(values),
        }
        self.definitions.truncate(levels);
        self.repetitions.truncate(levels);
    }

    pub(super) fn place(&mut self, at: Place) {
        self.definitions.push(at.definition);
        self.repetitions.push(at.repetition);
    }

    pub(super) fn push(&mut self, primitive: Primitive, value: &Value, at: Place) -> Misfit<usize> {
        let is_not = |what: &str| misfit(what, value);
        let bytes = match &mut self.values {
            Values::Bool(all) => {
                all.push(value.as_bool().ok_or_else(|| is_not("a bool"))?);
                1
            }
            Values::I32(all) => {
                all.push(small_integer(primitive, value).ok_or_else(|| is_not("an integer"))?);
                4
            }
            Values::I64(all) => {
                // Without a sign, the same bits.
                let unsigned = || value.as_u64().map(u64::cast_signed);
                let is_signed = primitive == Primitive::Integer(64, true);
                let number = if is_signed { value.as_i64() } else { unsigned() };
                all.push(number.ok_or_else(|| is_not("an integer"))?);
                8
            }
            Values::F32(all) => {
                all.push(value.as_f64().ok_or_else(|| is_not("a number"))? as f32);
                4
            }
            Values::F64(all) => {
                all.push(value.as_f64().ok_or_else(|| is_not("a number"))?);
                8
            }
            Values::Bytes(all) => {
                let bytes = bytes(primitive, value).ok_or_else(|| is_not("a text"))?;
                let len = bytes.len();
                all.push(ByteArray::from(bytes));
                len + size_of::<ByteArray>()
            }
        };
        self.place(at);
        Ok(bytes + LEVELS_BYTES)
    }
}

/// An integer of at most 32 bits that is in range; without a sign, the same bits.
fn small_integer(primitive: Primitive, value: &Value) -> Option<i32> {
    let number = value.as_i64()?;
    match primitive {
        Primitive::Integer(8, true) => i8::try_from(number).ok().map(i32::from),
        Primitive::Integer(16, true) => i16::try_from(number).ok().map(i32::from),
        Primitive::Integer(32, true) => i32::try_from(number).ok(),
        Primitive::Integer(8, false) => u8::try_from(number).ok().map(i32::from),
        Primitive::Integer(16, false) => u16::try_from(number).ok().map(i32::from),
        _ => u32::try_from(number).ok().map(u32::cast_signed),
    }
}

fn bytes(primitive: Primitive, value: &Value) -> Option<Vec<u8>> {
    match (primitive, value) {
        (Primitive::Json, value) => Some(value.to_string().into_bytes()),
        (Primitive::Bytes, Value::Array(all)) => {
            all.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
        }
        (Primitive::Digits, Value::Number(number)) => Some(number.to_string().into_bytes()),
        (Primitive::Text | Primitive::Digits, Value::String(text)) => {
            Some(text.as_bytes().to_vec())
        }
        _ => None,
    }
}
