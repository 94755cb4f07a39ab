//! `GET /openapi.json`.

use http::Method as Verb;
use serde_json::Value;

use crate::support::{by, gateway_with, post};

#[tokio::test]
async fn the_document_is_served_to_everyone_behind_every_prefix() {
    let gateway = gateway_with(|options| options.prefix = "/base".to_owned()).await;
    let kept: Value = serde_json::from_str(include_str!("../../../../openapi/macp-gateway.v1.json")).unwrap();
    for path in ["/openapi.json", "/base/openapi.json"] {
        let answer = gateway.ask(by(post(path, "", ""), Verb::GET)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["cache-control"], "no-cache");
        assert_eq!(answer.json(), kept);
        assert_eq!(gateway.ask(by(post(path, "", ""), Verb::HEAD)).await.status, 200);
        for verb in [Verb::POST, Verb::PUT, Verb::DELETE] {
            let answer = gateway.ask(by(post(path, "", ""), verb)).await;
            answer.is_bare(405);
            assert_eq!(answer.headers["allow"], "GET, HEAD");
        }
    }
    // Relative to the document's own address: this is what makes it true behind the prefix.
    assert_eq!(kept["servers"], serde_json::json!([{ "url": "./" }]));
}
