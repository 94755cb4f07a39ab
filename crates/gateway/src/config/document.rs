//! `docs/configuration.md`, made from the table of settings.

use std::fmt::Write as _;

use super::settings::{SETTINGS, WITHOUT_EFFECT};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `cargo run -- config document > docs/configuration.md` from the comments in
     crates/gateway/src/config/settings.rs; a test compares them. -->

Every setting can be given in three ways. The first one that gives it wins:

1. a flag: `--bind-addr 127.0.0.1:9000`. Secrets have none, because every user of the machine can read a command line;
2. a variable: `MACP_BIND_ADDR=127.0.0.1:9000`;
3. a key of a file: `bind_addr = \"127.0.0.1:9000\"`, in TOML. `--config FILE` or `MACP_CONFIG` names the file.

In the file a switch may be `true` or `false`, a number a number, a list an array of strings, and a value in JSON a TOML
array or table. An empty value counts as unset. A key or a flag that is not in the table is refused, and so is every
value that cannot be meant; all mistakes are reported together, and nothing is served until they are gone. A variable
that begins with `MACP_` and is not in the table is named in a warning.

```sh
cd \"$(mktemp -d)\"
cat > gateway.toml <<'TOML'
memory_only = true
allow_insecure = true
http_cors_origins = [\"https://console.example\"]
TOML
macp-gateway config check --config gateway.toml
macp-gateway config print --config gateway.toml --max-payload-bytes 65536 | grep -E 'cors|payload'
```

`config check` starts nothing and exits with 1 if `serve` would not start. `config print` shows every setting, the value
that holds and where it comes from; secrets are masked.
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(page, "\n## {group}\n\n| Variable | Default | Meaning |\n|---|---|---|\n");
        }
        let default =
            if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let secret = if setting.secret { " A secret: no flag." } else { "" };
        let _ = writeln!(page, "| `{}` | {default} | {}{secret} |", setting.name, setting.doc());
    }
    page.push_str("\n## Variables of the reference server without effect\n\n| Variable | Why |\n|---|---|\n");
    for (name, why) in WITHOUT_EFFECT {
        let _ = writeln!(page, "| `{name}` | {why} |");
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_the_repository_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == super::page(), "run `cargo run -- config document > docs/configuration.md`");
    }
}
