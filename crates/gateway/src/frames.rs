//! A count of the HTTP/2 frames that cost a server work and bring no request: floods of them end a connection.
//!
//! The library bounds the memory that they take, not their number. Clients do send some, pings most of all: a stock gRPC
//! client may ping with each answer that it reads to measure the way. So what is sent to a client earns it pings.

use std::time::Instant;

/// What the client sends first.
const PREFACE: u32 = 24;
const HEAD: usize = 9;
/// Frames of a kind that a client may send at once, and in each second from then on.
const BURST: u32 = 1_000;
const EACH_SECOND: u32 = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// Follows what a client sends.
#[derive(Debug)]
pub(crate) struct Census {
    head: [u8; HEAD],
    have: usize,
    /// Bytes until the next head.
    skip: u32,
    control: Budget,
    resets: Budget,
    /// Frames that were sent when the control frames were last counted.
    sent: u64,
}

impl Census {
    /// At the begin of a connection.
    pub(crate) fn new() -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            skip: PREFACE,
            control: Budget::new(),
            resets: Budget::new(),
            sent: 0,
        }
    }

    /// Takes in what was read, after so many frames of bodies were sent in all. An error names the flood.
    pub(crate) fn take(&mut self, mut bytes: &[u8], sent: u64) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                bytes = &bytes[skipped..];
                self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
                continue;
            }
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                self.have = 0;
                self.frame(sent)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, sent: u64) -> Result<(), &'static str> {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]);
        match kind {
            HEADERS | WINDOW_UPDATE => Ok(()),
            DATA if self.skip > 0 || flags & END_STREAM != 0 => Ok(()),
            RST_STREAM => self.resets.spend(0).ok_or("streams that are reset"),
            _ => {
                let earned = sent.saturating_sub(self.sent);
                self.sent = sent;
                self.control.spend(earned).ok_or("frames without a request")
            }
        }
    }
}

#[derive(Debug)]
struct Budget {
    left: u32,
    at: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    fn spend(&mut self, earned: u64) -> Option<()> {
        let seconds = u32::try_from(self.at.elapsed().as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.at = Instant::now();
            self.left = self.left.saturating_add(seconds.saturating_mul(EACH_SECOND)).min(BURST);
        }
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST).checked_sub(1)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], &vec![0; payload]].concat()
    }

    fn begun() -> Census {
        let mut census = Census::new();
        census.take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0).unwrap();
        census
    }

    /// How many rounds of these frames are let pass.
    fn rounds(frames: &[Vec<u8>], chunk: usize, sent_each: u64) -> u64 {
        let mut census = begun();
        for round in 0..5_000 {
            for bytes in frames.concat().chunks(chunk) {
                if census.take(bytes, round * sent_each).is_err() {
                    return round;
                }
            }
        }
        5_000
    }

    #[test]
    fn floods_end_however_they_are_cut() {
        for chunk in [1, 7, 9, 17, 64 << 10] {
            for flood in
                [frame(PING, 0, 8), frame(SETTINGS, 0, 0), frame(CONTINUATION, 0, 1), frame(DATA, 0, 0)]
            {
                // A second may pass meanwhile.
                assert!((1_000..=1_300).contains(&rounds(&[flood], chunk, 0)), "{chunk}");
            }
            let rapid_reset = [frame(HEADERS, 5, 40), frame(RST_STREAM, 0, 4)];
            assert!((1_000..=1_300).contains(&rounds(&rapid_reset, chunk, 1)), "{chunk}");
        }
    }

    #[test]
    fn requests_and_their_bodies_are_no_flood() {
        let call =
            [frame(HEADERS, 4, 60), frame(DATA, 0, 300), frame(DATA, 1, 0), frame(WINDOW_UPDATE, 0, 4)];
        assert_eq!(rounds(&call, 1_000, 1), 5_000);
    }

    #[test]
    fn who_reads_may_ping_with_what_it_reads() {
        assert_eq!(rounds(&[frame(PING, 0, 8)], 100, 1), 5_000);
        assert!(rounds(&[frame(PING, 0, 8), frame(PING, 0, 8)], 100, 1) < 1_300);
    }
}
