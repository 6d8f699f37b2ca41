//! TLS certificates and certificate authorities.

use std::path::PathBuf;

use crate::Secret;
use crate::section::Rule::Words;
use crate::section::section;

section! {
    /// Certificates (PEM); SIGHUP reads them again, for new connections. All empty: plain HTTP.
    ["tls"] Tls {
        /// The gateway's certificate, followed by the intermediate ones.
        cert_file: PathBuf = PathBuf::new(), Words("empty, or a path; together with tls.key_file");
        /// Private key of that certificate.
        key_file: PathBuf = PathBuf::new(), Words("empty, or a path; together with tls.cert_file");
        /// Certificate authorities of clients; if set, a client must present a certificate from one of
        /// them.
        client_ca_file: PathBuf = PathBuf::new(), Words("empty, or a path; only with tls.cert_file");
    }
}

impl Tls {
    /// Whether the gateway serves HTTPS: `cert_file` is set. Otherwise it serves plain HTTP.
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty()
    }
}

section! {
    /// How ltr-trainer (simulate, publish) and ltr-host rollout call a gateway.
    ["client"] Client {
        /// Bearer token for these calls: simulate needs the roles ingest and rank, the others admin.
        /// Secret.
        token: Secret = Secret::default(), Words("empty, or 16 to 256 printable ASCII characters without spaces");
        /// Certificate authorities (PEM) for an https:// gateway; empty: the system's.
        ca_file: PathBuf = PathBuf::new(), Words("empty, or a path");
    }
}
