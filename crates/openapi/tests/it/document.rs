//! The file in the repository, and the parts that every operation must have.

use std::collections::BTreeSet;
use std::path::Path;

use macp_kernel::RefusalCode;
use macp_openapi::{COMMAND, FILE};
use serde_json::Value;

use crate::{document, operations};

#[tokio::test]
async fn the_file_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE);
    let kept = std::fs::read_to_string(path).unwrap();
    // Not assert_eq: both are thousands of lines.
    assert!(kept == macp_openapi::text().await.unwrap(), "{FILE} is stale; run: {COMMAND}");
}

#[tokio::test]
async fn every_operation_is_described() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (verb, path, operation) in operations(&document) {
        let place = format!("{verb} {path}");
        for member in ["summary", "description"] {
            let text = operation[member].as_str().unwrap_or("");
            assert!(text.len() > 10 && !text.ends_with(' '), "{place}: {member} {text:?}");
        }
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: operationId");
        assert!(tags.contains(operation["tags"][0].as_str().unwrap()), "{place}: tag");
        for part in ["responses/200", "requestBody"] {
            let Some(contents) = operation.pointer(&format!("/{part}/content")).and_then(Value::as_object)
            else {
                assert!(part == "requestBody", "{place}: no answer");
                continue;
            };
            let has_example =
                |content: &Value| content["examples"].as_object().is_some_and(|it| !it.is_empty());
            assert!(contents.values().all(|content| content["schema"].is_object()), "{place}: no schema");
            assert!(path == "/openapi.json" || contents.values().any(has_example), "{place}: no example");
        }
        assert_eq!(operation["security"].is_array(), operation["responses"]["401"].is_object(), "{place}");
    }
}

#[tokio::test]
async fn refusals_have_the_status_and_example_of_their_code() {
    let document = document().await;
    let mut codes = 0;
    for (verb, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = &response["content"]["application/json"];
            if content["schema"]["$ref"] != "#/components/schemas/ErrorBody" {
                continue;
            }
            codes += 1;
            for (name, example) in content["examples"].as_object().unwrap() {
                let code = RefusalCode::ALL.iter().find(|code| code.name() == name).unwrap();
                assert_eq!(code.http_status().to_string(), *status, "{verb} {path} {name}");
                let pointer = example["$ref"].as_str().unwrap().trim_start_matches('#');
                let body = &document.pointer(pointer).unwrap()["value"];
                assert_eq!(body["error"]["code"], **name);
                assert!(response["description"].as_str().unwrap().contains(code.meaning()));
            }
        }
    }
    assert!(codes > 200, "only {codes} error responses");
}

#[tokio::test]
async fn integers_are_integers_and_enums_are_names() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    for (pointer, expected) in [
        ("/Ack/properties/accepted_at_unix_ms/type", "integer"),
        ("/Ack/properties/accepted_at_unix_ms/format", "int64"),
        ("/StreamSessionRequest/properties/after_sequence/type", "integer"),
        ("/Ack/properties/session_state/$ref", "#/components/schemas/SessionState"),
        ("/SessionState/type", "string"),
        ("/SessionState/enum/1", "SESSION_STATE_OPEN"),
        ("/InlineEnvelope/properties/payload/$ref", "#/components/schemas/EnvelopePayload"),
        ("/EncodedEnvelope/properties/payload_b64/contentEncoding", "base64"),
    ] {
        assert_eq!(schemas.pointer(pointer).and_then(|it| it.as_str()), Some(expected), "{pointer}");
    }
    // What is always written is always there; of a request only what it cannot do without.
    let required = |name: &str| schemas[name]["required"].as_array().unwrap().len();
    assert_eq!(required("Ack"), 6);
    assert_eq!((required("InlineEnvelope"), required("InlineEnvelopeInput")), (8, 4));
    assert!(schemas["StreamSessionRequest"]["properties"].get("envelope").is_none(), "refused over HTTP");
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_no_schema_is_unused() {
    let document = document().await;
    let text = document.to_string();
    let mut referenced = BTreeSet::new();
    for rest in text.split("\"$ref\":\"#").skip(1) {
        let pointer = rest.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        referenced.insert(pointer.to_owned());
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(referenced.contains(&format!("/components/schemas/{name}")), "{name} is not used");
    }
}
