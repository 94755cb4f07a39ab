//! Compiled descriptors of all packages, for gRPC reflection and for tests.

/// Serialized `google.protobuf.FileDescriptorSet` of every file under `proto/`, without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
