// What the demo knows of the protocol without a browser: the table of payloads, protobuf, receipts, and the texts to copy.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import WebSocket from "ws";
import { bytes } from "../../../web-demo/protocol/base64.js";
import { decode, encode } from "../../../web-demo/protocol/protobuf.js";
import { canonical, commitmentHash, verify } from "../../../web-demo/protocol/receipt.js";
import * as schema from "../../../web-demo/protocol/schema.js";
import { snippets } from "../../../web-demo/protocol/snippets.js";
import { Gateway } from "../helpers/gateway.mjs";

const run = promisify(execFile);
const PROTO = new URL("../../../proto/macp/", import.meta.url);

test("the table of payloads has the fields of the .proto files", async () => {
  const files = [
    "v1/core.proto",
    "v1/envelope.proto",
    ...(await readdir(new URL("modes/", PROTO))).map((mode) => `modes/${mode}/v1/${mode}.proto`),
  ];
  const messages = new Map();
  for (const file of files) {
    const text = await readFile(new URL(file, PROTO), "utf8");
    const [, scope] = /^package (.+);/m.exec(text);
    for (const [, name, body] of text.matchAll(/^message (\w+) \{([^}]*)\}/gm)) {
      const fields = [...body.matchAll(/^ +(?:(repeated) )?([\w.<>, ]+?) (\w+) = (\d+);/gm)];
      messages.set(
        `${scope}.${name}`,
        fields.map(([, repeated, type, field, number]) => `${number} ${field} ${repeated ?? ""}${type}`),
      );
    }
  }
  const type = ({ type: known, of }) =>
    typeof known === "object"
      ? known.name.split(".").pop()
      : ({
          strings: "repeatedstring",
          messages: `repeated${of?.name.split(".").pop()}`,
          "bytes map": "map<string, bytes>",
        }[known] ?? known);
  const known = new Set(Object.values(schema.MODES).flatMap((types) => Object.values(types)));
  for (const other of [
    schema.ENVELOPE,
    schema.COMMITMENT_REF,
    schema.ROOT,
    schema.payloadOf("", "SessionCancel"),
    schema.payloadOf("", "SessionSuspend"),
    schema.payloadOf("", "SessionResume"),
  ])
    known.add(other);
  assert.ok(known.size > 25);
  for (const { name, fields } of known) {
    assert.deepEqual(
      fields.map((field) => `${field.number} ${field.name} ${type(field)}`),
      messages.get(name),
      name,
    );
  }
});

test("protobuf: what is written is read, and what is no message is refused", () => {
  const start = {
    intent: "wohin? 🍜",
    participants: ["a", "b"],
    mode_version: "1.0.0",
    configuration_version: "1",
    policy_version: "",
    ttl_ms: 86_400_000,
    roots: [{ uri: "file:///x", name: "x" }],
    context_id: "",
    extensions: { k: "AAH/" },
    max_suspend_ms: -1,
  };
  assert.deepEqual(decode(schema.SESSION_START, encode(schema.SESSION_START, start)), start);
  assert.equal(encode(schema.COMMITMENT, { outcome_positive: false, action: "" }).length, 0);
  for (const broken of ["CgU=", "CP8=", "DwA=", "AA==", "CAE="])
    assert.throws(() => decode(schema.COMMITMENT, bytes(broken)), broken);
});

// The published vectors cmt_hash_001 to 005 (RFC-MACP-0013).
const FIRST = {
  commitment_id: "c1",
  action: "decision.approved",
  authority_scope: "seam",
  reason: "sealed by seam",
  mode_version: "macp.mode.decision.v1",
  policy_version: "1.0.0",
  configuration_version: "1.0.0",
  outcome_positive: true,
};
const FIRST_HASH = "sha256:9f58e9d114d11860d48aa2bcb8cda458b9618b1cc8560595a802b68c4af85d41";

test("the commitment hash is that of the published vectors", async () => {
  const second = {
    ...FIRST,
    commitment_id: "c2",
    supersedes: { session_id: "prior-sess", commitment_hash: FIRST_HASH },
  };
  for (const [payload, hash] of [
    [FIRST, FIRST_HASH],
    [second, "sha256:7cc490432ad6b25e9c19fc7c3a84f1e33abe497fca1fd5266ff0275db3650f9d"],
    [{}, "sha256:3240d1a7adb7bd9420ad5490182227ce699c9e4e465f7934885fe2ded939f32e"],
    [{ supersedes: {} }, "sha256:9776c22ef165f26817f89bb456cf6bc56a659eb1561a576f6ea9a435bd3291d7"],
  ]) {
    assert.equal(await commitmentHash(payload), hash);
  }
});

test("a receipt is attested only if hash, bytes and signature agree", async () => {
  const keys = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const { x } = await crypto.subtle.exportKey("jwk", keys.publicKey);
  const body = {
    commitment: FIRST,
    commitment_hash: FIRST_HASH,
    commitment_wire_b64: Buffer.from(encode(schema.COMMITMENT, FIRST)).toString("base64"),
    issued_at: "2026-01-01T00:00:00Z",
    issuer: "runtime:x",
    mode: "macp.mode.decision.v1",
    receipt_format: "macp-receipt/1",
    session_id: "s",
  };
  const header = Buffer.from(`{"alg":"EdDSA","kid":"k"}`).toString("base64url");
  const input = `${header}.${Buffer.from(canonical(body)).toString("base64url")}`;
  const signature = Buffer.from(await crypto.subtle.sign("Ed25519", keys.privateKey, Buffer.from(input))).toString(
    "base64url",
  );
  const receipt = { ...body, attestations: [{ type: "jws", jws: `${header}..${signature}` }] };
  const trusted = [{ kid: "k", x }];
  const verdict = async (changed, known = trusted) => (await verify({ ...receipt, ...changed }, known)).verdict;

  assert.equal(await verdict({}), "attested");
  assert.equal(await verdict({ attestations: [] }), "integrity_only");
  assert.equal(await verdict({}, []), "integrity_only");
  assert.equal(await verdict({ issuer: "runtime:y" }), "integrity_only");
  assert.equal(await verdict({ commitment: { ...FIRST, reason: "other" } }), "unverified");
  assert.equal(await verdict({ commitment: { ...FIRST, more: 1 } }), "unverified");
  assert.equal(await verdict({ commitment_wire_b64: "CgU=" }), "unverified");
  assert.equal(await verdict({ commitment_wire_b64: "mgYA" }), "unverified");
  assert.equal(await verdict({ receipt_format: "macp-receipt/2" }), "refused");
});

// --- the texts to copy, each run as it stands ------------------------------------------------------------------------------

let gateway;
before(async () => {
  gateway = await Gateway.start({ args: ["demo"] });
});
after(() => gateway?.stop());

const ANN = 'agent://ann\'s "friend"';
const start = () => ({
  kind: "send",
  bearer: ANN,
  envelope: {
    macp_version: "1.0",
    mode: "macp.mode.decision.v1",
    message_type: "SessionStart",
    message_id: randomUUID(),
    session_id: randomUUID(),
    payload: {
      intent: 'it\'s "quoted" $HOME `x` \\ 🍜',
      participants: [ANN],
      mode_version: "1.0.0",
      configuration_version: "1",
      ttl_ms: 60_000,
      max_suspend_ms: 5,
    },
  },
});
const texts = (action) => snippets(action, { http: gateway.url, grpc: gateway.grpc });
const intent = async ({ envelope: { session_id } }) => {
  const { stdout } = await run("bash", [
    "-c",
    `timeout 2 ${texts({ kind: "subscribe", bearer: ANN, session_id }).curl} || true`,
  ]);
  return JSON.parse(/^data: (.+)$/m.exec(stdout)[1]).envelope.payload.intent;
};

test("curl and the WebSocket text do what they say, whatever is in it", async () => {
  for (const language of ["curl", "WebSocket"]) {
    const action = start();
    const text = texts(action)[language];
    if (language === "curl") assert.equal(JSON.parse((await run("bash", ["-c", text])).stdout).ack.ok, true);
    else {
      const answers = [];
      await new Promise((resolve) =>
        new Function("WebSocket", "console", text)(WebSocket, {
          log: (frame) => {
            answers.push(frame);
            if (frame.ack) resolve();
          },
        }),
      );
      assert.equal(answers.at(-1).ack.ok, true);
    }
    assert.equal(await intent(action), action.envelope.payload.intent);
  }
});

// The published SDK is installed by the end-to-end step of CI; without it there is nothing to run Python with.
const python = process.env.MACP_PYTHON || `${process.env.CARGO_TARGET_DIR || "../../target"}/tools/venv/bin/python`;

test("Python and gRPC do the same", { skip: !existsSync(python) && `no ${python} with macp-sdk-python` }, async () => {
  const action = start();
  const { session_id } = action.envelope;
  assert.match((await run(python, ["-c", texts(action).Python])).stdout, /ok: true/);
  assert.equal(await intent(action), action.envelope.payload.intent);
  const candidate = {
    policy_id: "policy.x",
    mode: "macp.mode.decision.v1",
    schema_version: 3,
    description: "",
    rules: { voting: { algorithm: "majority" } },
  };
  for (const [method, request, expected] of [
    ["GetSession", { session_id }, /state: SESSION_STATE_OPEN/],
    ["WhatIfReplay", { session_id, candidate }, /candidate_policy_id: "policy.x"/],
    ["CancelSession", { session_id, reason: "it's done" }, /session_state: SESSION_STATE_CANCELLED/],
    ["GetReceiptKeys", {}, /jwks_json/],
  ]) {
    assert.match(
      (await run(python, ["-c", texts({ kind: "call", bearer: ANN, method, request }).Python])).stdout,
      expected,
      method,
    );
  }
  // Over gRPC a stream stays when its session is over: it is left after the first line.
  const follower = spawn(python, ["-uc", texts({ kind: "subscribe", bearer: ANN, session_id }).Python]);
  const [line] = await once(createInterface(follower.stdout), "line");
  follower.kill();
  assert.match(line, /SessionStart/);

  // grpcurl itself is no package here: its request, read by protobuf's own JSON and sent.
  const second = start();
  const [, request] = /-d '(\{[^]*\})' \\\n/.exec(texts(second).gRPC);
  const program = `import sys, grpc
from google.protobuf.json_format import Parse
from macp.v1 import core_pb2, core_pb2_grpc
stub = core_pb2_grpc.MACPRuntimeServiceStub(grpc.insecure_channel(sys.argv[1]))
print(stub.Send(Parse(sys.argv[2], core_pb2.SendRequest()), metadata=[("authorization", "Bearer " + sys.argv[3])]))`;
  assert.match(
    (await run(python, ["-c", program, gateway.grpc, request.replaceAll(`'\\''`, "'"), ANN])).stdout,
    /ok: true/,
  );
  assert.equal(await intent(second), second.envelope.payload.intent);
});
