// One gateway process on loopback ports that stay its own, so that it can be killed and started again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { log, secret, secretsOf } from "./evidence.mjs";

const REPOSITORY = resolve(fileURLToPath(import.meta.url), "../../../..");
const READY_WITHIN = 20_000;
const STOP_WITHIN = 20_000;
/** Any bearer is its own sender; the limits are out of the way. */
const DEVELOPMENT = {
  MACP_ALLOW_INSECURE: "1",
  MACP_MESSAGE_LIMIT_PER_MINUTE: "1000000",
  MACP_SESSION_START_LIMIT_PER_MINUTE: "1000000",
};

/** `$MACP_GATEWAY_BIN`, else the release binary of this repository. */
export function binary() {
  const target = process.env.CARGO_TARGET_DIR || join(REPOSITORY, "target");
  return process.env.MACP_GATEWAY_BIN || join(target, "release", "macp-gateway");
}

/** `count` distinct free ports of loopback; all are held at once so that none is handed out twice. */
export async function freePorts(count) {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = held.map((server) => server.address().port);
  await Promise.all(held.map((server) => once(server.close(), "close")));
  return ports;
}

export class Gateway {
  #process;
  #env;
  #args;
  #data;
  #output = "";
  #keep = log();

  /**
   * Starts one and waits until it serves. `env` is added to development settings, `args` are the command line. Sessions are
   * kept in a new directory that is removed by `stop`.
   */
  static async start({ env = {}, args = [] } = {}) {
    const gateway = new Gateway();
    const [grpc, http] = await freePorts(2);
    gateway.#data = await mkdtemp(join(tmpdir(), "macp-browser-"));
    gateway.#args = args;
    gateway.#env = {
      ...DEVELOPMENT,
      MACP_DATA_DIR: join(gateway.#data, "data"),
      MACP_BIND_ADDR: `127.0.0.1:${grpc}`,
      MACP_HTTP_BIND_ADDR: `127.0.0.1:${http}`,
      ...env,
    };
    secret(...secretsOf(gateway.#env));
    gateway.grpc = `127.0.0.1:${grpc}`;
    gateway.port = http;
    gateway.url = `http://127.0.0.1:${http}`;
    await gateway.again();
    return gateway;
  }

  /** Starts the process again, on the same ports and data. */
  async again() {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("MACP_"));
    const child = spawn(binary(), this.#args, {
      env: { ...Object.fromEntries(inherited), ...this.#env },
      cwd: this.#data,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    const keep = (text) => {
      this.#output = (this.#output + text).slice(-20_000);
      this.#keep(text);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const failed = once(child, "error").then(([error]) => {
      throw error;
    });
    failed.catch(() => {});
    await Promise.race([this.#ready(child), failed]);
  }

  async #ready(child) {
    const deadline = performance.now() + READY_WITHIN;
    for (;;) {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}\n${this.#output}`);
      const answer = await fetch(`${this.url}/.well-known/macp.json`).catch(() => null);
      await answer?.arrayBuffer();
      if (answer?.ok) return;
      if (performance.now() > deadline) throw new Error(`the gateway is not ready\n${this.#output}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  get output() {
    return this.#output;
  }

  /** Ends the process as a power cut does. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Ends the process as an operator does; its exit code. The data stays. */
  async terminate() {
    return this.#end("SIGTERM");
  }

  async #end(signal) {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, "exit");
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_WITHIN);
    await ended;
    clearTimeout(late);
    return child.exitCode;
  }

  /** Ends it for good. */
  async stop() {
    await this.#end("SIGTERM");
    await rm(this.#data, { recursive: true, force: true });
  }

  /** One call over HTTP; the answer's body, whatever its status. */
  async call(method, sender, body) {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${sender}` };
    const answer = await fetch(`${this.url}/macp/v1/${method}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    return answer.json();
  }
}
