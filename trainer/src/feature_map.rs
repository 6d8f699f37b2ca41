//! `feature_map.json`: a model's features, their order and their scaling.

use std::collections::HashSet;

use forest::Scaler;
use serde::{Deserialize, Serialize};

/// The file's only version.
const VERSION: u32 = 1;
/// The only scaler: `(x - offset) / scale`, where offset is the minimum and scale the range.
const SCALER: &str = "minmax";

/// Why a feature map is invalid.
#[derive(Debug, thiserror::Error)]
pub enum FeatureMapError {
    /// Not JSON of the right shape.
    #[error(
        "not a feature map: {0}; allowed: {{\"version\": 1, \"scaler\": \"minmax\", \"features\": [{{\"name\", \"offset\", \"scale\"}}, ...]}}"
    )]
    Json(#[from] serde_json::Error),
    /// A field's value is not allowed.
    #[error("{field}: {value}; allowed: {allowed}")]
    Value {
        /// Path of the field.
        field: String,
        /// Its value.
        value: String,
        /// The allowed values.
        allowed: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    scaler: String,
    features: Vec<Feature>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    name: String,
    offset: f64,
    scale: f64,
}

/// Features in the model's column order, each with its scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    names: Vec<String>,
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl FeatureMap {
    /// A map of `names` in column order; `y = (x - offset) / scale`.
    ///
    /// # Errors
    /// No names, an empty or duplicate name, lists of different lengths, an offset that is not
    /// finite, a scale that is not finite and above 0.
    pub fn new(names: Vec<String>, offset: Vec<f64>, scale: Vec<f64>) -> Result<FeatureMap, FeatureMapError> {
        if names.is_empty() || names.len() != offset.len() || names.len() != scale.len() {
            return Err(refuse(
                "features",
                format!(
                    "{} names, {} offsets, {} scales",
                    names.len(),
                    offset.len(),
                    scale.len()
                ),
                "at least one feature, each with a name, an offset and a scale",
            ));
        }
        let mut seen = HashSet::new();
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(refuse(format!("features[{at}].name"), "\"\"", "a name"));
            }
            if !seen.insert(name) {
                return Err(refuse(
                    format!("features[{at}].name"),
                    format!("{name:?} a second time"),
                    "each name only once",
                ));
            }
            if !offset[at].is_finite() {
                return Err(refuse(format!("features[{at}].offset"), offset[at], "a finite number"));
            }
            if !(scale[at].is_finite() && scale[at] > 0.0) {
                return Err(refuse(
                    format!("features[{at}].scale"),
                    scale[at],
                    "a finite number above 0",
                ));
            }
        }
        Ok(FeatureMap { names, offset, scale })
    }

    /// Reads the JSON file.
    ///
    /// # Errors
    /// As [`FeatureMap::new`]; another version or scaler; an unknown or missing key.
    pub fn parse(json: &[u8]) -> Result<FeatureMap, FeatureMapError> {
        let file: File = serde_json::from_slice(json)?;
        if file.version != VERSION {
            return Err(refuse("version", file.version, VERSION));
        }
        if file.scaler != SCALER {
            return Err(refuse("scaler", format!("{:?}", file.scaler), format!("{SCALER:?}")));
        }
        let (mut names, mut offset, mut scale) = (Vec::new(), Vec::new(), Vec::new());
        for feature in file.features {
            names.push(feature.name);
            offset.push(feature.offset);
            scale.push(feature.scale);
        }
        FeatureMap::new(names, offset, scale)
    }

    /// The file's text; [`FeatureMap::parse`] reads back the same numbers to the last bit.
    pub fn to_json(&self) -> String {
        let features = (0..self.names.len()).map(|at| Feature {
            name: self.names[at].clone(),
            offset: self.offset[at],
            scale: self.scale[at],
        });
        let file = File {
            version: VERSION,
            scaler: SCALER.to_owned(),
            features: features.collect(),
        };
        serde_json::to_string_pretty(&file).expect("strings and finite numbers are JSON") + "\n"
    }

    /// Names in column order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The scaler that the component's evaluator applies.
    pub fn scaler(&self) -> Scaler {
        Scaler::new(self.offset.clone(), self.scale.clone())
            .expect("the constructor checked lengths, finiteness and sign")
    }

    /// Scales row-major rows in place, with the same code as the component.
    pub fn scale(&self, rows: &mut [f64]) {
        let scaler = self.scaler();
        for row in rows.chunks_exact_mut(self.names.len()) {
            scaler.apply(row);
        }
    }

    /// Checks that the map has exactly the model's features, in the model's order.
    ///
    /// # Errors
    /// A missing feature, one that the model does not know, or another order.
    pub fn check(&self, model: &[String]) -> Result<(), FeatureMapError> {
        if let Some(name) = model.iter().find(|name| !self.names.contains(name)) {
            return Err(refuse(
                "features",
                format!(
                    "{name:?} is missing ({} features for the model's {})",
                    self.names.len(),
                    model.len()
                ),
                "every feature of the model",
            ));
        }
        for (at, name) in self.names.iter().enumerate() {
            if !model.contains(name) {
                return Err(refuse(
                    format!("features[{at}].name"),
                    format!("{name:?}, which the model does not know"),
                    model.join(", "),
                ));
            }
            if model.get(at) != Some(name) {
                return Err(refuse(
                    format!("features[{at}].name"),
                    format!("{name:?}"),
                    format!("{:?}: the order is the model's", model[at]),
                ));
            }
        }
        Ok(())
    }
}

fn refuse(field: impl Into<String>, value: impl ToString, allowed: impl ToString) -> FeatureMapError {
    FeatureMapError::Value {
        field: field.into(),
        value: value.to_string(),
        allowed: allowed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn map(of: &[&str]) -> FeatureMap {
        FeatureMap::new(names(of), vec![0.1; of.len()], vec![0.3; of.len()]).unwrap()
    }

    #[test]
    fn the_file_keeps_every_bit() {
        let map = FeatureMap::new(names(&["a", "b"]), vec![0.1 + 0.2, -1e-300], vec![1.0 / 3.0, 1e300]).unwrap();
        assert_eq!(FeatureMap::parse(map.to_json().as_bytes()).unwrap(), map);
    }

    #[test]
    fn a_map_of_other_features_than_the_models_is_refused_by_name() {
        for (features, said) in [
            (&["a"][..], "\"b\" is missing"),
            (&["a", "b", "z"], "\"z\", which the model does not know"),
            (&["b", "a"], "the order is the model's"),
        ] {
            let error = map(features).check(&names(&["a", "b"])).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        map(&["a", "b"]).check(&names(&["a", "b"])).unwrap();
    }

    #[test]
    fn a_bad_file_is_refused_by_field() {
        for (json, said) in [
            (r#"{"version":2,"scaler":"minmax","features":[]}"#, "version: 2"),
            (r#"{"version":1,"scaler":"robust","features":[]}"#, "scaler: \"robust\""),
            (r#"{"version":1,"scaler":"minmax","features":[]}"#, "features: 0 names"),
            (
                r#"{"version":1,"scaler":"minmax","features":[{"name":"a","offset":0,"scale":0}]}"#,
                "features[0].scale: 0",
            ),
            (
                r#"{"version":1,"scaler":"minmax","features":[{"name":"a","offset":0,"scale":1,"clip":1}]}"#,
                "unknown field `clip`",
            ),
            (
                r#"{"version":1,"scaler":"minmax","features":[{"name":"a","offset":0,"scale":1},{"name":"a","offset":0,"scale":1}]}"#,
                "features[1].name: \"a\" a second time",
            ),
        ] {
            let error = FeatureMap::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
