//! Who may import whom: the absences that ARCHITECTURE.md promises, checked against cargo's own resolution.

use std::collections::BTreeSet;
use std::process::Command;

/// A crate, the workspace crates it may use directly, and crates that must be nowhere below it.
struct Rule {
    package: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const ASYNC_AND_SERVERS: &[&str] = &["tokio", "axum", "tonic", "hyper", "tungstenite"];
const SERVERS: &[&str] = &["axum", "tonic", "hyper", "http", "tungstenite"];

const RULES: &[Rule] = &[
    Rule { package: "macp-wire", may_use: &[], never: ASYNC_AND_SERVERS },
    Rule {
        package: "macp-kernel",
        may_use: &["macp-wire"],
        never: &["tokio", "axum", "tonic", "hyper", "rand", "uuid", "tungstenite"],
    },
    Rule { package: "macp-counters", may_use: &[], never: &["tokio", "axum", "prometheus", "tracing"] },
    Rule { package: "macp-store", may_use: &["macp-counters"], never: SERVERS },
    Rule { package: "macp-auth", may_use: &["macp-kernel"], never: &["axum", "tonic", "tungstenite"] },
    Rule { package: "macp-limits", may_use: &[], never: ASYNC_AND_SERVERS },
    Rule {
        package: "macp-engine",
        may_use: &["macp-counters", "macp-kernel", "macp-limits", "macp-store", "macp-wire"],
        never: SERVERS,
    },
    Rule {
        package: "macp-transport-grpc",
        may_use: &["macp-auth", "macp-engine", "macp-kernel", "macp-wire"],
        never: &["tungstenite"],
    },
    Rule {
        package: "macp-transport-http",
        may_use: &["macp-auth", "macp-engine", "macp-kernel", "macp-wire"],
        never: &["tonic", "tungstenite"],
    },
    Rule {
        package: "macp-openapi",
        may_use: &[
            "macp-auth",
            "macp-engine",
            "macp-kernel",
            "macp-store",
            "macp-transport-http",
            "macp-wire",
        ],
        never: &["tonic", "tungstenite"],
    },
    Rule {
        package: "macp-transport-ws",
        may_use: &["macp-auth", "macp-counters", "macp-engine", "macp-kernel", "macp-wire"],
        never: &["tonic"],
    },
    // It measures servers from outside, and shares none of their code.
    Rule { package: "macp-bench", may_use: &["macp-wire"], never: &[] },
    // It measures inner steps, below all transports.
    Rule {
        package: "macp-micro",
        may_use: &["macp-engine", "macp-kernel", "macp-store", "macp-wire"],
        never: &["axum", "tonic", "tungstenite"],
    },
];

/// The binary may use everything; xtask is no part of the product. Nothing may use either, which the lists above say.
const UNRULED: &[&str] = &["macp-gateway", "xtask"];

/// Checks every rule; the texts say who uses what.
pub(crate) fn check() -> Result<(), Vec<String>> {
    let mut violations = Vec::new();
    for package in workspace().map_err(|error| vec![error])? {
        match RULES.iter().find(|rule| rule.package == package) {
            Some(rule) => rule.check(&mut violations).map_err(|error| vec![error])?,
            None if UNRULED.contains(&package.as_str()) => {}
            None => violations.push(format!("{package} has no rule")),
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

impl Rule {
    fn check(&self, violations: &mut Vec<String>) -> Result<(), String> {
        let package = self.package;
        for used in tree(package, "1")?.iter().filter(|name| name.starts_with("macp-")) {
            if used != package && !self.may_use.contains(&used.as_str()) {
                violations.push(format!("{package} uses {used}, which it may not"));
            }
        }
        for below in tree(package, "1000")? {
            if self.never.contains(&below.as_str()) {
                violations.push(format!("{package} has {below} below it, which it must never see"));
            }
        }
        Ok(())
    }
}

/// Implementations of TLS and its cryptography besides aws-lc, which rustls prefers. With two of them in one graph, rustls
/// does not know which to take, and each is one more to watch.
const OTHER_CRYPTOGRAPHY: &[&str] = &[
    "aws-lc-fips-sys",
    "boring",
    "boring-sys",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "ring",
    "rustls-openssl",
    "rustls-rustcrypto",
    "s2n-tls",
];

/// Checks that one implementation of TLS and one of cryptography is all there is, in tests and tools, too, and on every
/// platform.
pub(crate) fn check_cryptography() -> Result<(), Vec<String>> {
    let edges = ["-e", "normal,build,dev", "--target", "all"];
    let text = cargo(&[&["tree", "--workspace", "--prefix", "none", "--format", "{p}"], &edges[..]].concat())
        .map_err(|error| vec![error])?;
    let packages = names(&text);
    let mut violations: Vec<String> = OTHER_CRYPTOGRAPHY
        .iter()
        .filter(|other| packages.contains(**other))
        .map(|other| {
            format!("{other} is in the tree, beside aws-lc; find out by whom: cargo tree -i {other}")
        })
        .collect();
    for one in ["rustls", "tokio-rustls", "aws-lc-rs", "aws-lc-sys"] {
        let versions: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(one)?.strip_prefix(' ')?.split(' ').next())
            .collect();
        if versions.len() != 1 {
            violations.push(format!("{one} must be there in one version, and is in {versions:?}"));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Names of the workspace's packages.
fn workspace() -> Result<BTreeSet<String>, String> {
    cargo(&["tree", "--workspace", "--depth", "0", "--prefix", "none", "--format", "{p}"])
        .map(|text| names(&text))
}

/// The package and its normal dependencies (no dev, no build, default features) down to a depth.
fn tree(package: &str, depth: &str) -> Result<BTreeSet<String>, String> {
    cargo(&["tree", "-p", package, "-e", "normal", "--depth", depth, "--prefix", "none", "--format", "{p}"])
        .map(|text| names(&text))
}

/// The first word of each line: `name v1.2.3 (path)`.
fn names(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

fn cargo(arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("cargo does not run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_keep_to_their_dependencies() {
        if let Err(violations) = check() {
            panic!("{}", violations.join("\n"));
        }
    }

    #[test]
    fn there_is_one_cryptography() {
        if let Err(violations) = check_cryptography() {
            panic!("{}", violations.join("\n"));
        }
    }

    #[test]
    fn the_trees_are_real() {
        assert!(tree("macp-gateway", "1000").unwrap().contains("axum"));
        assert!(tree("macp-engine", "1").unwrap().contains("tokio"));
        assert!(workspace().unwrap().contains("macp-kernel"));
    }

    #[test]
    fn a_broken_rule_is_seen() {
        let mut violations = Vec::new();
        let may_use = &["macp-counters", "macp-kernel", "macp-limits", "macp-wire"];
        let rule = Rule { package: "macp-engine", may_use, never: &["tokio"] };
        rule.check(&mut violations).unwrap();
        assert_eq!(violations.len(), 2, "{violations:?}");
    }
}
