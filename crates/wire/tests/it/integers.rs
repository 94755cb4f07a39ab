//! Numbers: exact integers on their digits, the quoting boundary, and doubles.

use macp_wire::json::{self, JsonErrorKind};
use macp_wire::v1::{
    GetSessionResponse, ListSessionsRequest, ParticipantActivity, ProgressPayload, SessionStartPayload,
    StreamSessionRequest,
};

fn int64(number: &str) -> Option<i64> {
    let text = format!("{{\"ttl_ms\":{number}}}");
    let outcome = json::from_slice::<SessionStartPayload>(text.as_bytes());
    outcome.map(|payload| payload.ttl_ms).ok()
}

fn uint64(number: &str) -> Option<u64> {
    let text = format!("{{\"after_sequence\":{number}}}");
    json::from_slice::<StreamSessionRequest>(text.as_bytes()).map(|request| request.after_sequence).ok()
}

fn int32(number: &str) -> Option<i32> {
    let text = format!("{{\"page_size\":{number}}}");
    json::from_slice::<ListSessionsRequest>(text.as_bytes()).map(|request| request.page_size).ok()
}

fn uint32(number: &str) -> Option<u32> {
    let text = format!("{{\"message_count\":{number}}}");
    json::from_slice::<ParticipantActivity>(text.as_bytes()).map(|activity| activity.message_count).ok()
}

fn double(number: &str) -> Option<f64> {
    let text = format!("{{\"progress\":{number}}}");
    json::from_slice::<ProgressPayload>(text.as_bytes()).map(|payload| payload.progress).ok()
}

#[test]
fn integers_are_judged_on_their_digits() {
    for (text, expected) in [
        ("1000", 1000),
        ("\"1000\"", 1000),
        ("1000.0", 1000),
        ("1000.000", 1000),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("\"1.5e3\"", 1500),
        ("10000e-1", 1000),
        ("0.001e6", 1000),
        ("-0", 0),
        ("0e999999999999999999999", 0),
        ("0.0e-99999999999999999999", 0),
        ("-12", -12),
        ("9007199254740993", 9_007_199_254_740_993),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("\"-9223372036854775808\"", i64::MIN),
        ("922337203685477580.7e1", i64::MAX),
        ("9223372036854775807.00000000000000000000000000000000000", i64::MAX),
        ("9223372036854775807000000000000000000000000000000000000000e-39", i64::MAX),
    ] {
        assert_eq!(int64(text), Some(expected), "{text}");
    }
    for text in [
        "1.00000000000000001",
        "9007199254740992.5",
        "0.5",
        "1e-1",
        "5e-99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
        "1e19",
        "1e99999999999999999999",
        "\"+1\"",
        "\" 1\"",
        "\"1 \"",
        "\"0x10\"",
        "\"\"",
        "\"01\"",
        "\"1.\"",
        "\".5\"",
        "\"1e\"",
        "\"-\"",
        "\"1,000\"",
        "\"NaN\"",
        "true",
        "[]",
        "{}",
    ] {
        assert_eq!(int64(text), None, "{text}");
    }
}

#[test]
fn a_refused_integer_says_why() {
    for (number, reason) in [
        ("0.5", "not an integer"),
        ("5e-99999999999999999999", "not an integer"),
        ("1e99999999999999999999", "integer out of range"),
        ("\"1e18446744073709551615\"", "integer out of range"),
        ("\"x\"", "not a number"),
        ("true", "expected a number, found a boolean"),
    ] {
        let text = format!("{{\"ttl_ms\":{number}}}");
        let error = json::from_slice::<SessionStartPayload>(text.as_bytes()).unwrap_err();
        assert_eq!((error.path(), error.message()), ("ttl_ms", reason), "{number}");
    }
}

#[test]
fn each_integer_type_has_its_own_range() {
    assert_eq!(uint64("18446744073709551615"), Some(u64::MAX));
    assert_eq!(uint64("\"1.8446744073709551615e19\""), Some(u64::MAX));
    assert_eq!(uint64("18446744073709551616"), None);
    assert_eq!(uint64("-1"), None);
    assert_eq!(uint64("-0"), Some(0));
    assert_eq!(int32("2147483647"), Some(i32::MAX));
    assert_eq!(int32("2147483648"), None);
    assert_eq!(int32("-2147483648"), Some(i32::MIN));
    assert_eq!(int32("-2147483649"), None);
    assert_eq!(uint32("4294967295"), Some(u32::MAX));
    assert_eq!(uint32("4294967296"), None);
    assert_eq!(uint32("-1"), None);
}

#[test]
fn numbers_without_json_grammar_are_faults_of_the_text() {
    for number in ["01", "+1", ".5", "1.", "1e", "-", "0x10", "--1", "1_000", "NaN", "Infinity", "nul", "tru"]
    {
        let text = format!("{{\"ttl_ms\":{number}}}");
        let error = json::from_slice::<SessionStartPayload>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), JsonErrorKind::Text, "{number}: {error}");
    }
}

#[test]
fn integers_are_quoted_beyond_what_a_double_holds() {
    let written = |ttl_ms| {
        let json = json::to_string(&SessionStartPayload { ttl_ms, ..Default::default() });
        json.split("\"ttl_ms\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    assert_eq!(written(9_007_199_254_740_991), "9007199254740991");
    assert_eq!(written(9_007_199_254_740_992), "\"9007199254740992\"");
    assert_eq!(written(-9_007_199_254_740_991), "-9007199254740991");
    assert_eq!(written(-9_007_199_254_740_992), "\"-9007199254740992\"");
    assert_eq!(written(i64::MIN), "\"-9223372036854775808\"");
    let text = json::to_string(&StreamSessionRequest { after_sequence: u64::MAX, ..Default::default() });
    assert!(text.contains("\"after_sequence\":\"18446744073709551615\""), "{text}");
}

#[test]
fn doubles() {
    for (text, expected) in [
        ("1", 1.0),
        ("0.92", 0.92),
        ("\"0.92\"", 0.92),
        ("1e300", 1e300),
        ("\"1E-7\"", 1e-7),
        ("1e-999", 0.0),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
    ] {
        assert_eq!(double(text).map(f64::to_bits), Some(expected.to_bits()), "{text}");
    }
    assert!(double("\"NaN\"").unwrap().is_nan());
    assert_eq!(double("-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
    assert_eq!(double("-0.0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
    for text in
        ["1e309", "\"-1e309\"", "\"nan\"", "\"inf\"", "\"infinity\"", "\"+1\"", "\"\"", "\" 1\"", "true"]
    {
        assert_eq!(double(text), None, "{text}");
    }
    let written = |progress| {
        let json = json::to_string(&ProgressPayload { progress, ..Default::default() });
        json.split("\"progress\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    assert_eq!(written(0.1 + 0.2), "0.30000000000000004");
    assert_eq!(written(-0.0), "-0.0");
    assert_eq!(written(f64::NAN), "\"NaN\"");
    assert_eq!(written(f64::INFINITY), "\"Infinity\"");
    assert_eq!(written(f64::NEG_INFINITY), "\"-Infinity\"");
    assert_eq!(written(5e-324).parse(), Ok(5e-324));
}

#[test]
fn an_enum_takes_any_32_bit_integer() {
    let state = |value: &str| {
        let text = format!("{{\"metadata\":{{\"state\":{value},\"mode\":\"m\"}}}}");
        let metadata = json::from_slice::<GetSessionResponse>(text.as_bytes()).ok()?.metadata?;
        assert_eq!(metadata.mode, "m", "other members are still read");
        Some(metadata.state)
    };
    assert_eq!(state("\"SESSION_STATE_OPEN\""), Some(1));
    assert_eq!(state("1"), Some(1));
    assert_eq!(state("77"), Some(77));
    assert_eq!(state("-2147483648"), Some(i32::MIN));
    assert_eq!(state("\"SESSION_STATE_NOPE\""), Some(0));
    assert_eq!(state("\"session_state_open\""), Some(0));
    assert_eq!(state("\"1\""), Some(0), "a quoted number is an unknown name");
    assert_eq!(state("null"), Some(0));
    assert_eq!(state("2147483648"), None);
    assert_eq!(state("1.5"), None);
    assert_eq!(state("true"), None);
}
