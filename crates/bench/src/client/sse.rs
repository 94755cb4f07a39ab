//! Server-sent events, taken apart as they come.

use bytes::{Buf, Bytes, BytesMut};

use super::Failure;

/// What one event of a stream said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Bytes,
    pub(crate) id: Option<u64>,
    pub(crate) data: Bytes,
}

/// Bytes that have come and are not yet a whole event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: BytesMut,
    /// Where no end of an event was found so far.
    searched: usize,
}

/// Longest event that is kept while its end has not come.
const LONGEST: usize = 16 << 20;

impl Events {
    /// Adds what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.buffer.len() + bytes.len() > LONGEST {
            return Err(Failure::answer("an event without an end"));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event; comments are passed over.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let from = self.searched.saturating_sub(1);
            let Some(end) = self.buffer[from..].windows(2).position(|pair| pair == b"\n\n") else {
                self.searched = self.buffer.len();
                return None;
            };
            let block = self.buffer.split_to(from + end).freeze();
            self.buffer.advance(2);
            self.searched = 0;
            if let Some(event) = event(&block) {
                return Some(event);
            }
        }
    }
}

fn event(block: &Bytes) -> Option<Event> {
    let mut event = Event { name: Bytes::new(), id: None, data: Bytes::new() };
    let mut any = false;
    for line in block.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            // Servers send each JSON text on one line.
            b"data" => event.data = block.slice_ref(value),
            b"event" => event.name = block.slice_ref(value),
            b"id" => event.id = std::str::from_utf8(value).ok().and_then(|id| id.parse().ok()),
            _ => continue,
        }
        any = true;
    }
    any.then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        ": opened\n\nid: 3\ndata: {\"a\":1}\n\n: keepalive\n\nevent: error\ndata: {}\n\nid: 4\ndata:x\n\n";

    fn read(parts: &[&[u8]]) -> Vec<(String, Option<u64>, String)> {
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut events = Events::default();
        let mut seen = Vec::new();
        for part in parts {
            events.push(part).unwrap();
            while let Some(event) = events.next() {
                seen.push((text(event.name), event.id, text(event.data)));
            }
        }
        seen
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let whole = read(&[TEXT.as_bytes()]);
        assert_eq!(
            whole,
            [
                (String::new(), Some(3), "{\"a\":1}".to_owned()),
                ("error".to_owned(), None, "{}".to_owned()),
                (String::new(), Some(4), "x".to_owned()),
            ]
        );
        for cut in 0..=TEXT.len() {
            let (a, b) = TEXT.as_bytes().split_at(cut);
            assert_eq!(read(&[a, b]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = TEXT.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let part = vec![b'x'; 1 << 20];
        assert!((0..17).any(|_| events.push(&part).is_err()));
    }
}
