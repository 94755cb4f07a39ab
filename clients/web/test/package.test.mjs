// What is published: small, without dependencies, and with the version of the gateway.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const file = (path) => readFile(new URL(`../${path}`, import.meta.url), "utf8");

test("the module has at most 15 KiB gzipped, as it is", async () => {
  const size = gzipSync(await file("macp.js"), { level: 9 }).length;
  assert(size <= 15 * 1024, `${size} bytes`);
});

test("the module imports nothing", async () => {
  assert.doesNotMatch(await file("macp.js"), /^\s*import\b|\bimport\(|\bfrom "|\brequire\(/m);
});

test("the package is the gateway's, depends on nothing, and its lock file names no registry", async () => {
  const { version, license, dependencies } = JSON.parse(await file("package.json"));
  const workspace = await file("../../Cargo.toml");
  assert.equal(version, /^version = "(.+)"$/m.exec(workspace)[1]);
  assert.equal(license, /^license = "(.+)"$/m.exec(workspace)[1]);
  assert.equal(dependencies, undefined);
  for (const lock of ["package-lock.json", "../../e2e/browser/package-lock.json"]) {
    assert.doesNotMatch(await file(lock), /"resolved"|registry/, lock);
  }
});
