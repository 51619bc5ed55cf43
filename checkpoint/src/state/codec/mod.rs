//! How keys and values become bytes.
//!
//! | codec | what it is for | a changed type |
//! |---|---|---|
//! | [`Bincode`] | speed; the default | needs a migration |
//! | [`MessagePack`] | fields by their names | fields may come with defaults, and go |
//! | `Abomonation` | values as they are in memory; feature `abomonation`, and `unsafe` | needs another codec |

#[cfg(feature = "abomonation")]
mod abomonation;
mod message_pack;

use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "abomonation")]
pub use self::abomonation::{Abomonation, Trusted};
pub use message_pack::MessagePack;

use crate::error::BoxError;
use crate::schema::{Readable, TypeShape, Untraceable, trace};

/// The name of [`Bincode`].
pub const BINCODE: &str = "bincode-1";

/// The name of [`MessagePack`].
pub const MESSAGE_PACK: &str = "messagepack";

/// What the name of the codec of the feature `abomonation` begins with.
pub const ABOMONATION: &str = "abomonation";

/// Bytes whose checksum was verified: what an encoder wrote, not what a disk made of it.
///
/// Only the reader of segments makes them, by [`VerifiedBlock`](crate::segment::VerifiedBlock); so
/// no codec is ever given others.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a [u8]);

impl<'a> Verified<'a> {
    /// For the reader of segments, and for tests of safe codecs.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Verified(bytes)
    }

    /// Says that the bytes are what a codec encoded.
    ///
    /// # Safety
    ///
    /// They are, byte for byte: some codecs take them for what is in memory, pointers included.
    #[expect(unsafe_code, reason = "the caller's promise; nothing is done here")]
    pub unsafe fn new_unchecked(bytes: &'a [u8]) -> Self {
        Verified(bytes)
    }

    /// The bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Decodes a `T` from all of the bytes.
pub type Decode<T> = fn(Verified<'_>) -> Result<T, BoxError>;

/// Encodes values of `T` and decodes them again.
///
/// Contract: equal keys encode to equal bytes, because segments are folded by the bytes of keys.
/// Values should: those that do not, such as a `HashMap` after a restore, are stored and restored
/// rightly, but leave their operator without a digest until its next base.
pub trait Codec<T> {
    /// The name that metadata records.
    const NAME: &'static str;

    /// Whether equal values encode to equal bytes, as equal keys always do. Else state has no digest.
    const IS_CANONICAL: bool = true;

    /// Appends the encoding of `value` to `bytes`.
    ///
    /// # Errors
    ///
    /// If `value` has no encoding.
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Decodes all of `bytes`.
    ///
    /// # Errors
    ///
    /// If `bytes` is not the encoding of a `T`, or holds more than that.
    fn decode(bytes: Verified<'_>) -> Result<T, BoxError>;

    /// As [`encode`](Codec::encode), for a key: a codec whose bytes are not equal for equal values
    /// has another way for them.
    ///
    /// # Errors
    ///
    /// As [`encode`](Codec::encode).
    #[inline]
    fn encode_key(key: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Self::encode(key, bytes)
    }

    /// Decodes what [`encode_key`](Codec::encode_key) wrote.
    ///
    /// # Errors
    ///
    /// As [`decode`](Codec::decode).
    #[inline]
    fn decode_key(bytes: Verified<'_>) -> Result<T, BoxError> {
        Self::decode(bytes)
    }

    /// What decodes values that the codec of that name encoded, if a `T` can be had from them.
    fn decoder(name: &str) -> Option<Decode<T>>;

    /// As [`decoder`](Codec::decoder), for keys.
    fn key_decoder(name: &str) -> Option<Decode<T>> {
        Self::decoder(name)
    }

    /// What a `T` looks like in this encoding.
    ///
    /// # Errors
    ///
    /// If it does not always look the same.
    fn shape() -> Result<TypeShape, Untraceable>;
}

/// A codec of every type that serde knows: what an operator wraps its program's values in has it as
/// well.
pub trait SerdeCodec: sealed::Sealed + 'static {
    /// As [`Codec::NAME`].
    const NAME: &'static str;

    /// As [`Codec::encode`].
    ///
    /// # Errors
    ///
    /// If `value` has no encoding.
    fn encode_serde<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError>;

    /// As [`Codec::decode`].
    ///
    /// # Errors
    ///
    /// If `bytes` is not the encoding of a `T`, or holds more than that.
    fn decode_serde<T: DeserializeOwned>(bytes: Verified<'_>) -> Result<T, BoxError>;
}

mod sealed {
    pub trait Sealed {}
}

impl<C: SerdeCodec, T: Serialize + DeserializeOwned> Codec<T> for C {
    const NAME: &'static str = <C as SerdeCodec>::NAME;

    #[inline]
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        C::encode_serde(value, bytes)
    }

    #[inline]
    fn decode(bytes: Verified<'_>) -> Result<T, BoxError> {
        C::decode_serde(bytes)
    }

    fn decoder(name: &str) -> Option<Decode<T>> {
        serde_decoder(name)
    }

    fn shape() -> Result<TypeShape, Untraceable> {
        trace::<T>(Readable::ByPrograms)
    }
}

/// bincode 1.3 with fixed-width integers: as fast as copying (`benches/`), not self-describing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

impl sealed::Sealed for Bincode {}
impl SerdeCodec for Bincode {
    const NAME: &'static str = BINCODE;

    #[inline]
    fn encode_serde<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        // To serde it is a sequence, each byte by itself: 1 us for 1 KB.
        if let Ok(blob) = castaway::cast!(value, &Vec<u8>) {
            bytes.extend_from_slice(&(blob.len() as u64).to_le_bytes());
            bytes.extend_from_slice(blob);
            return Ok(());
        }
        Ok(bincode::serialize_into(bytes, value)?)
    }

    #[inline]
    fn decode_serde<T: DeserializeOwned>(bytes: Verified<'_>) -> Result<T, BoxError> {
        use bincode::Options;
        // `deserialize` alone accepts bytes left over: half of a wrong type would pass for a value.
        Ok(bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .reject_trailing_bytes()
            .deserialize(bytes.bytes())?)
    }
}

/// What decodes a type that serde knows.
pub(crate) fn serde_decoder<T: Serialize + DeserializeOwned>(name: &str) -> Option<Decode<T>> {
    match name {
        BINCODE => Some(<Bincode as Codec<T>>::decode),
        MESSAGE_PACK => Some(<MessagePack as Codec<T>>::decode),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has a way of its own has the same bytes.
    #[test]
    fn a_vector_of_bytes_is_encoded_as_bincode_does() {
        for blob in [vec![], vec![7], (0..=255).collect::<Vec<u8>>()] {
            let mut bytes = Vec::new();
            Bincode::encode(&blob, &mut bytes).unwrap();
            assert_eq!(bytes, bincode::serialize(&blob).unwrap());
            assert_eq!(<Bincode as Codec<Vec<u8>>>::decode(Verified::new(&bytes)).unwrap(), blob);
        }
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut bytes = Vec::new();
        Bincode::encode(&(1u64, 2u64), &mut bytes).unwrap();
        let all = Verified::new(&bytes);
        assert_eq!(<Bincode as Codec<(u64, u64)>>::decode(all).unwrap(), (1, 2));
        assert!(<Bincode as Codec<u64>>::decode(all).is_err());
        assert!(<Bincode as Codec<u64>>::decode(Verified::new(&bytes[..7])).is_err());

        let mut bytes = Vec::new();
        MessagePack::encode(&(1u64, 2u64), &mut bytes).unwrap();
        let all = Verified::new(&bytes);
        assert_eq!(<MessagePack as Codec<(u64, u64)>>::decode(all).unwrap(), (1, 2));
        bytes.push(0);
        assert!(<MessagePack as Codec<(u64, u64)>>::decode(Verified::new(&bytes)).is_err());
    }
}
