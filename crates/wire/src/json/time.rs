//! The envelope's time: RFC 3339 text to and from Unix milliseconds (RFC-MACP-0001 §10.1).

use std::io::Write as _;

use super::error::JsonError;

const DAY: i64 = 86_400;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z, the range RFC 3339 can write.
const RANGE: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

/// Appends the quoted time in UTC, with milliseconds only when there are any; clamps to years 0000 to 9999.
pub(super) fn write(out: &mut Vec<u8>, unix_ms: i64) {
    let unix_ms = unix_ms.clamp(RANGE.0, RANGE.1);
    let (seconds, millis) = (unix_ms.div_euclid(1000), unix_ms.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a vector never fails.
    let _ = write!(out, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if millis > 0 {
        let _ = write!(out, ".{millis:03}");
    }
    out.extend_from_slice(b"Z\"");
}

/// RFC 3339 text, without quotes, of an instant as envelopes show it.
pub fn text(unix_ms: i64) -> String {
    let mut quoted = Vec::with_capacity(26);
    write(&mut quoted, unix_ms);
    String::from_utf8_lossy(&quoted).trim_matches('"').to_owned()
}

/// Unix milliseconds of an RFC 3339 time, truncated toward the earlier instant.
pub(super) fn parse(text: &str) -> Result<i64, JsonError> {
    instant(text.as_bytes()).ok_or_else(|| JsonError::value("not an RFC 3339 time"))
}

fn instant(text: &[u8]) -> Option<i64> {
    let (fixed, rest) = text.split_at_checked(19)?;
    let separators = [fixed[4], fixed[7], fixed[10].to_ascii_uppercase(), fixed[13], fixed[16]];
    if separators != *b"--T::" {
        return None;
    }
    let (year, month, day) = (digits(&fixed[..4])?, digits(&fixed[5..7])?, digits(&fixed[8..10])?);
    let (hour, minute, second) = (digits(&fixed[11..13])?, digits(&fixed[14..16])?, digits(&fixed[17..])?);
    if !(1..=12).contains(&month) || !(1..=month_length(year, month)).contains(&day) {
        return None;
    }
    let (millis, rest) = match rest.strip_prefix(b".") {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let seconds = days(year, month, day) * DAY + clock(hour, minute)? + second - offset(rest)?;
    // A leap second counts as the start of the next one, and can only end a day in UTC.
    if second > 60 || (second == 60 && seconds.rem_euclid(DAY) != 0) {
        return None;
    }
    Some(seconds * 1000 + millis)
}

/// Milliseconds of the digits behind the point, and what follows the digits.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = text.split_at(count);
    let millis =
        fraction.iter().chain(b"00").take(3).fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    (count > 0).then_some((millis, rest))
}

/// Seconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = clock(digits(&[*h1, *h2])?, digits(&[*m1, *m2])?)?;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn clock(hour: i64, minute: i64) -> Option<i64> {
    (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so that the leap
/// day is a year's last, in eras of 400 years, which all have the same length.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// The inverse of [`days`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}
