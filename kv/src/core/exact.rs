//! Decoding that takes only what we would have encoded.
//!
//! postcard is lenient: it takes numbers that are longer than need be, and ignores what follows a value. So
//! one message would have many encodings, and bytes that are no message of ours would pass for one. Here
//! what was decoded is encoded once more, against the bytes that it came from, without a copy of them.

use postcard::{
    Error, Result,
    ser_flavors::{Flavor, Size},
};
use serde::{Serialize, de::DeserializeOwned};

/// The value at the beginning of some bytes, and the bytes behind it.
pub fn take<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes)?;
    check(&value, &bytes[..bytes.len() - rest.len()])?;
    Ok((value, rest))
}

/// As [`take`], of values without maps and sets, which is several times cheaper: only the length is looked at. Each
/// number, and so each value, is written as short as can be; what is written otherwise is longer, but for a map
/// whose keys are in another order.
pub fn take_shortest<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8])> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes)?;
    match postcard::serialize_with_flavor(&value, Size::default())? == bytes.len() - rest.len() {
        true => Ok((value, rest)),
        false => Err(Error::DeserializeBadEncoding),
    }
}

/// Holds a value against the bytes that it came from.
pub fn check<T: Serialize>(value: &T, encoded: &[u8]) -> Result<()> {
    postcard::serialize_with_flavor(value, Against { left: encoded })
}

/// The value that some bytes are.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match take(bytes)? {
        (value, []) => Ok(value),
        (_, [..]) => Err(Error::DeserializeBadEncoding),
    }
}

/// Takes an encoding, and holds each byte of it against those that are left.
struct Against<'a> {
    left: &'a [u8],
}

impl Flavor for Against<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.strip_prefix(bytes).ok_or(Error::DeserializeBadEncoding)?;
        Ok(())
    }

    fn finalize(self) -> Result<()> {
        match self.left {
            [] => Ok(()),
            [..] => Err(Error::DeserializeBadEncoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_value_has_one_encoding() {
        assert_eq!(decode::<u32>(&[0x05]), Ok(5));
        decode::<u32>(&[0x85, 0x00]).expect_err("a number that is longer than need be");
        decode::<u32>(&[0x05, 0x00]).expect_err("a byte behind the value");
        decode::<u32>(&[0x85]).expect_err("a number that is cut off");
        assert_eq!(take_shortest::<u32>(&[0x05, 0x85]), Ok((5, &[0x85][..])));
        take_shortest::<u32>(&[0x85, 0x00, 0x01])
            .expect_err("a number that is longer than need be");
        assert_eq!(take::<u32>(&[0x05, 0x85]), Ok((5, &[0x85][..])));
        take::<u32>(&[0x85, 0x00, 0x01]).expect_err("a number that is longer than need be");
        decode::<String>(&[0x81, 0x00, b'a']).expect_err("a length that is longer than need be");
        type Map = BTreeMap<u8, u8>;
        assert_eq!(decode::<Map>(&[2, 1, 7, 2, 8]), Ok(Map::from([(1, 7), (2, 8)])));
        decode::<Map>(&[2, 2, 8, 1, 7]).expect_err("keys out of their order");
        decode::<Map>(&[2, 1, 6, 1, 7]).expect_err("a key twice");
    }
}
