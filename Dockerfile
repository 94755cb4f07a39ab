# syntax=docker/dockerfile:1
# macp-gateway as a container: `docker build -t macp-gateway .`; deploy/README.md says how to run it.

FROM rust:1.95-slim-bookworm AS base
# aws-lc, the one implementation of cryptography, is C and assembler. Debian has one version of each package at a time.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# What decides which dependencies there are, and a program that does nothing: the next stage gets a changed copy, and is
# built again, only when that changes.
FROM base AS manifests
COPY . .
RUN deploy/skeleton.sh /skeleton

FROM base AS build
COPY --from=manifests /skeleton .
RUN cargo build --release --locked -p macp-gateway
COPY . .
# Cargo goes by times, and the copies are older than what was built from the skeleton.
RUN find crates build.rs -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p macp-gateway \
 && install -D target/release/macp-gateway /out/usr/local/bin/macp-gateway \
 && install -d -m 0700 /out/data

# libc, libgcc and certificate authorities, and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local/bin/macp-gateway /usr/local/bin/macp-gateway
# A new volume takes over the owner of the directory that it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
ENV MACP_BIND_ADDR=0.0.0.0:50051 \
    MACP_HTTP_BIND_ADDR=0.0.0.0:8080 \
    MACP_DATA_DIR=/data \
    # Docker waits 10 s between its two signals.
    MACP_SHUTDOWN_DRAIN_SECS=8
EXPOSE 50051 8080
VOLUME /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/macp-gateway"]
