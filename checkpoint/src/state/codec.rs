//! How keys and values become bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::BoxError;

/// Encodes values of `T` and decodes them again.
///
/// Contract: equal keys encode to equal bytes, because segments are folded by the bytes of keys.
/// Values should: those that do not, such as a `HashMap` after a restore, are stored and restored
/// rightly, but leave their operator without a digest until its next base.
pub trait Codec<T> {
    /// The name that metadata records; a checkpoint is restored only with the same.
    const NAME: &'static str;

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
    fn decode(bytes: &[u8]) -> Result<T, BoxError>;
}

/// bincode 1.3 with fixed-width integers: as fast as copying (`benches/`), not self-describing.
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    const NAME: &'static str = "bincode-1";

    #[inline]
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(bincode::serialize_into(bytes, value)?)
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, BoxError> {
        use bincode::Options;
        // `deserialize` alone accepts bytes left over: half of a wrong type would pass for a value.
        Ok(bincode::DefaultOptions::new()
            .with_fixint_encoding()
            .reject_trailing_bytes()
            .deserialize(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut bytes = Vec::new();
        Bincode::encode(&(1u64, 2u64), &mut bytes).unwrap();
        assert_eq!(<Bincode as Codec<(u64, u64)>>::decode(&bytes).unwrap(), (1, 2));
        assert!(<Bincode as Codec<u64>>::decode(&bytes).is_err());
        assert!(<Bincode as Codec<u64>>::decode(&bytes[..7]).is_err());
    }
}
