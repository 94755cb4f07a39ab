//! The examples, which a gateway has answered while the document was made, against the document's schemas.

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::{document, operations};

/// A validator of one schema of the document, with its components at hand.
fn validator(document: &Value, schema: &Value) -> Validator {
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::options().with_draft(Draft::Draft202012).build(&schema).unwrap()
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    let validator = validator(document, schema);
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{place}: {errors:?}\n{value}");
}

#[tokio::test]
async fn examples_match_their_schemas() {
    let document = document().await;
    let mut events = 0;
    for (verb, path, operation) in operations(&document) {
        let answers = operation["responses"].as_object().unwrap().iter();
        let answers = answers.map(|(status, response)| (status.as_str(), &response["content"]));
        for (part, contents) in answers.chain([("request", &operation["requestBody"]["content"])]) {
            for (media_type, content) in contents.as_object().into_iter().flatten() {
                for (name, example) in content["examples"].as_object().into_iter().flatten() {
                    let place = format!("{verb} {path} {part} {name}");
                    let example = match example["$ref"].as_str() {
                        Some(pointer) => document.pointer(pointer.trim_start_matches('#')).unwrap(),
                        None => example,
                    };
                    check(&document, &content["schema"], &example["value"], &place);
                    if media_type == "text/event-stream" {
                        let pointer = content["schema"]["$ref"].as_str().unwrap().trim_start_matches('#');
                        let list = &document.pointer(pointer).unwrap()["contentSchema"];
                        let parsed = parse(example["value"].as_str().unwrap());
                        events += parsed.as_array().unwrap().len();
                        check(&document, list, &parsed, &place);
                    }
                }
            }
        }
    }
    assert!(events >= 8, "only {events} events of streams were seen");
}

/// A stream as the list that its `contentSchema` speaks of.
fn parse(text: &str) -> Value {
    let events = text.split("\n\n").filter(|event| event.contains("data: "));
    let events = events.map(|event| {
        let fields = event.lines().map(|line| line.split_once(": ").unwrap()).map(|(name, value)| {
            let value = if name == "data" { serde_json::from_str(value).unwrap() } else { json!(value) };
            (name.to_owned(), value)
        });
        Value::Object(fields.collect())
    });
    Value::Array(events.collect())
}

/// The check above can fail: the two forms of an envelope exclude each other, and answers are complete.
#[tokio::test]
async fn the_schemas_refuse() {
    let document = document().await;
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let envelope = json!({ "macp_version": "1.0", "message_type": "Signal", "message_id": "m" });
    for (name, change, valid) in [
        ("EnvelopeInput", json!({}), false),
        ("EnvelopeInput", json!({ "payload": {} }), true),
        ("EnvelopeInput", json!({ "payload_b64": "" }), true),
        ("EnvelopeInput", json!({ "payload": {}, "payload_b64": "" }), false),
        ("EnvelopeInput", json!({ "payload": "no object" }), false),
        ("EnvelopeInput", json!({ "payload": {}, "unknown": 1 }), true),
        ("EnvelopeInput", json!({ "payload": {}, "mode": 1 }), false),
        ("Envelope", json!({ "payload": {} }), false),
    ] {
        let mut value = envelope.clone();
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(validator(&document, &schema(name)).is_valid(&value), valid, "{name} {value}");
    }
}
