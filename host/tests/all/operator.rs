//! The operator's commands against a gateway that fails as networks do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

/// What the gateway does with one call.
enum Turn {
    /// Breaks the connection after it has read the request.
    Break,
    /// Answers with this status and JSON.
    Answer(u16, Value),
}

/// Takes these turns, one a connection, and returns what the requests were.
fn gateway(turns: Vec<Turn>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let serve = |turn: Turn| {
            let (mut connection, _) = listener.accept().unwrap();
            let request = request(&mut connection);
            if let Turn::Answer(status, body) = turn {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + &body).as_bytes()).unwrap();
            }
            request
        };
        turns.into_iter().map(serve).collect()
    });
    (url, served)
}

/// Head and body of the next request.
fn request(connection: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = connection.read(&mut buffer).unwrap();
        text += std::str::from_utf8(&buffer[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        if read == 0 || body.len() >= length {
            return text;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
}

fn rollout(arguments: &[&str], url: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ltr-host"))
        .env_clear()
        .arg("rollout")
        .args(arguments)
        .args(["--url", url])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn refusal(code: &str) -> Value {
    json!({ "error": { "code": code, "message": "not now" } })
}

/// The command ids of the requests.
fn commands(requests: &[String]) -> Vec<&str> {
    let ids = requests.iter().map(|request| header(request, "idempotency-key"));
    ids.map(|id| id.expect("a command id")).collect()
}

#[test]
fn an_order_over_a_bad_network_is_repeated_as_the_same_command() {
    let done = json!({ "weight": 0, "champion": "V1", "challenger": null, "recorded": false });
    let (url, served) = gateway(vec![
        Turn::Break,
        Turn::Answer(502, json!("a proxy")),
        Turn::Answer(503, refusal("database")),
        Turn::Answer(200, done),
    ]);
    let (code, page, error) = rollout(&["rollback", "--reason", "contracts fell"], &url);
    assert_eq!((code, error.as_str()), (0, ""));
    for text in ["weight 0 %", "the database cannot be written"] {
        assert!(page.contains(text), "{text} in\n{page}");
    }
    let requests = served.join().unwrap();
    let commands = commands(&requests);
    assert!(uuid::Uuid::try_parse(commands[0]).is_ok());
    assert_eq!(commands, [commands[0]; 4]);
    for request in &requests {
        assert!(request.starts_with("POST /rollout/rollback "), "{request}");
        assert!(request.ends_with(r#"{"reason":"contracts fell"}"#), "{request}");
    }

    let (url, served) = gateway((0..4).map(|_| Turn::Answer(503, refusal("database"))).collect());
    let (code, _, error) = rollout(&["hold"], &url);
    assert_eq!((code, error.as_str()), (1, "ltr-host: not now\n"));
    assert_eq!(served.join().unwrap().len(), 4);
}

#[test]
fn a_refusal_is_not_repeated() {
    for (code, exit) in [("verdict", 3), ("barred", 3), ("no_challenger", 1)] {
        let (url, served) = gateway(vec![Turn::Answer(409, refusal(code))]);
        assert_eq!(rollout(&["promote"], &url).0, exit, "{code}");
        assert_eq!(served.join().unwrap().len(), 1);
    }
}

#[test]
fn each_command_has_an_id_of_its_own() {
    let id = || {
        let (url, served) = gateway(vec![Turn::Answer(200, json!({ "weight": 5 }))]);
        assert_eq!(rollout(&["weight", "5", "--version", "V1"], &url).0, 0);
        commands(&served.join().unwrap())[0].to_owned()
    };
    assert_ne!(id(), id());
}

#[test]
fn watching_ends_with_the_phase_and_fails_without_it() {
    let in_phase = |name: &str| json!({ "weight": 95, "state": { "version": 2, "phase": { "name": name } } });
    let (url, served) = gateway(vec![
        Turn::Answer(200, in_phase("rung")),
        Turn::Break,
        Turn::Answer(200, in_phase("live")),
    ]);
    let (code, page, error) = rollout(&["watch", "--until", "live", "--json"], &url);
    assert_eq!((code, error.as_str()), (0, ""));
    let lines: Vec<Value> = page.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{page}");
    assert_eq!(
        (&lines[0]["phase"], &lines[2]["phase"]),
        (&json!("rung"), &json!("live"))
    );
    assert!(lines[1]["problem"].as_str().unwrap().starts_with("no answer"), "{page}");
    assert!(
        served
            .join()
            .unwrap()
            .iter()
            .all(|request| request.starts_with("GET /rollout "))
    );

    let (code, _, error) = rollout(&["watch", "--until", "live", "--timeout", "1"], "http://127.0.0.1:1");
    assert_eq!(code, 1);
    assert!(error.contains("the phase live was not reached within 1 s"), "{error}");
}

#[test]
fn the_ledger_of_a_database_that_is_not_there_is_an_error_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.db");
    let output = Command::new(env!("CARGO_BIN_EXE_ltr-host"))
        .env_clear()
        .env("LTR_DATABASE__URL", format!("sqlite://{}", file.display()))
        .args(["ledger", "verify"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("there is no file"), "{error}");
    assert!(!file.exists());
}
