//! The query of a URL: known parameters only, and those that can be there once only once.

use macp_kernel::Refusal;

/// The parameters of one request, decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. A mistyped filter must not widen what is answered, so an unknown name is a fault.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a parameter that is not `known`. Nothing of the query is repeated: it may hold a ticket.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        if pairs.iter().all(|(name, _)| known.contains(&name.as_str())) {
            return Ok(Self(pairs));
        }
        Err(Refusal::invalid_request(if known.is_empty() {
            "this resource has no query parameters".to_owned()
        } else {
            format!("the query has a parameter that this resource does not have; it has {}", known.join(", "))
        }))
    }

    /// Every value of a parameter.
    pub(crate) fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be there once.
    ///
    /// # Errors
    /// `INVALID_REQUEST` when it is there more often.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Refusal::invalid_request(format!("send at most one {name}"))),
        }
    }

    /// A parameter that is a whole number of 64 bits at most, with its sign.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for anything else.
    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        // Parsing alone would take a plus.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number
            .and_then(|number: i64| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| Refusal::invalid_request(format!("{name} is not a whole number, or too large")))
    }

    /// The position after which to read: 0 without the parameter, and for -1, which the SDKs' adapters begin with.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for what is no position.
    pub(crate) fn after(&self) -> Result<u64, Refusal> {
        match self.one("after")? {
            Some("-1") => Ok(0),
            _ => Ok(self.number("after")?.unwrap_or(0)),
        }
    }

    /// This query with some parameters replaced, as a reference relative to the request's own URL.
    pub(crate) fn with(&self, changes: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::from("?"));
        query.clear();
        let kept = self.0.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        query.extend_pairs(kept);
        query.extend_pairs(changes);
        format!("?{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text), &["a", "b", "after"]).unwrap()
    }

    #[test]
    fn parameters() {
        let found = query("a=1&b=x%20y&a=%C3%BC+z&b");
        assert_eq!(found.all("a").collect::<Vec<_>>(), ["1", "ü z"]);
        assert!(found.one("a").is_err());
        assert_eq!(query("b=x").one("b"), Ok(Some("x")));
        assert_eq!(query("").one("b"), Ok(None));
        assert!(Query::parse(None, &[]).is_ok());
        for text in ["c=1", "a=1&s3cret", "A=1"] {
            let refusal = Query::parse(Some(text), &["a"]).err().unwrap();
            assert!(
                refusal.message.ends_with("it has a") && !refusal.message.contains("s3cret"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn numbers() {
        for (text, number) in [("a=7", Some(7)), ("a=007", Some(7)), ("a=-7", Some(-7)), ("b=1", None)] {
            assert_eq!(query(text).number::<i32>("a"), Ok(number), "{text}");
        }
        for text in ["a=", "a=x", "a=1.0", "a=%2B1", "a=+1", "a=--1", "a=9999999999", "a=1&a=1"] {
            assert!(query(text).number::<i32>("a").is_err(), "{text}");
        }
        for (text, after) in [("", 0), ("after=-1", 0), ("after=0", 0), ("after=12", 12)] {
            assert_eq!(query(text).after(), Ok(after), "{text}");
        }
        for text in ["after=-2", "after=x", "after=9223372036854775808", "after=1&after=1"] {
            assert!(query(text).after().is_err(), "{text}");
        }
    }

    #[test]
    fn a_changed_query_is_a_reference() {
        let found = query("a=1&b=x&a=%C3%BC");
        assert_eq!(found.with(&[("b", "&=")]), "?a=1&a=%C3%BC&b=%26%3D");
        assert_eq!(query("").with(&[("b", "1")]), "?b=1");
    }
}
