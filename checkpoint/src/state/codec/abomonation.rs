//! Values as they are in memory, by the crate `abomonation`.
//!
//! That crate copies a value's bytes, pointers and padding included, and writes what it owns on the
//! heap behind them. It is as fast as copying gets and checks nothing, so:
//!
//! * a type must be said, by `unsafe impl` [`Trusted`], to be one that it treats well;
//! * bytes are decoded only when their checksum was verified ([`Verified`]);
//! * the name of the codec has the compiler's version and the target, and state that was written
//!   by another is refused: the layout of a type is that of one compiler;
//! * keys are in bincode: two equal strings are not equal in memory, and segments are folded by
//!   the bytes of keys;
//! * what is decoded is copied to where it is aligned, and cloned from there, so that nothing in
//!   the table points into a buffer.
//!
//! Its forks (`lurk-lab`'s, and those within other projects) are not on the registry by
//! themselves; `columnar`, which timely moved to, encodes containers and not single values.

#![allow(unsafe_code)]

use serde::{Serialize, de::DeserializeOwned};

use super::{Bincode, Codec, Decode, Verified};
use crate::error::BoxError;
use crate::schema::{Readable, TypeShape, Untraceable, trace};

/// See the module: as fast as a copy, for types that are [`Trusted`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Abomonation;

/// A type that may be written as it is in memory, and be read so.
///
/// # Safety
///
/// Who implements it promises that
///
/// * its `Abomonation` is derived, or writes and restores whatever the type owns on the heap;
/// * it has no pointers but to what it owns, no handles, nothing that means something in one
///   process only;
/// * what it owns on the heap is aligned to 1 byte (`String`, `Vec<u8>`), or lies, in the order in
///   which it is written, at multiples of its alignment: nothing is padded;
/// * it is built into every program that reads the state as it was into the one that wrote it:
///   the same definition, and the same version of whatever it is made of.
pub unsafe trait Trusted: ::abomonation::Abomonation + Clone {}

macro_rules! trusted {
    ($($type:ty)*) => {
        $(
            // SAFETY: has no pointers and owns nothing on the heap.
            unsafe impl Trusted for $type {}
        )*
    };
}

trusted! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char }

// SAFETY: as above.
unsafe impl Trusted for () {}

// SAFETY: what it owns is aligned to 1 byte.
unsafe impl Trusted for String {}
// SAFETY: as above.
unsafe impl Trusted for Vec<u8> {}
// SAFETY: owns what its value owns.
unsafe impl<T: Trusted> Trusted for Option<T> {}
// SAFETY: owns what its elements own, in their order.
unsafe impl<A: Trusted> Trusted for (A,) {}
// SAFETY: as above.
unsafe impl<A: Trusted, B: Trusted> Trusted for (A, B) {}
// SAFETY: as above.
unsafe impl<A: Trusted, B: Trusted, C: Trusted> Trusted for (A, B, C) {}
// SAFETY: as above.
unsafe impl<A: Trusted, B: Trusted, C: Trusted, D: Trusted> Trusted for (A, B, C, D) {}

/// Memory that is aligned for all primitives.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Aligned([u8; 16]);

impl<T: Trusted + Serialize + DeserializeOwned> Codec<T> for Abomonation {
    const NAME: &'static str = concat!("abomonation-0.7 of ", env!("HIGHWATER_COMPILER"));
    // Pointers, capacities and padding are in the bytes.
    const IS_CANONICAL: bool = false;

    #[inline]
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        // SAFETY: `T` is `Trusted` to write what it owns. Its padding is copied as bytes, which is
        // this crate's known sin: the compilers that we name do not make use of it.
        Ok(unsafe { ::abomonation::encode(value, bytes) }?)
    }

    fn decode(bytes: Verified<'_>) -> Result<T, BoxError> {
        let bytes = bytes.bytes();
        let needs = align_of::<T>();
        if needs > align_of::<Aligned>() {
            return Err(
                format!("its type is aligned to {needs} bytes, at most 16 are given").into()
            );
        }
        let mut aligned = vec![Aligned([0; 16]); bytes.len().div_ceil(16)];
        // SAFETY: `Aligned` is 16 bytes without padding, so this is the vector's own memory, which
        // is not used otherwise while the slice lives.
        let memory = unsafe {
            std::slice::from_raw_parts_mut(aligned.as_mut_ptr().cast::<u8>(), aligned.len() * 16)
        };
        let memory = &mut memory[..bytes.len()];
        memory.copy_from_slice(bytes);
        // SAFETY: the bytes are verified to be what was written, by a `T` of this layout, since
        // state of another compiler or another shape is refused before anything is read. The
        // memory is aligned. What is returned is cloned before the memory goes, and never dropped.
        let decoded = unsafe { ::abomonation::decode::<T>(memory) };
        match decoded {
            Some((value, [])) => Ok(value.clone()),
            Some((_, rest)) => Err(format!("{} bytes are left over", rest.len()).into()),
            None => Err(format!("{} bytes are too few", bytes.len()).into()),
        }
    }

    #[inline]
    fn encode_key(key: &T, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        Bincode::encode(key, bytes)
    }

    #[inline]
    fn decode_key(bytes: Verified<'_>) -> Result<T, BoxError> {
        Bincode::decode(bytes)
    }

    fn decoder(name: &str) -> Option<Decode<T>> {
        if name == <Self as Codec<T>>::NAME {
            return Some(<Self as Codec<T>>::decode);
        }
        <Bincode as Codec<T>>::decoder(name)
    }

    fn key_decoder(name: &str) -> Option<Decode<T>> {
        let name = if name.starts_with(super::ABOMONATION) { super::BINCODE } else { name };
        <Bincode as Codec<T>>::decoder(name)
    }

    fn shape() -> Result<TypeShape, Untraceable> {
        trace::<T>(Readable::ByPrograms)
    }
}
