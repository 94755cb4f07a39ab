//! `POST /macp/ticket`: who gets one, what it looks like, and how it is bound.

use std::sync::Arc;

use axum::body::Body;
use http::{Method as Verb, Request};
use macp_auth::{Page, Tickets};
use macp_kernel::{Identity, UnixMillis};

use crate::support::{ALICE, Gateway, by, gateway, gateway_with, post, with, without};

async fn with_tickets() -> (Gateway, Arc<Tickets>) {
    let mut tickets = None;
    let gateway = gateway_with(|options| {
        options.prefix = "/p".into();
        tickets = Some(Arc::clone(&options.tickets));
    })
    .await;
    (gateway, tickets.unwrap())
}

fn ask() -> Request<Body> {
    without(post("/macp/ticket", ALICE, ""), "content-type")
}

#[tokio::test]
async fn a_caller_gets_a_ticket_for_its_page() {
    let (gateway, tickets) = with_tickets().await;
    let app = Some("https://app.example");
    for (request, redeemed_by) in [
        (ask(), Page::default()),
        (post("/macp/ticket", ALICE, "{}"), Page::default()),
        (without(post("/p/macp/ticket", ALICE, "not json"), "content-type"), Page::default()),
        (with(ask(), "origin", "https://app.example"), Page { origin: app, own: None }),
        (
            with(with(ask(), "origin", "https://app.example"), "host", "app.example"),
            Page { origin: None, own: None },
        ),
    ] {
        let before = gateway.engine.now().0;
        let answer = gateway.ask(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let body = answer.json();
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        let expires = body["expires_at_unix_ms"].as_i64().unwrap();
        assert!((before + 30_000..=gateway.engine.now().0 + 30_000).contains(&expires));
        let ticket = body["ticket"].as_str().unwrap();
        let identity = tickets.redeem(ticket, redeemed_by, UnixMillis(expires - 1));
        let Identity::Known(caller) = identity else { panic!("{identity:?}") };
        assert_eq!((caller.sender.as_str(), caller.verified), (ALICE, false));
    }
    let bound = gateway.ask(with(ask(), "origin", "https://app.example")).await.json();
    let redeemed = tickets.redeem(bound["ticket"].as_str().unwrap(), Page::default(), gateway.engine.now());
    assert!(matches!(redeemed, Identity::Rejected(_)), "bound to its origin");
}

#[tokio::test]
async fn others_get_none() {
    let gateway = gateway().await;
    let origins = with(with(ask(), "origin", "https://a"), "origin", "https://b");
    for (name, request, status, code) in [
        ("anonymous", without(ask(), "authorization"), 401, "UNAUTHENTICATED"),
        (
            "token header",
            with(without(ask(), "authorization"), "x-macp-token", ALICE),
            401,
            "UNAUTHENTICATED",
        ),
        ("two credentials", with(ask(), "authorization", "Bearer x"), 401, "UNAUTHENTICATED"),
        ("two origins", origins, 400, "INVALID_REQUEST"),
    ] {
        let answer = gateway.ask(request).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{name}");
    }
    for verb in [Verb::GET, Verb::HEAD, Verb::PUT, Verb::DELETE] {
        let answer = gateway.ask(by(without(ask(), "authorization"), verb)).await;
        answer.is_bare(405);
        assert_eq!(answer.headers["allow"], "POST");
    }
    gateway.ask(by(ask(), Verb::OPTIONS)).await.is_bare(204);
    gateway.ask(by(without(post("/macp/ticket/", ALICE, ""), "content-type"), Verb::POST)).await.is_bare(404);
}

#[tokio::test]
async fn a_caller_gets_only_so_many() {
    let gateway = gateway().await;
    let mut given = 0;
    let refused = loop {
        let answer = gateway.ask(ask()).await;
        if answer.status != 200 {
            break answer;
        }
        given += 1;
    };
    assert_eq!((given, refused.status.as_u16(), refused.code().as_str()), (64, 429, "RATE_LIMITED"));
    let other = without(post("/macp/ticket", "agent://other", ""), "content-type");
    assert_eq!(gateway.ask(other).await.status, 200);
}
