//! A pull parser for RFC 8259 text that holds the rules every value shares, unknown members included.
//!
//! A general-purpose parser does not fit: duplicate keys are refused at any depth, also where nothing is
//! read; numbers are judged on their digits; a member's text is set aside until another member has said how
//! to read it. Nothing is built for what is skipped.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::error::{JsonError, excerpt};

/// How deeply arrays and objects may nest.
pub(super) const MAX_DEPTH: usize = 128;

/// A position in a JSON text.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Reads one member of an object by its name.
type Visit<'v, 'a> = &'v mut dyn FnMut(&mut Reader<'a>, &str) -> Result<(), JsonError>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| JsonError::text(error.valid_up_to(), "the text is not UTF-8"))?;
        Ok(Self::nested(text, 0))
    }

    /// A reader for a part of a text, `depth` levels below its surface.
    pub(super) fn nested(text: &'a str, depth: usize) -> Self {
        Self { text, at: 0, depth }
    }

    /// The first byte of what comes next, whitespace skipped.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Fails unless nothing but whitespace is left.
    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::text(self.at, "characters after the JSON value")),
        }
    }

    /// Tries to read the next value; when that fails, the reader stands where it stood.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, JsonError>) -> Option<T> {
        let (at, depth) = (self.at, self.depth);
        let read = read(self).ok();
        if read.is_none() {
            (self.at, self.depth) = (at, depth);
        }
        read
    }

    /// Steps over the next value, checking all of it, and returns its text.
    pub(super) fn raw(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Steps over the next value, checking all of it.
    pub(super) fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{') => self.object(&mut |reader, _| reader.skip()),
            Some(b'[') => self.array(&mut Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Reads an object of a message: a member that is `null` counts as missing.
    pub(super) fn members(&mut self, visit: Visit<'_, 'a>) -> Result<(), JsonError> {
        self.object(&mut |reader, name| match reader.peek() {
            Some(b'n') => reader.literal("null"),
            _ => visit(reader, name),
        })
    }

    /// Reads an object; `visit` must step over each member's value.
    pub(super) fn object(&mut self, visit: Visit<'_, 'a>) -> Result<(), JsonError> {
        self.open(b'{', "an object")?;
        let mut names = Names::default();
        let mut more = self.peek() != Some(b'}');
        while more {
            if self.peek() != Some(b'"') {
                return Err(JsonError::text(self.at, "expected a member name"));
            }
            let start = self.at;
            let name = self.string()?;
            if !names.insert(name.clone()) {
                return Err(JsonError::text(start, format_args!("duplicate member {:?}", excerpt(&name))));
            }
            if !self.take(b':') {
                return Err(JsonError::text(self.at, "expected `:`"));
            }
            visit(self, &name).map_err(|error| error.under(&name))?;
            more = self.take(b',');
        }
        self.close(b'}')
    }

    /// Reads an array; `visit` must step over each element.
    pub(super) fn array(
        &mut self,
        visit: &mut dyn FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.open(b'[', "an array")?;
        let mut more = self.peek() != Some(b']');
        let mut index = 0;
        while more {
            visit(self).map_err(|error| error.at(index))?;
            index += 1;
            more = self.take(b',');
        }
        self.close(b']')
    }

    pub(super) fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b't') => self.literal("true").map(|()| true),
            Some(b'f') => self.literal("false").map(|()| false),
            _ => Err(self.mismatch("a boolean")),
        }
    }

    /// Reads a number and returns its text.
    pub(super) fn number(&mut self) -> Result<&'a str, JsonError> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.mismatch("a number"));
        }
        let rest = &self.text[self.at..];
        let length =
            super::number::length(rest).ok_or_else(|| JsonError::text(self.at, "malformed number"))?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// Reads a string, borrowed unless it holds escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.mismatch("a string"));
        }
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = special(rest.as_bytes());
            let plain = plain.ok_or_else(|| JsonError::text(self.text.len(), "unfinished string"))?;
            let (run, stop) = (&rest[..plain], rest.as_bytes()[plain]);
            self.at += plain + 1;
            match stop {
                b'"' if unescaped.is_empty() => return Ok(Cow::Borrowed(run)),
                b'"' => return Ok(Cow::Owned(unescaped + run)),
                b'\\' => {
                    unescaped += run;
                    unescaped.push(self.escape()?);
                }
                _ => return Err(JsonError::text(self.at - 1, "control character in a string")),
            }
        }
    }

    /// Reads the rest of an escape, behind its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at - 1;
        let letter = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match letter {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                let code = match first {
                    0xD800..0xDC00 if self.text[self.at..].starts_with("\\u") => {
                        self.at += 2;
                        match self.hex()? {
                            low @ 0xDC00..0xE000 => 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00),
                            _ => first, // a lone surrogate: no char, refused below
                        }
                    }
                    _ => first,
                };
                char::from_u32(code).ok_or_else(|| JsonError::text(start, "lone surrogate"))?
            }
            _ => return Err(JsonError::text(start, "unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| JsonError::text(self.at, "expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(JsonError::text(self.at, format_args!("expected `{word}`")));
        }
        self.at += word.len();
        Ok(())
    }

    fn open(&mut self, bracket: u8, expected: &str) -> Result<(), JsonError> {
        if self.peek() != Some(bracket) {
            return Err(self.mismatch(expected));
        }
        if self.depth == MAX_DEPTH {
            return Err(JsonError::text(self.at, format_args!("more than {MAX_DEPTH} levels of nesting")));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> Result<(), JsonError> {
        if !self.take(bracket) {
            return Err(JsonError::text(self.at, format_args!("expected `,` or `{}`", char::from(bracket))));
        }
        self.depth -= 1;
        Ok(())
    }

    fn take(&mut self, punctuation: u8) -> bool {
        let found = self.peek() == Some(punctuation);
        self.at += usize::from(found);
        found
    }

    /// The fault of a value that is not `expected`.
    pub(super) fn mismatch(&mut self, expected: &str) -> JsonError {
        let found = match self.peek() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(_) => return JsonError::text(self.at, "expected a JSON value"),
            None => return JsonError::text(self.at, "unfinished JSON value"),
        };
        JsonError::value(format!("expected {expected}, found {found}"))
    }
}

/// Where the first byte is that a JSON string does not hold as it is: a quote, a backslash or a control character.
/// Looks at eight bytes at a time, because nearly all of a text is passed over here.
pub(super) fn special(bytes: &[u8]) -> Option<usize> {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // The highest bit of each byte that is below `bound`. A byte above one that is may be marked by its borrow; the
    // lowest mark is right.
    let below = |word: u64, bound: u8| word.wrapping_sub(each(bound)) & !word & each(0x80);
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = below(word, 0x20) | below(word ^ each(b'"'), 1) | below(word ^ each(b'\\'), 1);
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let tail = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
    tail.map(|at| words.len() * 8 + at)
}

/// The member names of one object: a list while they are few, then a set, so that no object is quadratic. The list is in
/// place, because nearly all objects need no more.
#[derive(Default)]
struct Names<'a> {
    few: [Cow<'a, str>; 16],
    count: usize,
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Adds a name; false when it was there.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if let Some(place) = self.few.get(self.count) {
            debug_assert!(place.is_empty());
            let new = !self.few[..self.count].contains(&name);
            self.few[self.count] = name;
            self.count += 1;
            return new;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.iter_mut().map(std::mem::take));
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found_wherever_it_is(
            bytes in prop::collection::vec(
                prop_oneof![8 => any::<u8>(), 1 => prop::sample::select(b"\"\\\x1f\x20!#[]\x7f\x80\xa2\xdc".to_vec())],
                0..40,
            ),
        ) {
            let slowly = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
            prop_assert_eq!(special(&bytes), slowly);
        }

        #[test]
        fn a_name_is_new_once(names in prop::collection::vec("[a-d]{0,3}", 0..60)) {
            let mut all = Names::default();
            let mut seen = BTreeSet::new();
            for name in &names {
                prop_assert_eq!(all.insert(Cow::Borrowed(name)), seen.insert(name));
            }
        }
    }
}
