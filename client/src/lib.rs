//! HTTP client for calls to a gateway. Over HTTPS it trusts the configured certificate authorities.

use std::path::{Path, PathBuf};

use regular_file::Links;
use reqwest::{Certificate, ClientBuilder};
use rustls::crypto::ring;

/// A dozen times the size of a system's whole bundle of authorities.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// A file of certificate authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("client.ca_file: {}: {reason}", file.display())]
pub struct AuthoritiesError {
    file: PathBuf,
    reason: String,
}

/// Builds a client for calls to `url`. Over HTTPS it trusts only the authorities in `ca_file`
/// (PEM), or the system's if the path is empty. It follows no redirects, because they could send
/// the token to another server.
///
/// # Errors
/// A file that cannot be read, or holds no certificate.
#[expect(clippy::disallowed_methods, reason = "the one place that makes a client")]
pub fn builder(url: &str, ca_file: &Path) -> Result<ClientBuilder, AuthoritiesError> {
    use_ring();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if !ca_file.as_os_str().is_empty() {
        return Ok(builder.tls_certs_only(authorities(ca_file)?));
    }
    Ok(if url.starts_with("https://") {
        builder
    } else {
        // Plain HTTP needs no authorities, so it must work on a system that has none.
        builder.tls_certs_only([])
    })
}

/// Makes `ring` the default of every TLS client in this process. The libraries that create one
/// choose no provider.
pub fn use_ring() {
    // An error means that a provider is already installed.
    let _ = ring::default_provider().install_default();
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, AuthoritiesError> {
    let refused = |reason: String| AuthoritiesError {
        file: file.to_owned(),
        reason,
    };
    let text = regular_file::read(file, Links::Follow, MAX_PEM_BYTES).map_err(|error| refused(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        Err(refused(
            "it holds no certificate; allowed: PEM with at least one".to_owned(),
        ))
    } else {
        Ok(found)
    }
}
