//! `call` frames: any unary RPC by its name.

use bytes::Bytes;
use macp_engine::Engine;
use macp_kernel::{Identity, Refusal};
use macp_wire::gateway::v1::Call;
use prost::Message as _;

use crate::frame::Encoding;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallFault {
    /// The bytes are not the method's request.
    Malformed(String),
    Refused(Refusal),
}

macro_rules! answer {
    (unary, $engine:ident . $function:ident, $identity:ident, $request:ty, $bytes:expr) => {{
        let request = <$request>::decode(&$bytes[..])
            .map_err(|error| CallFault::Malformed(format!("call.request: {error}")))?;
        $engine.$function($identity, request).await.map_err(CallFault::Refused)?
    }};
}

macro_rules! calls {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        /// Runs the call and returns its `result` frame.
        pub(crate) async fn run(
            engine: &Engine,
            identity: &Identity,
            encoding: Encoding,
            id: &str,
            call: Call,
        ) -> Result<Bytes, CallFault> {
            $(calls!(@arm $kind, $name, $function, $request, engine, identity, encoding, id, call);)*
            // Frames with another method are refused before.
            Err(CallFault::Malformed("call.method: no unary method has this name".into()))
        }
    };
    (@arm unary, $name:ident, $function:ident, $request:ty,
     $engine:ident, $identity:ident, $encoding:ident, $id:ident, $call:ident) => {
        if $call.method == stringify!($name) {
            let response = answer!(unary, $engine.$function, $identity, $request, $call.request);
            return Ok($encoding.result($id, stringify!($name), &response));
        }
    };
    // Streams have frames of their own.
    (@arm $kind:ident, $($rest:tt)*) => {};
}

macp_wire::for_each_method!(calls);
