//! Which servers the client trusts.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::path::{Path, PathBuf};

use servers::Authority;
use tempfile::TempDir;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const ELSEWHERE: &str = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";

fn file(authority: &Authority) -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.certificate.pem()).unwrap();
    (file, folder)
}

async fn get(url: &str, ca_file: &Path) -> reqwest::Result<u16> {
    let client = client::builder(url, ca_file).unwrap().no_proxy().build().unwrap();
    Ok(client.get(url).send().await?.status().as_u16())
}

#[tokio::test]
async fn only_a_gateway_with_a_trusted_certificate_for_its_host_is_called() {
    let authority = Authority::new();
    let (trusted, _trusted) = file(&authority);
    let (other, _other) = file(&Authority::new());
    let url = |host: &str| format!("https://127.0.0.1:{}/", servers::https(&authority.sign(host), OK));
    assert_eq!(get(&url("127.0.0.1"), &trusted).await.unwrap(), 200);
    assert!(get(&url("127.0.0.1"), &other).await.is_err());
    assert!(get(&url("127.0.0.1"), Path::new("")).await.is_err());
    assert!(get(&url("elsewhere.test"), &trusted).await.is_err());
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let authority = Authority::new();
    let (trusted, _trusted) = file(&authority);
    let port = servers::https(&authority.sign("127.0.0.1"), ELSEWHERE);
    assert_eq!(get(&format!("https://127.0.0.1:{port}/"), &trusted).await.unwrap(), 307);
}

#[test]
fn authorities_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let fifo = folder.path().join("fifo.pem");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    for file in [empty, folder.path().join("absent.pem"), fifo, "/dev/zero".into()] {
        let said = client::builder("https://gateway.test/", &file)
            .err()
            .unwrap()
            .to_string();
        assert!(
            said.starts_with("client.ca_file: ") && said.contains(file.to_str().unwrap()),
            "{said}"
        );
    }
}
