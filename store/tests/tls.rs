//! A PostgreSQL server that speaks TLS: used when it shows who it is, and not when another answers in its place.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use servers::{Authority, Postgres};
use store::{Address, Limits, Store, StoreError};
use tempfile::TempDir;

/// An authority with its file.
fn authority() -> (Authority, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let authority = Authority::new();
    std::fs::write(&file, authority.certificate.pem()).unwrap();
    (authority, file, folder)
}

fn address<'a>(url: &'a str, file: &'a Path) -> Address<'a> {
    Address {
        url,
        ca_file: Some(file),
    }
}

/// Why a server is not used; it must not be waited for either.
async fn refused(url: &str, file: &Path) -> String {
    let error = Store::open(address(url, file)).await.unwrap_err();
    let later = Store::open_later(address(url, file), Limits::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Open { .. }) && matches!(later, StoreError::Open { .. }),
        "{error} {later}"
    );
    error.to_string()
}

#[tokio::test]
async fn a_server_with_a_certificate_of_the_authority_for_its_host_is_used() {
    let (authority, file, _folder) = authority();
    let mut server = Postgres::start();
    server.speak_tls(&authority.sign("127.0.0.1"));
    let url = server.database();
    let store = Store::open(address(&url, &file)).await.unwrap();
    assert_eq!(store.rollout().await.unwrap().weight, 0);
    // This server takes nothing that is not encrypted.
    let unchecked = Store::open(&url).await.unwrap();
    assert_eq!(unchecked.rollout().await.unwrap().weight, 0);
}

#[tokio::test]
async fn a_server_that_is_not_the_one_that_is_meant_ends_the_start() {
    let (authority, file, _folder) = authority();
    let (_, others_file, _others_folder) = self::authority();
    let mut server = Postgres::start();
    let url = server.database();
    let said = refused(&url, &file).await;
    assert!(said.contains("TLS"), "it speaks none: {said}");
    server.speak_tls(&authority.sign("127.0.0.1"));
    let said = refused(&url, &others_file).await;
    assert!(said.contains("certificate"), "an authority that is not ours: {said}");
    server.speak_tls(&authority.sign("elsewhere.test"));
    let said = refused(&url, &file).await;
    assert!(said.contains("certificate"), "another host: {said}");
    server.speak_tls(&authority.sign("127.0.0.1"));
    tokio::time::timeout(Duration::from_secs(60), Store::open(address(&url, &file)))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_named() {
    let url = "postgres://ltr:secret@127.0.0.1:1/ltr";
    for (file, reason) in [("/nowhere/ca.pem", "No such file"), ("/dev/null", "a regular file")] {
        let opened = Store::open_later(address(url, Path::new(file)), Limits::default()).await;
        let said = opened.unwrap_err().to_string();
        assert!(said.contains("database.ca_file") && said.contains(file), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}
