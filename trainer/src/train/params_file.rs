//! `--params`: reads LightGBM parameters from a JSON object.

use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::files;
use crate::lightgbm::Parameters;

/// Reads the parameters in `path`.
///
/// # Errors
/// A file that is not a JSON object, a name with two values, or an error of
/// [`Parameters::from_json`].
pub(super) fn read(path: &Path) -> anyhow::Result<Parameters> {
    let Pairs(pairs) = files::read_json(path)?;
    let parameters = || format!("parameters in {}", path.display());
    let mut object = Map::new();
    for (name, value) in pairs {
        if let Some(first) = object.insert(name.clone(), value.clone()) {
            ensure!(
                first == value,
                "{}: {name} is given twice, as {first} and as {value}; allowed: one value",
                parameters()
            );
        }
    }
    Parameters::from_json(&object).with_context(parameters)
}

/// All members of a JSON object, including duplicates: a map would silently keep only the last.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object of LightGBM parameters, e.g. {\"objective\": \"lambdarank\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Result<Parameters, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("P.json");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_duplicate_name_must_have_one_value() {
        assert_eq!(parameters(r#"{"seed": 1, "seed": 1}"#).unwrap().to_string(), "seed=1");
        let error = parameters(r#"{"seed": 1, "metric": "ndcg", "seed": 2}"#).unwrap_err();
        assert!(error.contains("seed is given twice, as 1 and as 2"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_an_object_is_rejected_with_an_example() {
        for text in ["[1]", "3", "\"objective=lambdarank\""] {
            let error = parameters(text).unwrap_err();
            assert!(error.contains("a JSON object of LightGBM parameters"), "{error}");
        }
        assert!(
            parameters("objective = lambdarank")
                .unwrap_err()
                .contains("line 1 column 1")
        );
    }
}
