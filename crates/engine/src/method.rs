//! The protocol's 27 calls by name: what transports route on.

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One request, one response.
    Unary,
    /// One request, a stream of responses.
    ServerStream,
    /// `StreamSession`: frames both ways on gRPC, a passive subscribe elsewhere.
    Bidi,
}

macro_rules! kind {
    (unary) => {
        MethodKind::Unary
    };
    (server_stream) => {
        MethodKind::ServerStream
    };
    (bidi) => {
        MethodKind::Bidi
    };
}

macro_rules! methods {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        /// A call of `macp.v1.MACPRuntimeService`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method { $(#[doc = concat!("`", stringify!($name), "`")] $name),* }

        impl Method {
            /// Every call, in the order of the service definition.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The RPC name, as in gRPC paths and HTTP routes.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The call of this exact name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }

            /// How it is answered.
            #[must_use]
            pub fn kind(self) -> MethodKind {
                match self { $(Self::$name => kind!($kind)),* }
            }
        }
    };
}

macp_wire::for_each_method!(methods);

impl Method {
    /// Whether the call is open: no credential is read for it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Initialize
                | Self::GetManifest
                | Self::ListModes
                | Self::ListExtModes
                | Self::WatchModeRegistry
                | Self::ListRoots
                | Self::WatchRoots
                | Self::GetReceiptKeys
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_invert() {
        assert_eq!(Method::ALL.len(), 27);
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name()), Some(*method));
        }
        assert_eq!(Method::from_name("send"), None);
    }
}
