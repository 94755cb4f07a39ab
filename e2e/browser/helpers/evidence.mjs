// For the search for leaked credentials, `e2e/leaks.py`: in `$MACP_E2E_LOGS`, a folder, what gateways have written and
// which credentials were used. Without it nothing is kept.

import { appendFileSync } from "node:fs";
import { basename, join } from "node:path";

const FOLDER = process.env.MACP_E2E_LOGS;
let logs = 0;

/** Notes credentials that no gateway may ever write. */
export function secret(...credentials) {
  if (FOLDER) appendFileSync(join(FOLDER, "credentials"), credentials.map((one) => `${one}\n`).join(""));
}

/** The credentials in the settings of a gateway. */
export function secretsOf(env) {
  const tokens = JSON.parse(env.MACP_AUTH_TOKENS_JSON ?? "[]");
  return tokens.map(({ token }) => token);
}

/** The ticket of a URL or of the first line of a request. */
export function secretOfUrl(text) {
  const [, ticket] = /[?&]ticket=([^&\s]+)/.exec(text) ?? [];
  if (ticket) secret(decodeURIComponent(ticket));
}

/** Where the output of one more gateway is kept: takes its next piece. */
export function log() {
  if (!FOLDER) return () => {};
  const file = join(FOLDER, `browser-${basename(process.argv[1] ?? "", ".mjs")}-${process.pid}-${++logs}.log`);
  return (text) => appendFileSync(file, text);
}
