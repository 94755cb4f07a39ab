//! Where a setting's value comes from: a flag, else the environment, else the file, else the default.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

use super::ConfigErrors;
use super::settings::{SETTINGS, Setting, WITHOUT_EFFECT, find};

/// The variable that names the file.
pub(crate) const CONFIG: &str = "MACP_CONFIG";

/// Values by the setting's name.
type Values = BTreeMap<&'static str, String>;

/// The three places, from the strongest to the weakest. An empty value counts as unset everywhere.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    flags: Values,
    environment: Values,
    file: Values,
    /// Where the file is, for messages.
    path: Option<PathBuf>,
    /// What the operator should know, and what stops nothing.
    pub(crate) warnings: Vec<String>,
}

/// Adds a flag for every setting that is no secret, and `--config`.
pub(crate) fn with_flags(command: Command) -> Command {
    let shown = SETTINGS.iter().filter(|setting| !setting.secret);
    let flags = shown.map(|setting| {
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name("VALUE")
            .global(true)
            .hide_short_help(true)
            .help_heading(setting.group)
            .help(help(setting))
    });
    command
        .arg(
            Arg::new(CONFIG)
                .long("config")
                .value_name("FILE")
                .global(true)
                .help("File of settings (TOML), else MACP_CONFIG"),
        )
        .args(flags)
        .after_help("Every setting is a flag, a variable and a key of the file; --help lists them.")
}

fn help(setting: &Setting) -> String {
    match setting.default {
        "" => format!("{} [{}]", setting.doc(), setting.name),
        default => format!("{} [{}, default {default}]", setting.doc(), setting.name),
    }
}

impl Layers {
    /// Gathers what the command line, the environment and the file say.
    pub(crate) fn gather(
        matches: &ArgMatches,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut layers = Self::default();
        for setting in SETTINGS.iter().filter(|setting| !setting.secret) {
            if let Some(value) = matches.get_one::<String>(setting.name) {
                layers.flags.insert(setting.name, value.clone());
            }
        }
        let mut path = matches.get_one::<String>(CONFIG).cloned();
        for (name, value) in
            environment.filter(|(name, value)| name.starts_with("MACP_") && !value.is_empty())
        {
            if name == CONFIG {
                path.get_or_insert(value);
            } else if let Some(setting) = find(&name) {
                layers.environment.insert(setting.name, value);
            } else {
                layers.warnings.push(without_effect(&name));
            }
        }
        if let Some(path) = path {
            layers.file = read(Path::new(&path))?;
            layers.path = Some(path.into());
        }
        for values in [&mut layers.flags, &mut layers.file] {
            values.retain(|_, value| !value.is_empty());
        }
        Ok(layers)
    }

    /// The value that holds, if one is set.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        debug_assert!(find(name).is_some(), "{name} is not in the table of settings");
        [&self.flags, &self.environment, &self.file].iter().find_map(|values| values.get(name).cloned())
    }

    /// Where the file is, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The same with what the file says now; flags and the environment do not change.
    pub(crate) fn again(&self) -> Result<Self, ConfigErrors> {
        let mut file = self.path.as_deref().map(read).transpose()?.unwrap_or_default();
        file.retain(|_, value| !value.is_empty());
        Ok(Self {
            flags: self.flags.clone(),
            environment: self.environment.clone(),
            file,
            path: self.path.clone(),
            warnings: Vec::new(),
        })
    }

    /// The settings whose values are others than in `before`.
    pub(crate) fn differing(&self, before: &Self) -> Vec<&'static str> {
        let names = SETTINGS.iter().map(|setting| setting.name);
        names.filter(|name| self.value(name) != before.value(name)).collect()
    }

    /// Every setting with the value that holds and where it comes from, in the form of the file. Secrets are masked.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for setting in SETTINGS {
            if setting.group != group {
                group = setting.group;
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}# {group}");
            }
            let value = self.value(setting.name);
            let origin = self.origin(setting.name);
            let _ = match value {
                Some(_) if setting.secret => writeln!(text, "{} = \"***\" # {origin}", setting.key()),
                Some(value) => writeln!(text, "{} = {} # {origin}", setting.key(), Value::String(value)),
                None if setting.default.is_empty() => writeln!(text, "# {} is not set", setting.key()),
                None => writeln!(text, "{} = {:?} # default", setting.key(), setting.default),
            };
        }
        text
    }

    fn origin(&self, name: &str) -> String {
        let flag = || find(name).map_or_else(String::new, |setting| format!("--{}", setting.flag()));
        match &self.path {
            _ if self.flags.contains_key(name) => flag(),
            _ if self.environment.contains_key(name) => "environment".to_owned(),
            Some(path) if self.file.contains_key(name) => path.display().to_string(),
            _ => "default".to_owned(),
        }
    }
}

fn without_effect(name: &str) -> String {
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
        return format!("{name} has no effect: {why}");
    }
    match nearest(name, |setting| setting.name.to_owned()) {
        Some(near) => format!("{name} is no setting and has no effect; did you mean {near}?"),
        None => format!("{name} is no setting and has no effect"),
    }
}

/// The setting that was probably meant.
fn nearest(text: &str, name: impl Fn(&Setting) -> String) -> Option<String> {
    let scored = SETTINGS.iter().map(|setting| (strsim::jaro_winkler(text, &name(setting)), name(setting)));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.85).map(|(_, name)| name)
}

fn read(path: &Path) -> Result<Values, ConfigErrors> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigErrors::one(&format!("the file of settings {} cannot be read: {error}", path.display()))
    })?;
    parse(&text).map_err(|errors| {
        ConfigErrors(errors.into_iter().map(|error| format!("{}: {error}", path.display())).collect())
    })
}

fn parse(text: &str) -> Result<Values, Vec<String>> {
    // The error quotes the line at fault, which may hold a secret: its place is enough.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
        vec![format!("line {}: {}", before.matches('\n').count() + 1, error.message())]
    })?;
    let mut values = Values::new();
    let mut errors = Vec::new();
    for (key, value) in &table {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == *key) else {
            // Somebody who writes the variable's name means the setting.
            let plain = key.trim_start_matches("MACP_").to_ascii_lowercase();
            errors.push(match nearest(&plain, Setting::key) {
                Some(near) => format!("{key} is no setting; did you mean {near}?"),
                None => format!("{key} is no setting; docs/configuration.md lists them"),
            });
            continue;
        };
        match as_text(setting, value) {
            Some(text) => drop(values.insert(setting.name, text)),
            None => errors.push(format!("{key} cannot be a {}", value.type_str())),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// A value of the file as the environment would have it.
fn as_text(setting: &Setting, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(if *flag { "1" } else { "0" }.to_owned()),
        Value::Array(_) | Value::Table(_) if setting.name.ends_with("_JSON") => {
            serde_json::to_string(value).ok()
        }
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Layers, String> {
        let command = with_flags(Command::new("test"));
        let matches =
            command.try_get_matches_from([&["test"], arguments].concat()).map_err(|e| e.to_string())?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::gather(&matches, environment).map_err(|error| error.to_string())
    }

    /// A file of settings that is gone at the end of the test.
    struct File(PathBuf);

    impl File {
        fn new(text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("macp-settings-{}.toml", uuid::Uuid::new_v4()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = File::new("bind_addr = \"1\"\nhttp_bind_addr = \"2\"\nmax_payload_bytes = 3\n");
        let environment =
            [("MACP_BIND_ADDR", "4"), ("MACP_HTTP_BIND_ADDR", "5"), ("MACP_CONFIG", file.path())];
        let layers = gather(&["--bind-addr", "6"], &environment).unwrap();
        let values = ["MACP_BIND_ADDR", "MACP_HTTP_BIND_ADDR", "MACP_MAX_PAYLOAD_BYTES", "MACP_DATA_DIR"];
        assert_eq!(
            values.map(|name| layers.value(name)),
            [Some("6"), Some("5"), Some("3"), None].map(|v| v.map(str::to_owned))
        );
        let print = layers.print();
        for line in [
            "bind_addr = \"6\" # --bind-addr".to_owned(),
            "http_bind_addr = \"5\" # environment".to_owned(),
            format!("max_payload_bytes = \"3\" # {}", file.path()),
            "data_dir = \"macp-data\" # default".to_owned(),
            "# http_public_url is not set".to_owned(),
        ] {
            assert!(print.lines().any(|found| found == line), "{line} is not in {print}");
        }
    }

    #[test]
    fn the_flag_names_the_file_before_the_variable_does() {
        let (one, two) = (File::new("data_dir = \"one\""), File::new("data_dir = \"two\""));
        let layers = gather(&["--config", two.path()], &[("MACP_CONFIG", one.path())]).unwrap();
        assert_eq!(layers.value("MACP_DATA_DIR").as_deref(), Some("two"));
    }

    #[test]
    fn empty_is_unset() {
        let file = File::new("data_dir = \"kept\"");
        let layers =
            gather(&["--data-dir", ""], &[("MACP_DATA_DIR", ""), ("MACP_CONFIG", file.path())]).unwrap();
        assert_eq!(layers.value("MACP_DATA_DIR").as_deref(), Some("kept"));
    }

    #[test]
    fn values_of_the_file() {
        let text = "memory_only = true\nallow_insecure = false\nhttp_cors_origins = [\"https://a\", \"https://b\"]\n\
                    auth_tokens_json = [{ token = \"t\", sender = \"agent://a\" }]";
        let values = parse(text).unwrap();
        assert_eq!(values["MACP_MEMORY_ONLY"], "1");
        assert_eq!(values["MACP_ALLOW_INSECURE"], "0");
        assert_eq!(values["MACP_HTTP_CORS_ORIGINS"], "https://a,https://b");
        assert_eq!(values["MACP_AUTH_TOKENS_JSON"], r#"[{"sender":"agent://a","token":"t"}]"#);
    }

    #[test]
    fn mistakes_of_the_file_are_named() {
        for (text, part) in [
            ("bind_adr = \"x\"", "bind_adr is no setting; did you mean bind_addr?"),
            ("MACP_BIND_ADDR = \"x\"", "did you mean bind_addr?"),
            ("zzz = 1", "zzz is no setting; docs/configuration.md"),
            ("max_payload_bytes = 1.5", "max_payload_bytes cannot be a float"),
            ("\nbind_addr = x", "line 2"),
            ("http_cors_origins = [1]", "http_cors_origins cannot be a array"),
        ] {
            let error = parse(text).unwrap_err().join("; ");
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(parse("a_b_c = 1\nbind_adr = 1").unwrap_err().len(), 2);
    }

    #[test]
    fn secrets_are_no_flags_and_are_shown_nowhere() {
        assert!(gather(&["--auth-tokens-json", "[]"], &[]).is_err());
        let layers = gather(&[], &[("MACP_AUTH_TOKENS_JSON", "s3cret")]).unwrap();
        assert!(layers.print().contains("auth_tokens_json = \"***\" # environment"));
        assert!(!layers.print().contains("s3cret"));
        let error = parse("auth_tokens_json = [s3cret]").unwrap_err().join("");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn unknown_variables_are_told() {
        let environment =
            [("MACP_BIND_ADR", "x"), ("MACP_REDIS_URL", "y"), ("MACP_QWERTZ", "z"), ("PATH", "p")];
        let warnings = gather(&[], &environment).unwrap().warnings;
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].ends_with("did you mean MACP_BIND_ADDR?"), "{warnings:?}");
        assert!(warnings[1].contains("one embedded store"), "{warnings:?}");
        assert_eq!(warnings[2], "MACP_QWERTZ is no setting and has no effect");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        assert!(gather(&["--config", "/nonexistent.toml"], &[]).unwrap_err().contains("/nonexistent.toml"));
    }
}
