//! The web page that a request comes from, and what is bound to one.

/// What a request says about the web page that makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// The `Origin` as sent. Programs that are no browser send none, nor do browsers with a `GET` to the page's own
    /// origin.
    pub origin: Option<&'a str>,
    /// Whether the page is of the server's own origin, where that can be told.
    pub own: Option<bool>,
}

/// The page that something was issued to.
pub(crate) struct Bound {
    origin: Option<Box<str>>,
    own: bool,
}

impl Bound {
    pub(crate) fn to(page: Page<'_>) -> Self {
        Self { origin: page.origin.map(Into::into), own: page.own == Some(true) }
    }

    pub(crate) fn admits(&self, page: Page<'_>) -> bool {
        match (&self.origin, page.origin) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            (None, Some(_)) => false,
            // A browser leaves the header out of a GET to the page's own origin, and only there.
            (Some(_), None) => self.own && page.own != Some(false),
            (None, None) => page.own != Some(false),
        }
    }
}
