//! Storage of personal data.

use std::path::PathBuf;

use crate::section::Rule::Flag;
use crate::section::{PATH, section};

section! {
    /// Which personal data is stored.
    ["privacy"] Privacy {
        /// File of the secret salt of pseudonyms; created at the first start. All programs on one database
        /// must have the same salt.
        salt_file: PathBuf = "var/keys/privacy.salt".into(), PATH;
        /// Whether match_events and the spool hold users' pseudonyms instead of their ids, as the shadow
        /// log does. A file without this key counts as an older one, with false.
        pseudonymise_events: bool = true, Flag;
        /// Whether a lawyer's groups are stored, for the fair gap, without groups_consented_at, the time of
        /// the lawyer's consent. The re-rank uses them in any case. A file without this key counts as an
        /// older one, with true.
        groups_without_consent: bool = false, Flag;
    }
}
