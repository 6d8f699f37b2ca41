//! Removes personal and secret data from texts.

use std::net::{IpAddr, SocketAddr};

use uuid::Uuid;

/// Minimum number of digits of a telephone or tax number.
const NUMBER: usize = 8;
/// Minimum length in bytes of a token, a hash or a key: a word that mixes letters and digits.
const TOKEN: usize = 20;

/// Removes from a text of other software (a database error, a panic message) what may identify a
/// person or grant access: quoted text, UUIDs, addresses, long numbers, tokens. Each becomes `…`;
/// the other words stay.
pub fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        let closing = match first {
            '"' | '`' => after.find(first),
            _ => None,
        };
        if let Some(end) = closing {
            out.extend([first, '…', first]);
            rest = &after[end + 1..];
        } else if is_word_char(first) {
            let end = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
            out.push_str(if is_sensitive(&rest[..end]) {
                "…"
            } else {
                &rest[..end]
            });
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = after;
        }
    }
    out
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || "-_.:@+%[]".contains(c)
}

fn is_sensitive(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':', '-']);
    let bare = word.trim_matches(['[', ']']);
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    word.contains('@')
        || (letters == 0 && digits >= NUMBER)
        || (digits > 0 && letters > 0 && word.len() >= TOKEN)
        || Uuid::try_parse(bare).is_ok()
        || bare.parse::<IpAddr>().is_ok()
        || word.parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_and_secret_data_are_removed_and_other_words_stay() {
        for (text, scrubbed) in [
            (
                "key (user_id)=(8e1f2a60-0f4e-4d39-9c52-1b2f3a4d5e6f) exists",
                "key (user_id)=(…) exists",
            ),
            ("8E1F2A600F4E4D399C521B2F3A4D5E6F.", "…"),
            ("invalid value \"adv_1\": not found", "invalid value \"…\": not found"),
            ("peer 10.1.2.3:4711, [2001:db8::1]:80 and ::1", "peer …, … and …"),
            ("write to ana.souza@example.org!", "write to …!"),
            ("CPF 123.456.789-09, +55-11-99999-0000", "CPF …, …"),
            ("Bearer ltr_0123456789abcdef0123456789abcdef", "Bearer …"),
            ("an \"unclosed quote", "an \"unclosed quote"),
            (
                "index 12 is out of range for a slice of length 11",
                "index 12 is out of range for a slice of length 11",
            ),
            (
                "var/models/ltr/20261001T021500Z: no such file",
                "var/models/ltr/20261001T021500Z: no such file",
            ),
        ] {
            assert_eq!(scrub(text), scrubbed, "{text}");
        }
    }
}
