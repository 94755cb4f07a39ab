//! A JSON value as YAML in blocks. Texts are quoted as in JSON, which YAML reads the same way.

use serde_json::Value;

/// The document, with a line break at its end.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                indent(depth, out);
                key(name, out);
                out.push(':');
                inside(member, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                match item {
                    // Its first member stands beside the dash.
                    Value::Object(members) if !members.is_empty() => {
                        let mut text = String::new();
                        block(item, depth + 1, &mut text);
                        out.push(' ');
                        out.push_str(text.trim_start());
                    }
                    _ => inside(item, depth + 1, out),
                }
            }
        }
        _ => inside(value, depth, out),
    }
}

/// A value behind a key or a dash.
fn inside(value: &Value, depth: usize, out: &mut String) {
    let has_block = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if has_block {
        out.push('\n');
        block(value, depth, out);
    } else {
        out.push(' ');
        out.push_str(&value.to_string());
        out.push('\n');
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Plain where no reader can take it for anything but a text.
fn key(name: &str, out: &mut String) {
    let mut letters = name.chars();
    let plain = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    // What YAML 1.1 takes for truth values.
    let word = matches!(
        name.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
    );
    if plain && !word {
        out.push_str(name);
    } else {
        out.push_str(&Value::from(name).to_string());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn blocks_and_quotes() {
        let value = json!({
            "$ref": "#/a", "a": {"b": [1, {"c": "x: y", "d": []}, [true]], "e": {}}, "no": null, "t": "line\nbreak \"q\"",
        });
        let expected = "\"$ref\": \"#/a\"\na:\n  b:\n    - 1\n    - c: \"x: y\"\n      d: []\n    -\n      - true\n  e: {}\n\
                        \"no\": null\nt: \"line\\nbreak \\\"q\\\"\"\n";
        assert_eq!(super::text(&value), expected);
    }
}
