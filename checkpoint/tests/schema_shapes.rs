//! Proves what is found out about types of every kind, where two of them differ, and that entries
//! are read as JSON by that alone: the oracle is `serde_json::to_value`.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use highwater_checkpoint::schema::{
    Fitting, Readable, Shape, TypeShape, Untraceable, differences, to_json, trace,
};
use highwater_checkpoint::state::{BINCODE, MESSAGE_PACK};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

fn shape_of<T: serde::de::DeserializeOwned>() -> TypeShape {
    trace::<T>(Readable::ByPrograms).unwrap()
}

/// What differs, one line a difference, when `A` was written and `B` is read.
fn differ<A, B>(fitting: Fitting) -> Vec<String>
where
    A: serde::de::DeserializeOwned,
    B: serde::de::DeserializeOwned,
{
    let found = differences(&shape_of::<A>(), &shape_of::<B>(), fitting);
    found.iter().map(ToString::to_string).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Size {
    Small,
    Numbered(u8),
    Pair(i16, char),
    Boxed { wide: f32, high: Option<f64> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cents(i64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place(i32, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

/// Ends by its sequences only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    children: Vec<Tree>,
    label: String,
}

/// Its last variant is the first that ends; one is reached through an option alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Term {
    Sum(Box<Term>, Box<Term>),
    Call(Box<Call>),
    Number(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Call {
    argument: Option<Term>,
    named: BTreeMap<String, Term>,
}

/// Its only way to end is to have no parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    Parts(Vec<Node>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Generic<T> {
    value: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    integers: (i8, i16, i32, i64, u8, u16, u32, u64),
    small_i128: i128,
    small_u128: u128,
    single: f32,
    double: f64,
    letter: char,
    text: String,
    option: Option<String>,
    nested: Option<Vec<Option<u8>>>,
    array: [u16; 7],
    sizes: Vec<Size>,
    set: BTreeSet<i32>,
    by_text: BTreeMap<String, u64>,
    by_number: BTreeMap<i64, (Marker, u8)>,
    by_flag: BTreeMap<bool, char>,
    cents: Cents,
    place: Place,
    marker: Marker,
    tree: Tree,
    term: Term,
    node: Node,
    generic: Generic<Generic<u8>>,
    again: Generic<String>,
    duration: Duration,
    address: IpAddr,
    shared: Box<Cents>,
    result: Result<u8, String>,
    id: NonZeroU32,
    #[serde(skip)]
    skipped: Option<u8>,
    #[serde(rename = "called otherwise")]
    renamed: u8,
}

fn sizes() -> impl Strategy<Value = Size> {
    prop_oneof![
        Just(Size::Small),
        any::<u8>().prop_map(Size::Numbered),
        any::<(i16, char)>().prop_map(|(a, b)| Size::Pair(a, b)),
        any::<(f32, Option<f64>)>().prop_map(|(wide, high)| Size::Boxed { wide, high }),
    ]
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = ".{0,4}".prop_map(|label| Tree { children: Vec::new(), label });
    leaf.prop_recursive(3, 12, 3, |tree| {
        let children = prop::collection::vec(tree, 0..3);
        (children, ".{0,4}").prop_map(|(children, label)| Tree { children, label })
    })
}

fn terms() -> impl Strategy<Value = Term> {
    any::<u64>().prop_map(Term::Number).prop_recursive(3, 12, 2, |term| {
        prop_oneof![
            (term.clone(), term.clone()).prop_map(|(a, b)| Term::Sum(a.into(), b.into())),
            (prop::option::of(term.clone()), prop::collection::btree_map(".", term, 0..3))
                .prop_map(|(argument, named)| Term::Call(Box::new(Call { argument, named }))),
        ]
    })
}

fn values() -> impl Strategy<Value = Everything> {
    let scalars = (
        any::<(bool, char, f32, f64, String, Option<String>)>(),
        any::<(i8, i16, i32, i64, u8, u16, u32, u64)>(),
        (any::<i64>(), any::<u64>(), any::<i64>(), any::<i32>(), 1..u32::MAX, any::<u8>()),
    );
    let deep = (
        prop::collection::vec(sizes(), 0..4),
        prop::collection::btree_set(any::<i32>(), 0..4),
        prop::collection::btree_map(".*", any::<u64>(), 0..4),
        prop::collection::btree_set(any::<i64>(), 0..4),
        prop::collection::btree_map(any::<bool>(), any::<char>(), 0..2),
        trees(),
        terms(),
    );
    (scalars, deep, any::<([u16; 7], IpAddr, Option<Vec<Option<u8>>>)>()).prop_map(
        |((plain, integers, numbers), deep, (array, address, nested))| {
            let (flag, letter, single, double, text, option) = plain;
            let (signed, unsigned, cents, place, id, byte) = numbers;
            let (sizes, set, by_text, keys, by_flag, tree, term) = deep;
            Everything {
                unit: (),
                flag,
                integers,
                small_i128: signed.into(),
                small_u128: unsigned.into(),
                single,
                double,
                letter,
                text: text.clone(),
                option,
                nested,
                array,
                sizes,
                set,
                by_text,
                by_number: keys.into_iter().map(|key| (key, (Marker, byte))).collect(),
                by_flag,
                cents: Cents(cents),
                place: Place(place, text.clone()),
                marker: Marker,
                tree,
                term,
                node: Node::Parts(vec![Node::Parts(Vec::new()), Node::Parts(Vec::new())]),
                generic: Generic { value: Generic { value: byte } },
                again: Generic { value: text.clone() },
                duration: Duration::new(unsigned, 7),
                address,
                shared: Box::new(Cents(cents)),
                result: if flag { Ok(byte) } else { Err(text) },
                id: NonZeroU32::new(id).unwrap(),
                skipped: None,
                renamed: byte,
            }
        },
    )
}

/// As `serde_json` has it, but for the address, which it would write for people.
fn oracle(value: &Everything) -> serde_json::Value {
    let mut json = serde_json::to_value(value).unwrap();
    json["address"] = match value.address {
        IpAddr::V4(address) => serde_json::json!({ "V4": address.octets() }),
        IpAddr::V6(address) => serde_json::json!({ "V6": address.octets() }),
    };
    json
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_by_shape_is_that_of_the_value(value in values()) {
        let (shape, oracle) = (shape_of::<Everything>(), oracle(&value));
        let bytes = bincode::serialize(&value).unwrap();
        prop_assert_eq!(&to_json(&shape, BINCODE, &bytes).unwrap(), &oracle);
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        prop_assert_eq!(&to_json(&shape, MESSAGE_PACK, &bytes).unwrap(), &oracle);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let shape = shape_of::<Everything>();
        let _ = to_json(&shape, BINCODE, &bytes);
        let _ = to_json(&shape, MESSAGE_PACK, &bytes);
        let _ = to_json(&shape_of::<Vec<()>>(), BINCODE, &bytes);
    }
}

#[test]
fn a_shape_says_what_is_written_and_where_types_begin_again() {
    let shape = shape_of::<(Everything, Option<Term>)>();
    assert_eq!(shape.to_string(), "(Everything, Option<Term>)");
    let json = serde_json::to_value(shape_of::<Term>()).unwrap();
    let expected = serde_json::json!({
        "fingerprint": shape_of::<Term>().fingerprint().to_string(),
        "root": {"type": 0},
        "types": [
            {"name": "Term", "body": {"enum": [
                {"name": "Sum", "body": {"tuple": [{"type": 0}, {"type": 0}]}},
                {"name": "Call", "body": {"newtype": {"type": 1}}},
                {"name": "Number", "body": {"newtype": "u64"}},
            ]}},
            {"name": "Call", "body": {"struct": {"fields": [
                {"name": "argument", "shape": {"option": {"type": 0}}, "default": true},
                {"name": "named", "shape": {"map": ["str", {"type": 0}]}},
            ]}}},
        ],
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<TypeShape>(json).unwrap(), shape_of::<Term>());
}

/// Fingerprints are in checkpoints: they are the same for ever.
#[test]
fn golden() {
    assert_eq!(shape_of::<u64>().fingerprint().to_string(), GOLDEN[0]);
    assert_eq!(shape_of::<Term>().fingerprint().to_string(), GOLDEN[1]);
    assert_eq!(shape_of::<Vec<Size>>().fingerprint().to_string(), GOLDEN[2]);
}

const GOLDEN: [&str; 3] = ["cfbb1ce5c4399293", "2e471be9687ff952", "300112a4309d4f70"];

mod moved {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Call {
        argument: Option<super::Term>,
        named: std::collections::HashMap<String, super::Term>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Generic<T> {
        value: T,
    }
}

#[test]
fn a_type_that_moved_has_the_same_shape() {
    assert_eq!(shape_of::<moved::Call>(), shape_of::<Call>());
    assert_eq!(
        shape_of::<HashMap<u8, moved::Generic<u8>>>(),
        shape_of::<BTreeMap<u8, Generic<u8>>>()
    );
    // Two types that are alike count as one, wherever they are.
    let (one, two) =
        (shape_of::<(Generic<u8>, Generic<u8>)>(), shape_of::<(Generic<u8>, moved::Generic<u8>)>());
    assert_eq!(one.fingerprint(), two.fingerprint());
}

/// The enum that had no end in its first variants was not looked into again.
#[test]
fn regression_a_type_that_ends_late_is_traced_from_wherever_it_is_reached() {
    let shape = shape_of::<Term>();
    assert_eq!(shape_of::<Option<Term>>().definition(0), shape.definition(0));
    assert_eq!(shape_of::<HashMap<u8, Term>>().definition(1), shape.definition(1));
    assert_eq!(shape_of::<Vec<Node>>().definition(0), shape_of::<Node>().definition(0));
    let shape = shape_of::<Pong>();
    assert_eq!(shape_of::<Option<Vec<Pong>>>().definition(0), shape.definition(0));
    assert_eq!(shape_of::<Option<Ping>>().definition(1).unwrap().name, "Pong");
}

/// Neither ends but by a sequence, three types further on.
#[derive(Serialize, Deserialize)]
enum Ping {
    To(Pong),
    Last(Vec<Ping>),
}

#[derive(Serialize, Deserialize)]
struct Pong {
    ping: Box<Ping>,
    more: Option<Box<Pong>>,
}

#[test]
fn a_type_with_other_parameters_is_another() {
    assert_eq!(
        differ::<(Generic<u8>, Generic<u16>), (Generic<u16>, Generic<u8>)>(Fitting::ByPosition),
        [
            "Generic.value: u8 in the checkpoint, u16 in the program",
            "Generic.value: u16 in the checkpoint, u8 in the program"
        ]
    );
}

/// Versions of one struct, as a program has them one after the other.
mod order {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct First {
        pub(super) id: u64,
        pub(super) amount: u32,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct Wider {
        id: u64,
        amount: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct Swapped {
        amount: u32,
        id: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct Added {
        id: u64,
        amount: u32,
        note: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct AddedWithDefault {
        pub(super) id: u64,
        pub(super) amount: u32,
        #[serde(default)]
        pub(super) note: String,
        pub(super) seen: Option<u64>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct Removed {
        id: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order", deny_unknown_fields)]
    pub(super) struct RemovedAndDenied {
        id: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Order")]
    pub(super) struct Renamed {
        id: u64,
        cents: u32,
    }
}

use order::{Added, AddedWithDefault, First, Removed, RemovedAndDenied, Renamed, Swapped, Wider};

#[test]
fn by_position_every_change_is_one() {
    let position = Fitting::ByPosition;
    assert_eq!(differ::<First, First>(position), [""; 0]);
    assert_eq!(
        differ::<First, Wider>(position),
        ["Order.amount: u32 in the checkpoint, u64 in the program"]
    );
    assert_eq!(
        differ::<First, Swapped>(position),
        ["Order: id, amount in the checkpoint, amount, id in the program"]
    );
    assert_eq!(
        differ::<First, AddedWithDefault>(position),
        [
            "Order.note: nothing in the checkpoint, String in the program",
            "Order.seen: nothing in the checkpoint, Option<u64> in the program"
        ]
    );
    assert_eq!(
        differ::<First, Renamed>(position),
        [
            "Order.amount: u32 in the checkpoint, nothing in the program",
            "Order.cents: nothing in the checkpoint, u32 in the program"
        ]
    );
    assert_eq!(
        differ::<Vec<First>, Option<First>>(position),
        ["[Order] in the checkpoint, Option<Order> in the program"]
    );
    assert_eq!(
        differ::<Cents, Generic<i64>>(position),
        [
            "Cents in the checkpoint, Generic (which serde may call Cents by `rename`) in the program"
        ]
    );
}

#[test]
fn by_name_fields_may_come_with_defaults_and_go() {
    let name = Fitting::ByName;
    assert_eq!(differ::<First, AddedWithDefault>(name), [""; 0]);
    assert_eq!(differ::<Vec<Option<First>>, Vec<Option<Removed>>>(name), [""; 0]);
    assert_eq!(differ::<First, Swapped>(name), [""; 0]);
    assert_eq!(
        differ::<First, Added>(name),
        ["Order.note: nothing in the checkpoint, String without a default in the program"]
    );
    assert_eq!(
        differ::<First, RemovedAndDenied>(name),
        ["Order.amount: u32 in the checkpoint, nothing in the program"]
    );
    assert_eq!(
        differ::<First, Renamed>(name),
        ["Order.cents: nothing in the checkpoint, u32 without a default in the program"]
    );
    assert_eq!(
        differ::<First, Wider>(name),
        ["Order.amount: u32 in the checkpoint, u64 in the program"]
    );
    // What the rule allows, the decoder does.
    let bytes = rmp_serde::to_vec_named(&First { id: 7, amount: 8 }).unwrap();
    let read: AddedWithDefault = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read, AddedWithDefault { id: 7, amount: 8, note: String::new(), seen: None });
}

mod wider {
    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) enum Size {
        Small,
        Huge,
        Numbered(u8),
        Pair(i16, char),
        Boxed { wide: f32, high: Option<f64> },
    }
}

#[test]
fn by_name_an_enum_may_have_more_variants_but_not_fewer() {
    assert_eq!(differ::<Size, wider::Size>(Fitting::ByName), [""; 0]);
    assert_eq!(
        differ::<wider::Size, Size>(Fitting::ByName),
        ["Size::Huge: a variant in the checkpoint, nothing in the program"]
    );
    assert_eq!(
        differ::<Size, wider::Size>(Fitting::ByPosition),
        ["Size::Huge: nothing in the checkpoint, a variant in the program"]
    );
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "its shape is all that is asked for")]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "its shape is all that is asked for")]
struct Endless {
    own: Box<Endless>,
}

#[test]
fn what_cannot_be_traced_says_so() {
    let refused = |outcome: Result<TypeShape, Untraceable>| outcome.unwrap_err().to_string();
    assert_eq!(refused(trace::<Endless>(Readable::ByPrograms)), "Endless has no end");
    trace::<Untagged>(Readable::ByPrograms).unwrap_err();
    let any = trace::<serde_json::Value>(Readable::ByPrograms).unwrap();
    assert_eq!(any.root(), &Shape::Any);
}

#[test]
fn what_json_cannot_say_is_said_as_text() {
    let shape = shape_of::<(u128, BTreeMap<(u8, u8), f64>)>();
    let value = (u128::MAX, BTreeMap::from([((1u8, 2u8), f64::NAN)]));
    let json = to_json(&shape, BINCODE, &bincode::serialize(&value).unwrap()).unwrap();
    let expected = serde_json::json!([u128::MAX.to_string(), {"[1,2]": null}]);
    assert_eq!(json, expected);
}

#[test]
fn json_of_what_is_not_of_the_shape_is_an_error() {
    let shape = shape_of::<First>();
    let error = |codec: &str, bytes: &[u8]| to_json(&shape, codec, bytes).unwrap_err().to_string();
    let bytes = bincode::serialize(&First { id: 7, amount: 8 }).unwrap();
    assert!(error(BINCODE, &bytes[..11]).contains("11 bytes are no Order"));
    assert!(error(BINCODE, &[&bytes[..], &[0]].concat()).contains("13 bytes are no Order"));
    let bytes = rmp_serde::to_vec_named(&First { id: 7, amount: 8 }).unwrap();
    assert!(error(MESSAGE_PACK, &[&bytes[..], &[0]].concat()).contains("1 bytes are left over"));
    assert!(error("abomonation-0.7 rustc 1.88", &bytes).contains("not available without it"));
    assert!(error("morse", &bytes).contains("does not read \"morse\""));
}
