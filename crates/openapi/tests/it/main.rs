//! The document against what it describes: the file, the routes, the schemas.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step fails the test; helpers too")]

mod document;
mod examples;
mod routes;

use serde_json::Value;

/// The document as the code gives it.
async fn document() -> Value {
    serde_json::to_value(macp_openapi::document().await.unwrap()).unwrap()
}

/// Verb, path and operation.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            let verbs = item.as_object().unwrap().iter();
            verbs.map(move |(verb, operation)| (verb.to_uppercase(), path.clone(), operation))
        })
        .collect()
}
