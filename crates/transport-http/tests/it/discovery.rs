//! The well-known manifest.

use http::Method as Verb;
use http_body_util::BodyExt;
use serde_json::json;

use crate::support::{by, connect, gateway, gateway_with, post, request_over};

const PATH: &str = "/.well-known/macp.json";

#[tokio::test]
async fn it_is_the_manifest_of_the_server() {
    let gateway = gateway().await;
    let manifest = gateway.call("GetManifest", "", &json!({})).await.json()["manifest"].clone();
    let answer = gateway.ask(by(post(PATH, "", ""), Verb::GET)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/macp-manifest+json");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap(), manifest);
}

#[tokio::test]
async fn it_is_at_the_root_whatever_the_prefix() {
    let gateway = gateway_with(|options| options.prefix = "/base".to_owned()).await;
    assert_eq!(gateway.ask(by(post(PATH, "", ""), Verb::GET)).await.status, 200);
    gateway.ask(by(post(&format!("/base{PATH}"), "", ""), Verb::GET)).await.is_bare(404);
    gateway.ask(by(post("/.well-known/macp.json/", "", ""), Verb::GET)).await.is_bare(404);
}

#[tokio::test]
async fn head_is_the_same_head() {
    let gateway = gateway().await;
    let mut connection = connect(gateway.serve().await).await;
    let get = request_over(&mut connection, by(post(PATH, "", ""), Verb::GET)).await;
    let mut get_headers = get.headers().clone();
    let length = get.into_body().collect().await.unwrap().to_bytes().len();
    let head = request_over(&mut connection, by(post(PATH, "", ""), Verb::HEAD)).await;
    let mut head_headers = head.headers().clone();
    assert_eq!(head_headers["content-length"], length.to_string());
    // The two may have been made in different seconds.
    get_headers.remove("date");
    head_headers.remove("date");
    assert_eq!(head_headers, get_headers);
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn other_verbs_are_refused() {
    let gateway = gateway().await;
    for verb in [Verb::POST, Verb::PUT, Verb::DELETE] {
        let answer = gateway.ask(by(post(PATH, "", ""), verb)).await;
        answer.is_bare(405);
        assert_eq!(answer.headers["allow"], "GET, HEAD");
    }
}
