//! What a client says that it can read: `Accept`, weighed as RFC 9110 §12.5.1 has it.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::extract::unquoted_split;

/// How welcome a media type is, from 0 to 1000; 0 is a refusal. `None` if no range of `Accept` matches it, 1000 if
/// there is no `Accept` at all.
///
/// The most specific matching range counts; of equally specific ones the most welcoming.
pub(crate) fn weight(headers: &HeaderMap, media: &str) -> Option<u16> {
    if !headers.contains_key(ACCEPT) {
        return Some(1000);
    }
    let family = media.split('/').next().unwrap_or_default();
    ranges(headers)
        .filter_map(|(range, weight)| {
            let specificity = match range.split_once('/')? {
                _ if range == media => 3,
                (own, "*") if own == family => 2,
                ("*", "*") => 1,
                _ => return None,
            };
            Some((specificity, weight))
        })
        .max()
        .map(|(_, weight)| weight)
}

/// Whether a media type may be the answer.
pub(crate) fn admits(headers: &HeaderMap, media: &str) -> bool {
    weight(headers, media).is_some_and(|weight| weight > 0)
}

/// Whether a media type is asked for by its name.
pub(crate) fn names(headers: &HeaderMap, media: &str) -> bool {
    ranges(headers).any(|(range, weight)| range == media && weight > 0)
}

/// The ranges of all `Accept` headers in lower case, with their weights.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, u16)> {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| unquoted_split(value, ',')).map(|range| {
        let mut parts = unquoted_split(range, ';');
        let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        (media, parts.find_map(quality).unwrap_or(1000))
    })
}

/// A parameter `q`; one that is no weight counts as none.
fn quality(parameter: &str) -> Option<u16> {
    let (name, weight) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight = weight.trim().parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    // At least 1 for whatever is not zero: a small weight is no refusal.
    let thousandths = (weight * 1000.0).ceil();
    (0..=1000).find(|whole| f32::from(*whole) >= thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (ACCEPT, value.parse().unwrap())).collect()
    }

    #[test]
    fn the_most_specific_range_counts() {
        for (values, admitted) in [
            (&[][..], true),
            (&["text/event-stream"], true),
            (&["TEXT/Event-Stream"], true),
            (&["text/*"], true),
            (&["*/*"], true),
            (&["application/json, text/event-stream"], true),
            (&["application/json", "text/event-stream;q=0.1"], true),
            (&["text/event-stream;q=0.0001"], true),
            (&["text/event-stream;q=nonsense"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q=0.000, */*"], false),
            (&["text/*;q=0, */*"], false),
            (&["text/*;q=0, text/event-stream"], true),
            (&["*/*;q=0"], false),
            (&["text/event-stream;q=0, text/event-stream"], true),
            (&["application/json"], false),
            (&["text/html"], false),
            (&["application/json;x=\"a,text/event-stream\""], false),
            (&["*"], false),
            (&[""], false),
        ] {
            assert_eq!(admits(&headers(values), "text/event-stream"), admitted, "{values:?}");
        }
    }

    #[test]
    fn weights() {
        for (value, json) in [
            ("application/json", Some(1000)),
            ("application/json;q=0.5", Some(500)),
            ("application/json;q=0.0005", Some(1)),
            ("application/json;charset=utf-8;q=0.25", Some(250)),
            ("application/*;q=0.3, */*;q=0.9", Some(300)),
            ("application/json;q=0", Some(0)),
            ("text/html", None),
        ] {
            assert_eq!(weight(&headers(&[value]), "application/json"), json, "{value}");
        }
    }

    #[test]
    fn asked_for_by_name() {
        let problem = "application/problem+json";
        for (values, named) in [
            (&[][..], false),
            (&["*/*"], false),
            (&["application/*"], false),
            (&["application/problem+json;q=0"], false),
            (&["application/json, Application/Problem+JSON;q=0.5"], true),
        ] {
            assert_eq!(names(&headers(values), problem), named, "{values:?}");
        }
    }
}
