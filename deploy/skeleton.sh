#!/bin/sh
# skeleton.sh FOLDER: what of the workspace decides how its dependencies are built, with programs that do nothing. Whatever
# else changes in the repository, the skeleton stays the same, and with it the layer of a container image that is built
# from it (Dockerfile). Run from the repository's root.
set -eu
out=$1
for file in Cargo.toml Cargo.lock rust-toolchain.toml crates/*/Cargo.toml; do
    mkdir -p "$out/$(dirname "$file")"
    cp "$file" "$out/$file"
done
echo 'fn main() {}' >"$out/build.rs"
for crate in crates/*/; do
    mkdir -p "$out/${crate}src"
    : >"$out/${crate}src/lib.rs"
    echo 'fn main() {}' >"$out/${crate}src/main.rs"
    # Build scripts, binaries and benches that a manifest names by their path.
    sed -n 's/^path = "\(src\/\|benches\/\|tests\/\|build\.\)\(.*\)"$/\1\2/p' "$crate/Cargo.toml" | while read -r file; do
        mkdir -p "$out/$crate$(dirname "$file")"
        echo 'fn main() {}' >"$out/$crate$file"
    done
done
