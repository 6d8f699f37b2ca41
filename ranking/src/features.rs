//! The feature schema: which features a lawyer has for a case, and in which order.

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// More features than any configuration needs; bounds what a row can cost.
pub const MAX_FEATURES: usize = 4096;

/// The marketplace's eleven features, in order; each is in [0, 1].
pub const DEFAULT_FEATURES: [&str; 11] = [
    "area_match",
    "similarity",
    "success_rate",
    "geo",
    "qualification",
    "urgency",
    "review",
    "soft_skill",
    "firm_reputation",
    "price_fit",
    "maturity",
];

/// Feature names in the order every row follows. Never empty, no name twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    names: Vec<String>,
    id: Uuid,
}

/// Why a list of names is not a schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// The list has no name.
    #[error("the list of features is empty; at least one name is needed")]
    Empty,
    /// The list has more than [`MAX_FEATURES`] names; holds how many.
    #[error("{0} features; at most {MAX_FEATURES} are allowed")]
    TooMany(usize),
    /// A name that [`grammar::is_text`] refuses: empty, too long, or with a control character.
    #[error("feature {index} is {name:?}; a name is {}", grammar::TEXT)]
    BadName {
        /// Place of the name in the list, from 0.
        index: usize,
        /// The name as given, not shortened.
        name: String,
    },
    /// Two names of the list are equal.
    #[error("feature {name:?} is listed twice (at {first} and {second}, counted from 0)")]
    Doubled {
        /// The name that comes twice.
        name: String,
        /// Its first place in the list, from 0.
        first: usize,
        /// Its second place in the list, from 0.
        second: usize,
    },
}

impl Schema {
    /// Checks the names and keeps their order.
    ///
    /// # Errors
    /// No name at all, too many, an empty or over-long name, a name listed twice.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Schema, SchemaError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(SchemaError::Empty);
        }
        if names.len() > MAX_FEATURES {
            return Err(SchemaError::TooMany(names.len()));
        }
        let mut seen = std::collections::HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if !grammar::is_text(name) {
                return Err(SchemaError::BadName {
                    index,
                    name: name.clone(),
                });
            }
            if let Some(first) = seen.insert(name.as_str(), index) {
                return Err(SchemaError::Doubled {
                    name: name.clone(),
                    first,
                    second: index,
                });
            }
        }
        Ok(Schema::of(names))
    }

    fn of(names: Vec<String>) -> Schema {
        let mut hash = Sha256::new();
        for name in &names {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        Schema {
            names,
            id: uuid::Builder::from_custom_bytes(id).into_uuid(),
        }
    }

    /// Of these names in this order: rows are lists of numbers, and this says what they are.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many features a row has; at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a schema is never empty")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The column of a feature, from 0.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }
}

impl Default for Schema {
    fn default() -> Schema {
        Schema::of(DEFAULT_FEATURES.map(String::from).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schema_passes_its_own_rules() {
        let names = Schema::default().names().to_vec();
        assert_eq!(Schema::new(names).unwrap(), Schema::default());
        assert_eq!(Schema::default().index_of("geo"), Some(3));
        assert_eq!(Schema::default().index_of("Geo"), None);
    }

    #[test]
    fn another_order_or_other_names_are_another_schema() {
        let id = |names: &[&str]| Schema::new(names.to_vec()).unwrap().id();
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
        for other in [&["b", "a"][..], &["ab"], &["a", "bc"], &["a"]] {
            assert_ne!(id(other), id(&["a", "b"]), "{other:?}");
        }
        assert_eq!(Schema::default().id().get_version_num(), 8);
    }

    #[test]
    fn a_bad_list_of_names_is_refused_with_the_name() {
        assert_eq!(Schema::new(Vec::<String>::new()), Err(SchemaError::Empty));
        let doubled = Schema::new(["a", "b", "a"]).unwrap_err();
        assert_eq!(
            doubled.to_string(),
            "feature \"a\" is listed twice (at 0 and 2, counted from 0)"
        );
        assert!(matches!(
            Schema::new(["a", ""]),
            Err(SchemaError::BadName { index: 1, .. })
        ));
        assert!(matches!(
            Schema::new(["a\n"]),
            Err(SchemaError::BadName { index: 0, .. })
        ));
        let many = (0..=MAX_FEATURES).map(|i| i.to_string());
        assert_eq!(Schema::new(many), Err(SchemaError::TooMany(MAX_FEATURES + 1)));
    }
}
