use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::Identity;

/// Answers every request over TLS with `answer`, a whole HTTP answer, for as long as the process lives; its port on
/// 127.0.0.1.
pub fn https(identity: &Identity, answer: &'static str) -> u16 {
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let mut tls = Stream::new(&mut connection, &mut stream);
            // A client that distrusts us hangs up, which is what some tests are about.
            if tls.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
                let _ = tls.write_all(answer.as_bytes());
            }
            connection.send_close_notify();
            let _ = connection.complete_io(&mut stream);
        }
    });
    port
}
