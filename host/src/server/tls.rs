//! TLS, with certificates that can be replaced under traffic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use regular_file::Links;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// A dozen times the size of a system's whole bundle of authorities.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Certificates or a key that cannot be used. The error never holds key material.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {reason}", file.display())]
pub struct TlsError {
    key: &'static str,
    file: PathBuf,
    reason: String,
}

/// The certificates of a gateway. [`Tls::reload`] reads them again.
pub struct Tls {
    files: settings::Tls,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the certificates and the key.
    ///
    /// # Errors
    /// Files that cannot be read, lack a certificate or a key, or do not belong together.
    pub fn open(files: &settings::Tls) -> Result<Tls, TlsError> {
        Ok(Tls {
            config: ArcSwap::from_pointee(config(files)?),
            files: files.clone(),
        })
    }

    /// Reads the files again, for new connections. Open connections keep the old certificates.
    ///
    /// # Errors
    /// Like [`Tls::open`]; the old certificates then stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(config(&self.files)?));
        Ok(())
    }

    /// The acceptor for one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }
}

fn config(files: &settings::Tls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has every cipher of both versions");
    let ca_file = &files.client_ca_file;
    let builder = if ca_file.as_os_str().is_empty() {
        builder.with_no_client_auth()
    } else {
        let refused = |reason: String| unusable("tls.client_ca_file", ca_file, reason);
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls.client_ca_file", ca_file)? {
            roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.map_err(|error| refused(error.to_string()))?)
    };
    let chain = certificates("tls.cert_file", &files.cert_file)?;
    let refused = |reason: String| unusable("tls.key_file", &files.key_file, reason);
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key_file", &files.key_file)?)
        .map_err(|error| refused(error.to_string()))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| refused(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Reads the certificates of a PEM file, at least one.
fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |reason: String| unusable(key, file, reason);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(key, file)?).collect();
    let found = found.map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        Err(refused(
            "it holds no certificate; allowed: PEM with at least one".into(),
        ))
    } else {
        Ok(found)
    }
}

/// Reads a file. It may be a link, because Kubernetes mounts certificates as links.
fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    regular_file::read(file, Links::Follow, MAX_PEM_BYTES).map_err(|error| unusable(key, file, error.to_string()))
}

fn unusable(key: &'static str, file: &Path, reason: String) -> TlsError {
    TlsError {
        key,
        file: file.to_owned(),
        reason,
    }
}
