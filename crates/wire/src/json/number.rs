//! Numbers judged on their digits: the JSON grammar and exact integers, never through a double.

/// Why a number text is no integer of the wanted type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotInteger {
    Fraction,
    Range,
}

/// Length of the JSON number at the start of `text`; `None` when there is none.
pub(super) fn length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match digits(at) {
        0 => return None,
        count if count > 1 && bytes[at] == b'0' => return None,
        count => at += count,
    }
    if bytes.get(at) == Some(&b'.') {
        let count = digits(at + 1);
        if count == 0 {
            return None;
        }
        at += 1 + count;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let count = digits(at + 1 + sign);
        if count == 0 {
            return None;
        }
        at += 1 + sign + count;
    }
    Some(at)
}

/// The exact value of a number text when it is an integer of type `T`: `1000`, `1000.0`, `1e3`, `10000e-1`.
///
/// The text must follow the JSON grammar (see [`length`]).
pub(super) fn integer<T: TryFrom<i128>>(text: &str) -> Result<T, NotInteger> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // An exponent that does not fit lies beyond any length of digits that a text can have.
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent = exponent.parse::<i64>().unwrap_or(beyond);

    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let dropped = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return T::try_from(0).map_err(|_| NotInteger::Range);
    }
    // The value is `significant` followed by this many zeros.
    let zeros =
        exponent.saturating_add_unsigned(dropped as u64).saturating_sub_unsigned(fraction.len() as u64);
    let zeros = usize::try_from(zeros).map_err(|_| NotInteger::Fraction)?;
    // Longer than any 64-bit number, and short enough for `i128`.
    if significant.len().saturating_add(zeros) > 20 {
        return Err(NotInteger::Range);
    }
    let magnitude = significant.bytes().fold(0, |value: i128, digit| value * 10 + i128::from(digit - b'0'));
    let magnitude = (0..zeros).fold(magnitude, |value, _| value * 10);
    T::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| NotInteger::Range)
}
