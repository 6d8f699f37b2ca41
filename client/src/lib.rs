//! How the programs call a gateway: over HTTP, or over HTTPS with the authorities that are configured.

use std::path::{Path, PathBuf};

use regular_file::Links;
use reqwest::{Certificate, ClientBuilder};
use rustls::crypto::ring;

/// A dozen times the authorities of a whole system.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("client.ca_file: {}: {reason}", file.display())]
pub struct AuthoritiesError {
    file: PathBuf,
    reason: String,
}

/// A client for calls of `url`. Over HTTPS it trusts the authorities in `ca_file` (PEM) and no others, or those of the
/// system where the path is empty. It refuses to follow a redirection, which could take a token elsewhere.
///
/// # Errors
/// A file that cannot be read, or holds no certificate.
pub fn builder(url: &str, ca_file: &Path) -> Result<ClientBuilder, AuthoritiesError> {
    use_ring();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    if !ca_file.as_os_str().is_empty() {
        return Ok(builder.tls_certs_only(authorities(ca_file)?));
    }
    Ok(match url.starts_with("https://") {
        true => builder,
        // A system without any authorities can do without.
        false => builder.tls_certs_only([]),
    })
}

/// Lets every TLS client of this process take `ring`: of the libraries that make one, none says which.
pub fn use_ring() {
    // An error says that another call was first.
    let _ = ring::default_provider().install_default();
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, AuthoritiesError> {
    let refused = |reason: String| AuthoritiesError {
        file: file.to_owned(),
        reason,
    };
    let text = regular_file::read(file, Links::Follow, MAX_PEM_BYTES).map_err(|error| refused(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|error| refused(error.to_string()))?;
    match found.is_empty() {
        true => Err(refused("there is no certificate in it (PEM)".to_owned())),
        false => Ok(found),
    }
}
