use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority that signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate, self-signed: what clients are told to trust.
    pub certificate: Certificate,
}

/// A certificate and its key.
pub struct Identity {
    /// Signed by the authority, for one host name or IP address.
    pub certificate: Certificate,
    /// The private key of the certificate.
    pub key: KeyPair,
}

impl Authority {
    /// A new authority with a new key.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority {
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    /// For a host's name or IP address.
    pub fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }
}
