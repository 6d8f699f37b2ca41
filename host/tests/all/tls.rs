//! TLS: who is served, and how certificates change under traffic.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use evil::entries::Entry;
use ltr_host::server::connection_runtimes::ConnectionRuntimes;
use ltr_host::server::listener::Connections;
use ltr_host::server::tls::Tls;
use servers::{Authority, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Site;
use crate::running::Program;

/// A gateway that speaks TLS, with its files and its certificates' handle.
struct Secured {
    _site: Site,
    files: settings::Tls,
    tls: Arc<Tls>,
    port: u16,
    _stop: watch::Sender<bool>,
}

impl Secured {
    async fn start(server: &Identity, client_authority: Option<&Authority>) -> Secured {
        let site = Site::new();
        let path = |name: &str| site.settings.models.dir.with_file_name(name);
        let files = settings::Tls {
            cert_file: path("server.crt"),
            key_file: path("server.key"),
            client_ca_file: client_authority.map_or_else(PathBuf::new, |_| path("clients.crt")),
        };
        if let Some(authority) = client_authority {
            std::fs::write(&files.client_ca_file, authority.certificate.pem()).unwrap();
        }
        write(&files, server);
        let tls = Arc::new(Tls::open(&files).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = site.start().await.front;
        let (stop, stopped) = watch::channel(false);
        let connections =
            Connections::new(&site.settings.host, ConnectionRuntimes::start().unwrap()).with_tls(Some(tls.clone()));
        tokio::spawn(connections.serve(listener, front, stopped));
        Secured {
            _site: site,
            files,
            tls,
            port,
            _stop: stop,
        }
    }

    async fn serves(&self, trusted: &Authority, shown: Option<&Identity>) -> bool {
        serves(self.port, trusted, shown).await
    }
}

/// A connection of a client that trusts this authority and shows this certificate.
async fn connect(port: u16, trusted: &Authority, shown: Option<&Identity>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain: Vec<CertificateDer> = vec![identity.certificate.der().clone()];
            let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("gateway.test").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Whether such a client is served.
async fn serves(port: u16, trusted: &Authority, shown: Option<&Identity>) -> bool {
    match connect(port, trusted, shown).await {
        Ok(mut stream) => healthy(&mut stream).await,
        Err(_) => false,
    }
}

fn write(files: &settings::Tls, identity: &Identity) {
    std::fs::write(&files.cert_file, identity.certificate.pem()).unwrap();
    std::fs::write(&files.key_file, identity.key.serialize_pem()).unwrap();
}

/// Asks on a connection that stays open.
async fn healthy(stream: &mut TlsStream<TcpStream>) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nhost: gateway.test\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        match stream.read_buf(&mut answer).await {
            Ok(read) if read > 0 => {}
            _ => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_and_plain_http_is_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let gateway = Secured::start(&authority.sign("gateway.test"), None).await;
    assert!(gateway.serves(&authority, None).await);
    assert!(!gateway.serves(&other, None).await);
    let mut plain = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
}

#[tokio::test]
async fn where_clients_need_a_certificate_only_those_of_the_authority_are_served() {
    let (authority, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let gateway = Secured::start(&authority.sign("gateway.test"), Some(&clients)).await;
    assert!(gateway.serves(&authority, Some(&clients.sign("shop.test"))).await);
    assert!(!gateway.serves(&authority, Some(&other.sign("shop.test"))).await);
    assert!(!gateway.serves(&authority, None).await);
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_open_ones_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let gateway = Secured::start(&old.sign("gateway.test"), None).await;
    let mut open = connect(gateway.port, &old, None).await.unwrap();
    assert!(healthy(&mut open).await);
    write(&gateway.files, &new.sign("gateway.test"));
    assert!(gateway.serves(&old, None).await, "nothing was reloaded yet");
    gateway.tls.reload().unwrap();
    assert!(gateway.serves(&new, None).await);
    assert!(!gateway.serves(&old, None).await);
    assert!(healthy(&mut open).await);
}

#[tokio::test]
async fn a_bad_new_certificate_is_named_and_the_old_one_serves_on() {
    let authority = Authority::new();
    let (good, stranger) = (authority.sign("gateway.test"), authority.sign("gateway.test"));
    let gateway = Secured::start(&good, Some(&authority)).await;
    let files = &gateway.files;
    let mismatched = stranger.key.serialize_pem();
    for (file, text, key) in [
        (&files.cert_file, "", "tls.cert_file"),
        (&files.cert_file, "-----BEGIN CERTIFICATE-----\nhalf", "tls.cert_file"),
        (&files.key_file, "no key", "tls.key_file"),
        (&files.key_file, mismatched.as_str(), "tls.key_file"),
        (&files.client_ca_file, "", "tls.client_ca_file"),
    ] {
        let sound = std::fs::read(file).unwrap();
        std::fs::write(file, text).unwrap();
        let error = gateway.tls.reload().unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(file.to_str().unwrap()), "{error}");
        assert!(gateway.serves(&authority, Some(&good)).await, "{error}");
        std::fs::write(file, sound).unwrap();
    }
    std::fs::remove_file(&files.key_file).unwrap();
    assert!(gateway.tls.reload().unwrap_err().to_string().contains("tls.key_file"));
    assert!(gateway.serves(&authority, Some(&good)).await);
}

#[tokio::test]
async fn what_is_no_file_in_a_certificates_place_is_named_at_once_and_later_files_are_read() {
    let authority = Authority::new();
    let good = authority.sign("gateway.test");
    let gateway = Secured::start(&good, Some(&authority)).await;
    let files = &gateway.files;
    for file in [&files.cert_file, &files.key_file, &files.client_ca_file] {
        let sound = std::fs::read(file).unwrap();
        for entry in Entry::ALL {
            entry.make(file);
            let tls = gateway.tls.clone();
            let reloading = tokio::task::spawn_blocking(move || tls.reload());
            let reloaded = tokio::time::timeout(Duration::from_secs(20), reloading).await;
            let error = reloaded.expect("it does not wait").unwrap().unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()), "{entry:?}: {error}");
            assert!(gateway.serves(&authority, Some(&good)).await, "{entry:?}");
        }
        let _ = std::fs::remove_file(file);
        std::fs::write(file, sound).unwrap();
        gateway.tls.reload().unwrap();
    }
}

#[tokio::test]
async fn a_running_program_takes_new_certificates_on_a_signal_and_keeps_its_connections() {
    let (old, new) = (Authority::new(), Authority::new());
    let site = Site::new();
    let path = |name: &str| site.settings.models.dir.with_file_name(name);
    let files = settings::Tls {
        cert_file: path("server.crt"),
        key_file: path("server.key"),
        client_ca_file: PathBuf::new(),
    };
    write(&files, &old.sign("gateway.test"));
    let more = [
        ("LTR_TLS__CERT_FILE", files.cert_file.as_path()),
        ("LTR_TLS__KEY_FILE", files.key_file.as_path()),
    ];
    let program = Program::start(&site, &more);
    let port = program.address.rsplit(':').next().unwrap().parse().unwrap();
    let mut open = connect(port, &old, None).await.unwrap();
    assert!(healthy(&mut open).await);
    // One signal meets a key that nobody ever writes to; the next ones are heard all the same.
    Entry::Fifo.make(&files.key_file);
    program.hang_up();
    let log = crate::running::log(&site);
    let named = async {
        while !std::fs::read_to_string(&log).unwrap().contains("it is a FIFO") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), named)
        .await
        .expect("the FIFO is named");
    std::fs::remove_file(&files.key_file).unwrap();
    write(&files, &new.sign("gateway.test"));
    program.hang_up();
    let taken = async { while !serves(port, &new, None).await {} };
    tokio::time::timeout(Duration::from_secs(60), taken)
        .await
        .expect("the new certificate is taken");
    assert!(healthy(&mut open).await);
}

#[tokio::test]
async fn the_program_asks_a_gateway_over_tls_and_trusts_none_but_those_of_its_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let site = Site::new();
    let path = |name: &str| site.settings.models.dir.with_file_name(name);
    let files = settings::Tls {
        cert_file: path("server.crt"),
        key_file: path("server.key"),
        client_ca_file: PathBuf::new(),
    };
    write(&files, &authority.sign("127.0.0.1"));
    let program = Program::start(
        &site,
        &[
            ("LTR_TLS__CERT_FILE", &files.cert_file),
            ("LTR_TLS__KEY_FILE", &files.key_file),
        ],
    );
    let status = |ca_file: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_ltr-host"))
            .args([
                "rollout",
                "status",
                "--json",
                "--url",
                &format!("https://{}", program.address),
            ])
            .env("LTR_CLIENT__CA_FILE", path(ca_file))
            .env("LTR_CLIENT__TOKEN", crate::TOKEN)
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    for (name, authority) in [("trusted.crt", &authority), ("other.crt", &other)] {
        std::fs::write(path(name), authority.certificate.pem()).unwrap();
    }
    let (code, said) = status("trusted.crt");
    assert!(code == Some(0) && said.contains("\"weight\": 0"), "{said}");
    assert_eq!(status("other.crt").0, Some(1));
    assert_eq!(status("absent.crt").0, Some(1));
}
