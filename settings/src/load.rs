//! Loads settings from the defaults, a file and the environment.

use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider};
use regular_file::Links;

use crate::sections::{
    self, ACCESS_TOKENS, BUS_PASSWORD, CLIENT_TOKEN, PARAMS, PRESETS, TELEMETRY, WEBHOOK, WEBHOOKS_TARGETS,
    WEBHOOKS_TIMEOUT,
};
use crate::url::without_password;
use crate::{Secret, Settings, SettingsError};

/// No configuration is near this size; a larger file is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;
const PREFIX: &str = "LTR_";
/// Keys that went to another place: the old name and the new one.
const MOVED: [(&str, &str); 1] = [("publish.edge_dir", "rollout.edge_dir")];

impl Settings {
    /// Reads settings. The file overrides the built-in defaults, and variables of `env` named
    /// `LTR_<SECTION>__<KEY>` override the file. `__` separates sub-sections too:
    /// `LTR_RANKING__FAIRNESS__TAU=0.25`.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; an unknown section or key; a value that its key
    /// does not allow.
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
            reject_unknown("", values, &path.display().to_string())?;
            if find(values, PRESETS).is_some() {
                // The file's presets replace the built-in ones. If both were merged key by key, the
                // names of features that the file removed would remain.
                remove(&mut defaults, PRESETS);
            }
            if !values.is_empty() {
                apply_old_privacy_defaults(values, &mut defaults);
            }
            figment = figment.merge(Serialized::defaults(values));
        }
        for (name, text) in &given.env {
            figment = figment.merge(Serialized::defaults(variable(name, text, &defaults)?));
        }
        // `join` keeps the given values and fills in the rest.
        let figment = figment.join(Serialized::defaults(&defaults));
        let settings: Settings = figment
            .extract()
            .map_err(|error| given.refused_type(&error, &figment))?;
        settings.check().map_err(|invalid| {
            let origin = given.origin(&invalid.key);
            invalid.from(origin)
        })?;
        Ok(settings)
    }
}

/// Keeps the old defaults of the privacy keys for a file that lacks them. Such a file is older than the
/// keys, and what the tables store must not change unasked: others query them, for erasures too.
fn apply_old_privacy_defaults(values: &Dict, defaults: &mut Dict) {
    for (key, before) in [
        (sections::PSEUDONYMISE_EVENTS, false),
        (sections::GROUPS_WITHOUT_CONSENT, true),
    ] {
        if find(values, &format!("privacy.{key}")).is_none()
            && let Some(Value::Dict(_, privacy)) = defaults.get_mut("privacy")
        {
            privacy.insert(key.to_owned(), before.into());
        }
    }
}

/// The given values by origin, so that an error can name the origin.
struct Given<'a> {
    file: Option<(&'a Path, Dict)>,
    env: Vec<(String, String)>,
}

impl Given<'_> {
    fn origin(&self, key: &str) -> String {
        let by_env = self.env.iter().rev().find(|(name, _)| {
            // The wrong key may lie below the key that the variable sets, or above it.
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

    /// Converts figment's error about a value of the wrong type.
    fn refused_type(&self, error: &figment::Error, figment: &Figment) -> SettingsError {
        let mut key = error.path.join(".");
        // In these lists the wrong value may be a secret in the wrong place, so the error names only
        // the list and its rule.
        let secret_lists = [ACCESS_TOKENS, WEBHOOKS_TARGETS];
        if let Some(list) = secret_lists.into_iter().find(|list| key.starts_with(list)) {
            key = list.to_owned();
        }
        let found = figment.find_value(&key).ok();
        SettingsError::Refused {
            origin: self.origin(&key),
            value: found.map_or_else(|| "nothing".to_owned(), |value| shown(&key, &value)),
            allowed: match sections::rule(&key) {
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

/// Refuses names that are not in the tables of keys. This runs before any value is checked.
fn reject_unknown(section: &str, values: &Dict, origin: &str) -> Result<(), SettingsError> {
    for (name, value) in values {
        let key = join(section, name);
        let refused = |allowed: String| SettingsError::Refused {
            origin: origin.to_owned(),
            value: shown(&key, value),
            key: key.clone(),
            allowed,
        };
        if sections::sub_sections(section).any(|s| s == name) {
            let Value::Dict(_, inner) = value else {
                let names = sections::names_in(&key).join(", ");
                return Err(refused(format!("a section [{key}] with {names}")));
            };
            if key != PRESETS && key != PARAMS {
                reject_unknown(&key, inner, origin)?;
            }
        } else if let Some((_, new)) = MOVED.iter().find(|(old, _)| *old == key) {
            return Err(refused(format!("its new name, {new}")));
        } else if sections::rule(&key).is_none() {
            let names = sections::names_in(section).join(", ");
            let place = match section {
                "" => "the sections".to_owned(),
                section => format!("in [{section}]"),
            };
            return Err(refused(format!("{place} {names}")));
        }
    }
    Ok(())
}

/// Converts one environment variable to a nested table. A text key takes the value verbatim; other
/// keys parse it as a number, `true` or `false`, or a list `[a, b]`.
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
    reject_unknown("", &nested, &format!("environment variable {name}"))?;
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

/// Formats a value as TOML and hides secrets. A URL is shown without its password under any key,
/// because an unknown key may be a known one misspelt.
fn shown(key: &str, value: &Value) -> String {
    // A DSN under a misspelt key is still a secret.
    let may_be_dsn = key.starts_with(TELEMETRY) && matches!(value, Value::String(_, text) if text.contains('@'));
    // So is a webhook under a misspelt key or section.
    let is_section = matches!(value, Value::Dict(..));
    let may_be_webhook = key.starts_with(WEBHOOK) && key != WEBHOOKS_TIMEOUT && !is_section;
    // As is a password under a misspelt key.
    let may_be_password = key == BUS_PASSWORD || (key.starts_with("events.") && key.contains("pass"));
    if may_be_password || key == CLIENT_TOKEN || key == ACCESS_TOKENS || may_be_dsn || may_be_webhook {
        return Secret::HIDDEN.to_owned();
    }
    match value {
        Value::Dict(_, inner) => format!("a section ({} keys)", inner.len()),
        Value::String(_, text) => toml::Value::from(without_password(text)).to_string(),
        value => value
            .deserialize::<toml::Value>()
            .map_or_else(|_| value.to_actual().to_string(), |value| value.to_string()),
    }
}
