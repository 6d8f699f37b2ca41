//! Pseudonyms for the shadow tables.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The pseudonym of a user: the first 128 bits of HMAC-SHA-256 (RFC 2104) keyed by the salt, over the user id as
/// lowercase hyphenated text. Whoever lacks the salt cannot go back; the same user keeps the same pseudonym.
pub fn pseudonym(salt: &[u8], user_id: Uuid) -> Uuid {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(user_id.hyphenated().to_string().as_bytes());
    let digest = mac.finalize().into_bytes();
    let first: [u8; 16] = digest[..16].try_into().expect("HMAC-SHA-256 has 32 bytes");
    Uuid::from_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pseudonym_is_the_head_of_the_hmac() {
        // python3 -c 'import hmac; print(hmac.new(b"salt", b"6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10", "sha256").hexdigest()[:32])'
        let user = Uuid::parse_str("6F1B1A34-3C1E-4C5A-9E0D-2F5B8C7D9E10").unwrap();
        assert_eq!(
            pseudonym(b"salt", user).simple().to_string(),
            "0662440860ac2f67a6f0a29746175c52"
        );
    }

    #[test]
    fn another_salt_or_another_user_is_another_pseudonym() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_ne!(pseudonym(b"salt", a), pseudonym(b"salt", b));
        assert_ne!(pseudonym(b"salt", a), pseudonym(b"pepper", a));
        assert_ne!(pseudonym(b"salt", a), a);
    }
}
