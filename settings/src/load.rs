use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider};
use regular_file::Links;

use crate::keys::{self, ACCESS_TOKENS, CLIENT_TOKEN, PARAMS, PRESETS, TELEMETRY};
use crate::url::without_password;
use crate::{Secret, Settings, SettingsError};

/// No configuration is near this size; what is larger is some other file.
const MAX_FILE_BYTES: u64 = 1 << 20;
const PREFIX: &str = "LTR_";

impl Settings {
    /// Reads settings: built-in defaults, over them the file, over it those of `env` whose names start with `LTR_`:
    /// `LTR_<SECTION>__<KEY>`, deeper sections with `__` between, as `LTR_RANKING__FAIRNESS__TAU=0.25`.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; an unknown section or key; a value that its key does not take.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, SettingsError> {
        let mut defaults = dict(Serialized::defaults(Settings::default()));
        let given = Given {
            file: file.map(|path| Ok((path, read_file(path)?))).transpose()?,
            env: env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect(),
        };
        let mut figment = Figment::new();
        if let Some((path, values)) = &given.file {
            only_known("", values, &path.display().to_string())?;
            if find(values, PRESETS).is_some() {
                // A file's own presets replace the built-in ones: merged key by key, a changed list of features
                // could never be rid of the old names.
                remove(&mut defaults, PRESETS);
            }
            if !values.is_empty() {
                keep_as_it_was(values, &mut defaults);
            }
            figment = figment.merge(Serialized::defaults(values));
        }
        for (name, text) in &given.env {
            figment = figment.merge(Serialized::defaults(variable(name, text, &defaults)?));
        }
        // `join` keeps what was given and fills in the rest.
        let figment = figment.join(Serialized::defaults(&defaults));
        let settings: Settings = figment
            .extract()
            .map_err(|error| given.refused_type(&error, &figment))?;
        settings.check().map_err(|wrong| {
            let origin = given.origin(&wrong.key);
            wrong.from(origin)
        })?;
        Ok(settings)
    }
}

/// What was kept of persons before there was a key for it is kept under a file that does not have the key: what others
/// ask the tables for, an erasure among it, must not change unasked.
fn keep_as_it_was(values: &Dict, defaults: &mut Dict) {
    for (key, before) in [(keys::PSEUDONYMISE_EVENTS, false), (keys::GROUPS_WITHOUT_CONSENT, true)] {
        if find(values, &format!("privacy.{key}")).is_none()
            && let Some(Value::Dict(_, privacy)) = defaults.get_mut("privacy")
        {
            privacy.insert(key.to_owned(), before.into());
        }
    }
}

/// Where values came from; kept to name the place in an error.
struct Given<'a> {
    file: Option<(&'a Path, Dict)>,
    env: Vec<(String, String)>,
}

impl Given<'_> {
    fn origin(&self, key: &str) -> String {
        let by_env = self.env.iter().rev().find(|(name, _)| {
            // A wrong entry may lie below the key that the variable sets, or above it.
            let set = path(name);
            set == key || key.starts_with(&format!("{set}.")) || set.starts_with(&format!("{key}."))
        });
        if let Some((name, _)) = by_env {
            return format!("environment variable {name}");
        }
        match &self.file {
            Some((file, values)) if find(values, key).is_some() => file.display().to_string(),
            _ => "built-in default".to_owned(),
        }
    }

    /// A value of the wrong type, as an error of this crate.
    fn refused_type(&self, error: &figment::Error, figment: &Figment) -> SettingsError {
        let mut key = error.path.join(".");
        if key.starts_with(ACCESS_TOKENS) {
            // What is wrong inside may be a token in a wrong place; the rule says it all.
            key = ACCESS_TOKENS.to_owned();
        }
        let found = figment.find_value(&key).ok();
        SettingsError::Refused {
            origin: self.origin(&key),
            value: found.map_or_else(|| "nothing".to_owned(), |value| shown(&key, &value)),
            allowed: match keys::rule(&key) {
                Some(rule) => rule.to_string(),
                None if key.starts_with(PRESETS) => "a number of at least 0".to_owned(),
                None => error.kind.to_string(),
            },
            key,
        }
    }
}

fn read_file(path: &Path) -> Result<Dict, SettingsError> {
    let io = |cause| SettingsError::Io {
        file: path.to_owned(),
        cause,
    };
    let text = regular_file::read_to_string(path, Links::Follow, MAX_FILE_BYTES).map_err(io)?;
    let syntax = |message: String| SettingsError::Syntax {
        file: path.to_owned(),
        message,
    };
    let mut profiles = Toml::string(&text)
        .data()
        .map_err(|error| syntax(error.kind.to_string().trim_end().to_owned()))?;
    Ok(profiles.remove(&Profile::Default).unwrap_or_default())
}

/// Refuses names that the table of keys does not have, before any value is looked at.
fn only_known(section: &str, values: &Dict, origin: &str) -> Result<(), SettingsError> {
    for (name, value) in values {
        let key = join(section, name);
        let refused = |allowed: String| SettingsError::Refused {
            origin: origin.to_owned(),
            value: shown(&key, value),
            key: key.clone(),
            allowed,
        };
        if keys::sub_sections(section).any(|s| s == name) {
            let Value::Dict(_, inner) = value else {
                let names = keys::names_in(&key).join(", ");
                return Err(refused(format!("a section [{key}] with {names}")));
            };
            if key != PRESETS && key != PARAMS {
                only_known(&key, inner, origin)?;
            }
        } else if keys::rule(&key).is_none() {
            let names = keys::names_in(section).join(", ");
            let place = match section {
                "" => "the sections".to_owned(),
                section => format!("in [{section}]"),
            };
            return Err(refused(format!("{place} {names}")));
        }
    }
    Ok(())
}

/// One environment variable as a nested table. Text keys take it as it is; others take a number, true or false, or
/// a list as `[a, b]`.
fn variable(name: &str, text: &str, defaults: &Dict) -> Result<Dict, SettingsError> {
    let key = path(name);
    let is_text = matches!(find(defaults, &key), Some(Value::String(..)));
    let value: Value = if is_text {
        Value::from(text)
    } else {
        text.parse().unwrap_or_else(|never| match never {})
    };
    let mut segments = key.rsplit('.');
    let last = segments.next().unwrap_or_default().to_owned();
    let innermost = Dict::from([(last, value)]);
    let nested = segments.fold(innermost, |inner, segment| {
        Dict::from([(segment.to_owned(), Value::from(inner))])
    });
    only_known("", &nested, &format!("environment variable {name}"))?;
    Ok(nested)
}

/// The key that a variable sets: `LTR_HOST__LISTEN` is `host.listen`.
fn path(variable: &str) -> String {
    let name = variable.strip_prefix(PREFIX).unwrap_or(variable);
    name.to_ascii_lowercase().replace("__", ".")
}

fn dict(provider: impl Provider) -> Dict {
    let profiles = provider.data().expect("the built-in settings are plain tables");
    profiles.into_values().next().unwrap_or_default()
}

fn find<'a>(values: &'a Dict, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => values.get(key),
        Some((section, rest)) => match values.get(section)? {
            Value::Dict(_, inner) => find(inner, rest),
            _ => None,
        },
    }
}

fn remove(values: &mut Dict, key: &str) {
    match key.split_once('.') {
        None => {
            values.remove(key);
        }
        Some((section, rest)) => {
            if let Some(Value::Dict(_, inner)) = values.get_mut(section) {
                remove(inner, rest);
            }
        }
    }
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// A value as TOML has it, except a secret. Whatever looks like a URL is shown without a password, under any key: an
/// unknown one may be a known one misspelt.
fn shown(key: &str, value: &Value) -> String {
    // A DSN under a misspelt key is still a secret.
    let may_be_dsn = key.starts_with(TELEMETRY) && matches!(value, Value::String(_, text) if text.contains('@'));
    if key == CLIENT_TOKEN || key == ACCESS_TOKENS || may_be_dsn {
        return Secret::HIDDEN.to_owned();
    }
    match value {
        Value::Dict(_, inner) => format!("a section of {}", inner.len()),
        Value::String(_, text) => toml::Value::from(without_password(text)).to_string(),
        value => value
            .deserialize::<toml::Value>()
            .map_or_else(|_| value.to_actual().to_string(), |value| value.to_string()),
    }
}
