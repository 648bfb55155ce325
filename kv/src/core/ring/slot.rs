//! From a key to its slot: the hash of Redis Cluster, so that stock cluster clients agree with us.
//!
//! Source: Redis Cluster specification, "Key distribution model" and "Hash tags".

use crc::{CRC_16_XMODEM, Crc, Table};

use crate::core::types::Slot;

/// Ring positions of a cluster. Models use fewer.
pub const RING_SIZE: u16 = 16_384;

const CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// The slot of `key` on a ring of `size` positions.
pub fn slot_of(key: &str, size: u16) -> Slot {
    Slot(CRC16.checksum(hashed_part(key).as_bytes()) % size)
}

/// What is between the first `{` and the first `}` after it, if that is anything; else the key.
fn hashed_part(key: &str) -> &str {
    // Keys are short: a plain loop over the bytes beats a searcher that has to be set up.
    let find = |text: &str, wanted: u8| text.bytes().position(|byte| byte == wanted);
    let Some(open) = find(key, b'{') else { return key };
    match find(&key[open + 1..], b'}') {
        None | Some(0) => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors_of_redis_cluster() {
        // `CLUSTER KEYSLOT` of redis-server 7.0.15.
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("", 0),
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("bar{hash_tag}", 2_515),
        ] {
            assert_eq!(slot_of(key, RING_SIZE), Slot(slot), "{key:?}");
        }
    }

    #[test]
    fn a_hash_tag_is_the_first_non_empty_pair_of_braces() {
        let slot = |key| slot_of(key, RING_SIZE);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot("bar"));
        assert_ne!(slot("foo{}{bar}"), slot("bar"));
        assert_ne!(slot("foo{bar"), slot("bar"));
    }
}
