//! How the program ends: balancers are told first, and nobody waits for ever.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use hyper::Method;

use crate::running::{Program, log};
use crate::{Site, TOKEN, case};

async fn readiness(program: &Program) -> (u16, String) {
    let url = format!("http://{}/readyz", program.address);
    let answer = testkit_gateway::http().build().unwrap().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn after_sigterm_it_is_not_ready_and_serves_until_the_delay_is_over_or_a_second_signal_comes() {
    let site = Site::new();
    let program = Program::start(&site, &[("LTR_HOST__DRAIN_DELAY_MS", Path::new("600000"))]);
    while readiness(&program).await.0 != 200 {}
    program.signal("-TERM");
    while readiness(&program).await.0 == 200 {}
    assert_eq!(readiness(&program).await, (503, "draining\n".to_owned()));
    // On connections that are new.
    assert_eq!(program.source().await, "legacy");
    let address = program.address.clone();
    assert_eq!(program.terminate().await.code(), Some(0));
    assert!(TcpStream::connect(address).is_err());

    let program = Program::start(&site, &[("LTR_HOST__DRAIN_DELAY_MS", Path::new("300"))]);
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_that_does_not_end_holds_it_up_for_the_drain_timeout_and_no_longer() {
    let site = Site::new();
    let more = [
        ("LTR_HOST__DRAIN_TIMEOUT_MS", "100"),
        // Beyond the patience of the test.
        ("LTR_HOST__BODY_TIMEOUT_MS", "600000"),
        ("LTR_HOST__REQUEST_TIMEOUT_MS", "600000"),
    ];
    let program = Program::start(&site, &more.map(|(name, value)| (name, Path::new(value))));
    let mut slow = TcpStream::connect(&program.address).unwrap();
    write!(
        slow,
        "POST /rank HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\n\r\n{{"
    )
    .unwrap();
    // It is served by now, as this one is.
    assert_eq!(program.source().await, "legacy");
    assert_eq!(program.terminate().await.code(), Some(0));
    let text = std::fs::read_to_string(log(&site)).unwrap();
    assert!(text.contains("host.drain_timeout_ms"), "{text}");
}

#[tokio::test]
async fn while_it_drains_every_answer_and_every_error_ends_its_connection() {
    let site = Site::new();
    let running = site.start().await;
    let calls = [
        (Method::POST, "/rank", case(1).to_string(), 200),
        (Method::GET, "/healthz", String::new(), 200),
        (Method::POST, "/rank", "{".to_owned(), 400),
        (Method::GET, "/nowhere", String::new(), 404),
        (Method::GET, "/rank", String::new(), 405),
        (Method::POST, "/ltr/score", "{}".to_owned(), 503),
    ];
    for drains in [false, true] {
        for (method, path, body, status) in calls.clone() {
            let answer = running.send(method, path, &[], body).await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
            assert_eq!(answer.header("connection") == "close", drains, "{path}");
        }
        running.gateway.readiness.drain();
    }
    assert_eq!(running.get("/readyz").await.header("connection"), "close");
}
