//! MessagePack with the names of fields: larger and slower than bincode, and forgiving.

use serde::{Serialize, de::DeserializeOwned};

use super::{MESSAGE_PACK, SerdeCodec, Verified, sealed};
use crate::error::BoxError;

/// MessagePack, structs as maps by the names of their fields.
///
/// State in it may be read as a type that has other fields: new ones with `#[serde(default)]` (an
/// `Option` has one by itself), and without some of the old. `docs/schema.md` has the whole rule.
/// Keys must be the same type all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl sealed::Sealed for MessagePack {}
impl SerdeCodec for MessagePack {
    const NAME: &'static str = MESSAGE_PACK;

    #[inline]
    fn encode_serde<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(rmp_serde::encode::write_named(bytes, value)?)
    }

    #[inline]
    fn decode_serde<T: DeserializeOwned>(bytes: Verified<'_>) -> Result<T, BoxError> {
        let mut rest = bytes.bytes();
        let value = rmp_serde::from_read(&mut rest)?;
        if !rest.is_empty() {
            return Err(format!("{} bytes are left over", rest.len()).into());
        }
        Ok(value)
    }
}
