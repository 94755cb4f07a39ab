//! What is mounted is documented, and what is documented is mounted.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use macp_auth::Authenticator;
use macp_engine::testing::memory_engine;
use macp_transport_http::{Options, mounted, router};
use tower::ServiceExt;

use crate::{document, operations};

#[tokio::test]
async fn the_document_and_the_router_have_the_same_operations() {
    let document = document().await;
    let documented: BTreeSet<_> =
        operations(&document).into_iter().map(|(verb, path, _)| (verb, path)).collect();
    let mounted: BTreeSet<_> = mounted().into_iter().map(|it| (it.verb.to_owned(), it.path)).collect();
    let difference: Vec<_> = documented.symmetric_difference(&mounted).collect();
    assert!(difference.is_empty(), "only documented, or only mounted: {difference:?}");
}

/// The list of what is mounted is not taken at its word: the router has a route for each, which knows the verb.
#[tokio::test]
async fn every_documented_operation_answers() {
    let router = router(memory_engine().await, Arc::new(Authenticator::dev()), Options::new(1000));
    let document = document().await;
    for (verb, path, _) in operations(&document) {
        let uri = path.replace(['{', '}'], "");
        let request = Request::builder().method(verb.as_str()).uri(&uri).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let bare = response.status() == 404 && !response.headers().contains_key("macp-error-code");
        assert!(!bare && response.status() != 405, "{verb} {path}: {}", response.status());
    }
}
