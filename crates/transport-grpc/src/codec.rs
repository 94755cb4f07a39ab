//! The library's protobuf codec with small buffers: its own allocates 8 KiB for each direction of each call at once, which
//! a stream then keeps for as long as it is open.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec as TonicCodec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that a buffer has room for at first. It grows for what is larger.
const ROOM: usize = 1 << 10;
/// Encoded bytes that are gathered, while a stream has more, before they are handed on: the library's default.
const GATHER: usize = 32 << 10;

/// Encodes `T` and decodes `U`. The generated server uses it for every call (see `build.rs`).
pub(crate) struct Codec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(ROOM, GATHER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(ROOM, GATHER))
    }
}
