//! LightGBM parameters, stored under LightGBM's main names.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Error, read_text};

mod value;

/// Why a parameter is not accepted. The message names key, value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// LightGBM does not know the name.
    #[error("{key}: unknown LightGBM parameter (value {value}); allowed: the names and aliases LightGBM documents")]
    Unknown {
        /// The name as given.
        key: String,
        /// The value as given.
        value: String,
    },
    /// One parameter has two values, under two of its names.
    #[error("{first} = {first_value} and {second} = {second_value} both set {name}; allowed: one of them")]
    Doubled {
        /// LightGBM's main name.
        name: String,
        /// The first name given.
        first: String,
        /// Its value.
        first_value: String,
        /// The second name given.
        second: String,
        /// Its value.
        second_value: String,
    },
    /// A value of the wrong shape or range.
    #[error("{key}: {value}; allowed: {allowed}")]
    Value {
        /// The name as given.
        key: String,
        /// The value as given.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// LightGBM did not return its table of names.
    #[error(transparent)]
    LightGbm(#[from] Error),
}

/// LightGBM parameters: main name -> value, as the text that the C API parses.
///
/// LightGBM's own table resolves aliases (`n_estimators`, `eta`, ...) to main names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(transparent)]
pub struct Parameters(BTreeMap<String, String>);

/// Parameters that would change the model but that `train` does not support, each with what to do
/// instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "label_column",
        "no value, because the label is the first field of a row",
    ),
    (
        "weight_column",
        "no value, because row weights are read from FILE.weight",
    ),
    (
        "group_column",
        "no value, because qid:N or FILE.query defines the queries",
    ),
    ("ignore_column", "no value; leave the column out of the file instead"),
    (
        "input_model",
        "no value, because training cannot continue from another model",
    ),
    ("machines", "no value; the option --machines of train lists them"),
    (
        "machine_list_filename",
        "no value; the option --machines of train lists them",
    ),
];

/// Parameters for file input and output and for prediction by LightGBM's own program. They have no
/// effect on a training here.
const INEFFECTIVE: &[&str] = &[
    "config",
    "convert_model",
    "convert_model_language",
    "data",
    "header",
    "is_provide_training_metric",
    "local_listen_port",
    "metric_freq",
    "num_iteration_predict",
    "output_model",
    "output_result",
    "parser_config_file",
    "pre_partition",
    "precise_float_parser",
    "pred_early_stop",
    "pred_early_stop_freq",
    "pred_early_stop_margin",
    "predict_contrib",
    "predict_disable_shape_check",
    "predict_leaf_index",
    "predict_raw_score",
    "refit_decay_rate",
    "save_binary",
    "saved_feature_importance_type",
    "snapshot_freq",
    "start_iteration_predict",
    "time_out",
    "two_round",
    "valid",
];

impl Parameters {
    /// Parameters from a JSON object, e.g. `{"objective": "lambdarank", "ndcg_eval_at": [5]}`. As
    /// in Python, null counts as not given.
    ///
    /// # Errors
    /// An unknown name, two names of one parameter with different values, a value that cannot be
    /// passed to LightGBM (an object, a text with blanks), a file that cannot be read, or a
    /// parameter that `train` does not support.
    pub fn from_json(object: &serde_json::Map<String, Value>) -> Result<Parameters, ParameterError> {
        let names = main_names()?;
        let mut given: BTreeMap<&str, (&str, String)> = BTreeMap::new();
        for (key, value) in object {
            let Some(name) = names.get(key.as_str()) else {
                return Err(ParameterError::Unknown {
                    key: key.clone(),
                    value: value.to_string(),
                });
            };
            if value.is_null() {
                continue;
            }
            let text = value::text(key, name, value)?;
            if let Some((other, other_text)) = given.get(name.as_str())
                && *other_text != text
            {
                return Err(ParameterError::Doubled {
                    name: name.clone(),
                    first: (*other).to_owned(),
                    first_value: other_text.clone(),
                    second: key.clone(),
                    second_value: text,
                });
            }
            refuse_unsupported(key, name, &text)?;
            given.insert(name, (key, text));
        }
        warn_of_ineffective(given.iter().map(|(name, (key, _))| (*name, *key)));
        Ok(Parameters(
            given
                .into_iter()
                .map(|(name, (_, text))| (name.to_owned(), text))
                .collect(),
        ))
    }

    /// The map of main name -> text.
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.0
    }

    /// The value under a main name, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets the value under a main name, replacing any other.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// Sets the value under a main name unless one is given.
    pub fn set_default(&mut self, name: &str, value: impl ToString) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_string());
    }

    /// The value under a main name as a whole number, if given.
    ///
    /// # Errors
    /// A value that is not a whole number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ParameterError> {
        self.parsed(name, "a whole number")
    }

    /// The value under a main name as a number, if given.
    ///
    /// # Errors
    /// A value that is not a number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, ParameterError> {
        self.parsed(name, "a number")
    }

    /// The value under a main name as a switch; false if not given.
    ///
    /// # Errors
    /// A value other than true and false, or + and -, which LightGBM also accepts.
    pub fn switch(&self, name: &str) -> Result<bool, ParameterError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "+") => Ok(true),
            None | Some("false" | "-") => Ok(false),
            Some(value) => Err(ParameterError::Value {
                key: name.to_owned(),
                value: value.to_owned(),
                allowed: "true or false",
            }),
        }
    }

    /// Checks the column numbers in `interaction_constraints` and `categorical_feature`, because
    /// LightGBM silently ignores columns that do not exist.
    ///
    /// # Errors
    /// A column number that is not below `width`.
    pub fn check_width(&self, width: usize) -> Result<(), ParameterError> {
        for key in ["interaction_constraints", "categorical_feature"] {
            let mut numbers = self.get(key).unwrap_or("").split(['[', ']', ',']);
            let beyond = numbers.find(|number| number.parse().is_ok_and(|number: usize| number >= width));
            if let Some(number) = beyond {
                return Err(ParameterError::Value {
                    key: key.to_owned(),
                    value: number.to_owned(),
                    allowed: "numbers of existing columns, counted from 0",
                });
            }
        }
        Ok(())
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, allowed: &'static str) -> Result<Option<T>, ParameterError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| ParameterError::Value {
            key: name.to_owned(),
            value: text.to_owned(),
            allowed,
        })
    }
}

impl fmt::Display for Parameters {
    /// `key=value` pairs separated by blanks, as the C API parses them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            let blank = if at == 0 { "" } else { " " };
            write!(f, "{blank}{key}={value}")?;
        }
        Ok(())
    }
}

/// Maps every name that LightGBM knows, main name or alias, to its main name.
fn main_names() -> Result<BTreeMap<String, String>, Error> {
    let json = read_text("LGBM_DumpParamAliases", |capacity, needed, buffer| {
        // SAFETY: `buffer` has `capacity` bytes; LightGBM writes only if all of it fits.
        unsafe { lightgbm3_sys::LGBM_DumpParamAliases(capacity, needed, buffer.as_mut_ptr().cast::<c_char>()) }
    })?;
    let table: BTreeMap<String, Vec<String>> = serde_json::from_str(&json).map_err(|e| Error::Refused {
        call: "LGBM_DumpParamAliases",
        message: format!("unexpected format of its table of names: {e}"),
    })?;
    let mut names = BTreeMap::new();
    for (name, aliases) in table {
        for alias in aliases {
            names.insert(alias, name.clone());
        }
        names.insert(name.clone(), name);
    }
    Ok(names)
}

fn refuse_unsupported(key: &str, name: &str, text: &str) -> Result<(), ParameterError> {
    let allowed = match name {
        "task" if !matches!(text, "train" | "training") => "train, or no value",
        "num_machines" if text != "1" => "1 or no value; the option --machines of train says how many",
        _ => match UNSUPPORTED.iter().find(|(refused, _)| *refused == name) {
            Some((_, allowed)) => allowed,
            None => return Ok(()),
        },
    };
    Err(ParameterError::Value {
        key: key.to_owned(),
        value: value::shorten(text),
        allowed,
    })
}

fn warn_of_ineffective<'a>(given: impl Iterator<Item = (&'a str, &'a str)>) {
    let unused: Vec<&str> = given
        .filter(|(name, _)| INEFFECTIVE.contains(name))
        .map(|(_, key)| key)
        .collect();
    if !unused.is_empty() {
        tracing::warn!(
            "ignored parameters, which have no effect on training: {}",
            unused.join(", ")
        );
    }
}
