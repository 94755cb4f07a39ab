//! Stored bytes: keys, the versioned and checksummed envelope of every value, and the hash chain of a stream.
//!
//! ```text
//!  table   key                           value
//!  log     number:u64 sequence:u64       sealed( link:32 of the record before, record )
//!  live    's' stream id                 sealed( number:u64 sequence:u64 link:32 of the last record, summary )
//!  ended   's' stream id                 the same; a stream is in exactly one of the two
//!  side    length:u16 space, key         sealed( value )
//!          65535:u16 'g' number:u64      sealed( next:u64 last:u64 ): records of a removed stream that are still there
//!          65535:u16 'n'                 sealed( number:u64 ): the least that a new stream may have
//!
//!  sealed(body) = version:u8 (1)  checksum:u64  body      checksum: XXH3-64 of version, key and body
//!  link(n)      = SHA-256( link(n-1), n, record )         link(0) = SHA-256( domain, stream id )
//! ```
//!
//! Numbers are big-endian, so that keys sort. The number stands for the stream id in the log and is never reused.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

/// The version that this release writes into values, and the newest it reads.
const SEALED_VERSION: u8 = 1;
/// Version and checksum.
const SEAL: usize = 9;
/// Longest stream id or side key in bytes; the table engine takes keys of up to 65,535.
pub(super) const MAX_KEY: usize = 60_000;

/// Hash that stands for a record and everything before it.
pub(super) type Link = [u8; 32];

/// Why stored bytes are not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("a stored value is cut short")]
    Short,
    #[error("a stored value does not match its checksum")]
    Checksum,
    #[error("a stored value has version {0}, written by a newer release; this one reads {SEALED_VERSION}")]
    Newer(u8),
}

/// Puts `parts` behind version and checksum.
fn seal(key: &[u8], parts: [&[u8]; 2]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL + parts[0].len() + parts[1].len());
    out.push(SEALED_VERSION);
    out.extend_from_slice(&checksum(key, parts).to_be_bytes());
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
    out
}

/// The body of a sealed value.
fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    // The version first: a newer one may compute its checksum in another way.
    match value.first() {
        None => return Err(Damage::Short),
        Some(&SEALED_VERSION) => {}
        Some(&version) if version > SEALED_VERSION => return Err(Damage::Newer(version)),
        Some(_) => return Err(Damage::Checksum),
    }
    let (sum, body) = value[1..].split_first_chunk::<8>().ok_or(Damage::Short)?;
    if u64::from_be_bytes(*sum) == checksum(key, [body, &[]]) { Ok(body) } else { Err(Damage::Checksum) }
}

fn checksum(key: &[u8], parts: [&[u8]; 2]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[SEALED_VERSION]);
    // The key is covered too, so that a value which turns up under another key is noticed.
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(parts[0]);
    hasher.update(parts[1]);
    hasher.digest()
}

/// Key of a stream's head.
pub(super) fn head_key(stream: &[u8]) -> Vec<u8> {
    // The prefix keeps the order and lets the empty id be a key.
    [b"s", stream].concat()
}

/// The stream id of a head's key.
pub(super) fn stream_of(head_key: &[u8]) -> &[u8] {
    head_key.get(1..).unwrap_or_default()
}

/// Key of a record.
pub(super) fn record_key(number: u64, sequence: u64) -> [u8; 16] {
    (u128::from(number) << 64 | u128::from(sequence)).to_be_bytes()
}

/// Number and sequence in a record's key.
pub(super) fn parse_record_key(key: &[u8]) -> Option<(u64, u64)> {
    let key = u128::from_be_bytes(key.try_into().ok()?);
    // Both halves are 64 bits wide.
    #[expect(clippy::cast_possible_truncation)]
    Some(((key >> 64) as u64, key as u64))
}

/// Key prefix of a space of side records; `None` for a name that is too long.
pub(super) fn side_prefix(space: &str) -> Option<Vec<u8>> {
    let length = u16::try_from(space.len()).ok()?;
    Some([&length.to_be_bytes(), space.as_bytes()].concat())
}

/// No space has a name of this length, so these keys are the store's own.
const OWN: [u8; 2] = [0xFF, 0xFF];

/// Key of the note that a removed stream has records left.
pub(super) fn gone_key(number: u64) -> Vec<u8> {
    [&OWN[..], b"g", &number.to_be_bytes()].concat()
}

/// Prefix of these keys.
pub(super) fn gone_prefix() -> Vec<u8> {
    [&OWN[..], b"g"].concat()
}

/// Key of the note about the numbers of new streams.
pub(super) fn next_number_key() -> Vec<u8> {
    [&OWN[..], b"n"].concat()
}

/// Space and key of a side record, for messages.
pub(super) fn side_name(key: &[u8]) -> (String, Vec<u8>) {
    let Some((length, rest)) = key.split_first_chunk::<2>() else { return (String::new(), key.to_vec()) };
    let (space, key) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
    (String::from_utf8_lossy(space).into_owned(), key.to_vec())
}

/// The link before a stream's first record.
pub(super) fn genesis(stream: &[u8]) -> Link {
    Sha256::new_with_prefix(b"macp-store stream 1\0").chain_update(stream).finalize().into()
}

/// The link of a record.
pub(super) fn link(before: &Link, sequence: u64, record: &[u8]) -> Link {
    Sha256::new_with_prefix(before)
        .chain_update(sequence.to_be_bytes())
        .chain_update(record)
        .finalize()
        .into()
}

/// Seals a record behind the link of the one before it.
pub(super) fn seal_record(key: &[u8; 16], before: &Link, record: &[u8]) -> Vec<u8> {
    seal(key, [before, record])
}

/// The link of the record before, and the record.
pub(super) fn unseal_record<'a>(key: &[u8], value: &'a [u8]) -> Result<(&'a Link, &'a [u8]), Damage> {
    unseal(key, value)?.split_first_chunk().ok_or(Damage::Short)
}

/// Where a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Stands for the stream in the log's keys.
    pub(super) number: u64,
    /// Sequence of the last record, counted from 1.
    pub(super) sequence: u64,
    /// Link of the last record.
    pub(super) link: Link,
    /// Whether the stream's head is among the live ones.
    pub(super) live: bool,
}

/// Seals a head.
pub(super) fn seal_head(key: &[u8], tail: &Tail, summary: &[u8]) -> Vec<u8> {
    let mut fixed = [0; 48];
    fixed[..16].copy_from_slice(&record_key(tail.number, tail.sequence));
    fixed[16..].copy_from_slice(&tail.link);
    seal(key, [&fixed, summary])
}

/// The tail and the summary in a head.
pub(super) fn unseal_head<'a>(key: &[u8], value: &'a [u8], live: bool) -> Result<(Tail, &'a [u8]), Damage> {
    let (place, rest) = unseal(key, value)?.split_first_chunk::<16>().ok_or(Damage::Short)?;
    let (link, summary) = rest.split_first_chunk::<32>().ok_or(Damage::Short)?;
    let (number, sequence) = parse_record_key(place).ok_or(Damage::Short)?;
    Ok((Tail { number, sequence, link: *link, live }, summary))
}

/// Seals a side record.
pub(super) fn seal_side(key: &[u8], value: &[u8]) -> Vec<u8> {
    seal(key, [value, &[]])
}

/// The value of a side record.
pub(super) fn unseal_side<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    unseal(key, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let key = record_key(7, 3);
        let sealed = seal_record(&key, &genesis(b"s"), b"record");
        assert_eq!(unseal_record(&key, &sealed), Ok((&genesis(b"s"), &b"record"[..])));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(unseal_record(&key, &changed).is_err(), "byte {at}");
        }
        assert!(unseal_record(&record_key(7, 4), &sealed).is_err(), "another place");
        for length in 0..sealed.len() {
            assert!(unseal_record(&key, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let key = head_key(b"s");
        let tail = Tail { number: 1, sequence: 2, link: genesis(b"s"), live: true };
        let mut sealed = seal_head(&key, &tail, b"summary");
        assert_eq!(unseal_head(&key, &sealed, true), Ok((tail, &b"summary"[..])));
        sealed[0] = 2;
        assert_eq!(unseal_head(&key, &sealed, true), Err(Damage::Newer(2)));
    }

    #[test]
    fn the_stored_bytes_never_change() {
        let key = record_key(1, 1);
        let sealed = seal_record(&key, &genesis(b"s"), b"record");
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "019b1d430c192a91496ce77593cee623a6b2f068d386a853c0d7d055c5044e9752605b40359138dd967265636f7264"
        );
    }
}
