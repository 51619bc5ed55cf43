//! Proves that values that were written as they lie in memory are read as what they were, from
//! wherever the bytes lie, and that bytes of another length or compiler are refused.

#![allow(unsafe_code)]
// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use highwater_checkpoint::state::{Abomonation, BINCODE, Codec, Verified};

type Value = (String, Option<u64>, Vec<u8>);

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    Abomonation::encode(value, &mut bytes).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Result<Value, String> {
    // SAFETY: the codec wrote them, but for some that are missing or too many, at the end: these it
    // checks itself.
    let verified = unsafe { Verified::new_unchecked(bytes) };
    <Abomonation as Codec<Value>>::decode(verified).map_err(|error| error.to_string())
}

#[test]
fn what_is_decoded_is_what_was_encoded_wherever_the_bytes_lie() {
    for n in 0..40 {
        let value = ("x".repeat(n), (n > 5).then_some(n as u64), vec![n as u8; n / 3]);
        let bytes = [vec![0; n % 8], encoded(&value)].concat();
        let decoded = decode(&bytes[n % 8..]).unwrap();
        drop(bytes);
        assert_eq!(decoded, value);
    }
}

#[test]
fn too_few_bytes_and_too_many_are_errors() {
    let bytes = encoded(&("text".to_owned(), None, vec![1]));
    for len in 0..bytes.len() {
        let error = decode(&bytes[..len]).unwrap_err();
        assert_eq!(error, format!("{len} bytes are too few"));
    }
    assert_eq!(decode(&[&bytes[..], &[0]].concat()).unwrap_err(), "1 bytes are left over");
}

/// Two strings that are equal lie at two places.
#[test]
fn equal_keys_are_equal_in_bytes() {
    let key = |spare: usize| {
        let (mut bytes, mut text) = (Vec::new(), "key".to_owned());
        text.reserve(spare);
        Abomonation::encode_key(&text, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(key(0), key(100));
    // Both live, so that they lie at two places.
    let texts = ["key".to_owned(), "key".to_owned()];
    let values = texts.each_ref().map(|text| {
        let mut bytes = Vec::new();
        Abomonation::encode(text, &mut bytes).unwrap();
        bytes
    });
    assert_ne!(values[0], values[1], "else keys need no way of their own");
}

#[test]
fn bytes_of_another_compiler_have_no_decoder() {
    let decoder = |name: &str| <Abomonation as Codec<u64>>::decoder(name).is_some();
    assert!(decoder(<Abomonation as Codec<u64>>::NAME) && decoder(BINCODE));
    assert!(!decoder("abomonation-0.7 of rustc 1.0.0 for x86_64"));
}
