//! Pseudonyms for the shadow tables.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The pseudonym of a user: the first 128 bits of HMAC-SHA-256 (RFC 2104) keyed by the salt, over the user id as
/// lowercase hyphenated text. Whoever lacks the salt cannot go back; the same user keeps the same pseudonym.
pub fn pseudonym(salt: &[u8], user_id: Uuid) -> Uuid {
    first_128_bits(salt, user_id.hyphenated().to_string().as_bytes())
}

/// The pseudonym of any text. One that is a UUID, however it is written, has the one that [`pseudonym`] gives it.
pub fn pseudonym_of_text(salt: &[u8], text: &str) -> Uuid {
    match Uuid::try_parse(text) {
        Ok(id) => pseudonym(salt, id),
        Err(_) => first_128_bits(salt, text.as_bytes()),
    }
}

/// Says which salt made a pseudonym, without giving it away: hops that say the same have the same salt.
pub fn salt_id(salt: &[u8]) -> Uuid {
    first_128_bits(salt, b"which salt is this?")
}

fn first_128_bits(salt: &[u8], text: &[u8]) -> Uuid {
    keyed(salt, &[text])
}

/// The first 128 bits of HMAC-SHA-256 keyed by the salt, over the parts one after the other.
pub(crate) fn keyed(salt: &[u8], parts: &[&[u8]]) -> Uuid {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
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
    fn a_text_that_is_a_uuid_has_the_uuids_pseudonym_and_any_other_its_own() {
        let user = Uuid::from_u128(7);
        for text in [
            user.to_string(),
            user.simple().to_string(),
            user.to_string().to_uppercase(),
        ] {
            assert_eq!(pseudonym_of_text(b"salt", &text), pseudonym(b"salt", user));
        }
        // python3 -c 'import hmac; print(hmac.new(b"salt", b"jos\xc3\xa9", "sha256").hexdigest()[:32])'
        let other = pseudonym_of_text(b"salt", "jos\u{e9}").simple().to_string();
        assert_eq!(other, "05e36d45634cf21ccc29280f297c1c16");
        assert_ne!(salt_id(b"salt"), salt_id(b"pepper"));
    }

    #[test]
    fn another_salt_or_another_user_is_another_pseudonym() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_ne!(pseudonym(b"salt", a), pseudonym(b"salt", b));
        assert_ne!(pseudonym(b"salt", a), pseudonym(b"pepper", a));
        assert_ne!(pseudonym(b"salt", a), a);
    }
}
