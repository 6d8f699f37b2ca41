//! Checks every value against the rule of its key, and values that depend on each other.

use std::net::SocketAddr;
use std::path::Path;

use ranking::{Presets, Schema};

use crate::section::Rule;
use crate::sections::{
    self, ACCESS_EDGES, ACCESS_TOKENS, BUS_PASSWORD, CLIENT_TOKEN, DATABASE_CA_FILE, DATABASE_URL, LINEAGE_URL, PARAMS,
    PRESETS, REDIS_URL, ROLLOUT_LADDER, SENTRY_DSN, SWAPS_PAIRS, WEBHOOKS_TARGETS, sections,
};
use crate::url::without_password;
use crate::{Secret, Settings, SettingsError};

/// Added to an error about a value that contains [`Secret::HIDDEN`].
const NOT_THE_SECRET: &str = "set the secret itself, not the placeholder that --print-config shows";

/// A value that its key does not allow. The caller adds its origin.
pub(crate) struct InvalidValue {
    pub key: String,
    value: String,
    allowed: String,
}

impl InvalidValue {
    pub(crate) fn from(self, origin: String) -> SettingsError {
        SettingsError::Refused {
            origin,
            key: self.key,
            value: self.value,
            allowed: self.allowed,
        }
    }
}

impl Settings {
    /// Checks every value against the rule of its key. [`Settings::load`] already does this.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.check().map_err(|invalid| invalid.from("settings".to_owned()))
    }

    pub(crate) fn check(&self) -> Result<(), InvalidValue> {
        let tree = self.tree();
        for section in sections() {
            for key in section.keys {
                let path = format!("{}.{}", section.name, key.name);
                check_rule(&path, key.rule, find(&tree, &path))?;
            }
        }
        self.check_ranking()?;
        self.check_urls()?;
        self.check_host()?;
        self.check_access()?;
        self.check_tls()?;
        self.check_telemetry()?;
        self.check_rollout()?;
        self.check_swaps()?;
        self.check_webhooks()?;
        self.check_checks()?;
        self.check_train()?;
        self.check_evaluate()
    }

    /// The settings as TOML, with secrets hidden.
    pub(crate) fn tree(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_default()
    }

    fn check_ranking(&self) -> Result<(), InvalidValue> {
        let schema = Schema::new(self.ranking.features.iter().cloned()).map_err(|error| InvalidValue {
            key: "ranking.features".into(),
            value: format!("{:?}", self.ranking.features),
            allowed: format!("a list of different names ({error})"),
        })?;
        Presets::new(&schema, &self.ranking.presets, &self.ranking.default_preset).map_err(|error| {
            let unknown_default = matches!(error, ranking::WeightsError::UnknownDefault { .. });
            let (key, value) = if unknown_default {
                ("ranking.default_preset", format!("{:?}", self.ranking.default_preset))
            } else {
                let names: Vec<&str> = self.ranking.presets.keys().map(String::as_str).collect();
                (PRESETS, format!("presets {}", names.join(", ")))
            };
            let allowed = format!("one weight of at least 0 per feature ({error})");
            invalid(key, value, if unknown_default { error.to_string() } else { allowed })
        })?;
        Ok(())
    }

    fn check_urls(&self) -> Result<(), InvalidValue> {
        let lineage = self.lineage.url.expose();
        let urls = [
            (DATABASE_URL, &self.database.url, self.database.has_usable_url()),
            (REDIS_URL, &self.flags.redis_url, self.flags.has_usable_url()),
            (LINEAGE_URL, &self.lineage.url, lineage.is_empty() || is_http(lineage)),
        ];
        for (key, url, usable) in urls {
            if !usable {
                return Err(by_rule(key, &url.shown()));
            }
            if url.expose().contains(Secret::HIDDEN) {
                let allowed = format!("{}; {NOT_THE_SECRET}", rule_text(key));
                return Err(invalid(key, format!("{url:?}"), allowed));
            }
        }
        if let Some(file) = self.database.address().ca_file
            && self.database.url.expose().starts_with("sqlite:")
        {
            return Err(by_rule(DATABASE_CA_FILE, &file.display().to_string()));
        }
        if !self.models.has_usable_source() {
            return Err(by_rule("models.source", &without_password(&self.models.source)));
        }
        if !self.lake.has_usable_url() {
            return Err(by_rule("lake.url", &without_password(&self.lake.url)));
        }
        if let Some((key, value)) = self.events.bus_fault() {
            return Err(by_rule(key, &without_password(&value)));
        }
        if self.events.bus_password.expose() == Secret::HIDDEN {
            return Err(invalid(
                BUS_PASSWORD,
                Secret::HIDDEN.to_owned(),
                NOT_THE_SECRET.to_owned(),
            ));
        }
        let url = &self.publish.notify_url;
        if !url.is_empty() && !is_http(url) {
            return Err(by_rule("publish.notify_url", url));
        }
        Ok(())
    }

    fn check_host(&self) -> Result<(), InvalidValue> {
        let host = &self.host;
        if host.ltr_budget_ms >= host.deadline_ms {
            let rule = rule_text("host.ltr_budget_ms");
            let allowed = format!("{rule}, below host.deadline_ms, which is {}", host.deadline_ms);
            return Err(invalid("host.ltr_budget_ms", host.ltr_budget_ms.to_string(), allowed));
        }
        let total = host.max_body_total_mb;
        if host.max_body_total() / 4 * 3 < host.max_body_bytes {
            let allowed = format!(
                "{}, at least one and a third times host.max_body_bytes, which is {} bytes",
                rule_text("host.max_body_total_mb"),
                host.max_body_bytes
            );
            return Err(invalid("host.max_body_total_mb", total.to_string(), allowed));
        }
        Ok(())
    }

    fn check_access(&self) -> Result<(), InvalidValue> {
        if let Some(fault) = self.access.fault() {
            let allowed = format!("{} ({fault})", rule_text(ACCESS_TOKENS));
            return Err(invalid(ACCESS_TOKENS, Secret::HIDDEN.to_owned(), allowed));
        }
        if let Err(text) = self.access.edges() {
            return Err(by_rule(ACCESS_EDGES, text));
        }
        let open = self.access.tokens.is_empty();
        let listen = self.host.listen;
        if open && !listen.ip().is_loopback() {
            return Err(by_rule("host.listen", &listen.to_string()));
        }
        let admin = &self.host.admin_listen;
        let usable =
            |address: SocketAddr| (!open || address.ip().is_loopback()) && (address != listen || address.port() == 0);
        if !admin.is_empty() && !admin.parse().is_ok_and(usable) {
            return Err(by_rule("host.admin_listen", admin));
        }
        let token = self.client.token.expose();
        let usable = (16..=256).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
        if !token.is_empty() && !usable {
            let rule = rule_text(CLIENT_TOKEN);
            let allowed = if token == Secret::HIDDEN {
                format!("{rule}; {NOT_THE_SECRET}")
            } else {
                rule
            };
            return Err(invalid(CLIENT_TOKEN, Secret::HIDDEN.to_owned(), allowed));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), InvalidValue> {
        let set = |path: &Path| !path.as_os_str().is_empty();
        let tls = &self.tls;
        let alone = match (set(&tls.cert_file), set(&tls.key_file), set(&tls.client_ca_file)) {
            (true, false, _) => "tls.key_file",
            (false, true, _) => "tls.cert_file",
            (false, false, true) => "tls.client_ca_file",
            _ => return Ok(()),
        };
        let value = match alone {
            "tls.client_ca_file" => tls.client_ca_file.display().to_string(),
            _ => String::new(),
        };
        Err(by_rule(alone, &value))
    }

    fn check_telemetry(&self) -> Result<(), InvalidValue> {
        let telemetry = &self.telemetry;
        if !telemetry.otlp_endpoint.is_empty() && !telemetry.endpoint_is_usable() {
            let url = telemetry.otlp_endpoint.as_str();
            let shown = if url.contains('@') { Secret::HIDDEN } else { url };
            return Err(by_rule("telemetry.otlp_endpoint", shown));
        }
        if !telemetry.sentry_dsn.is_empty() && !telemetry.dsn_is_usable() {
            let rule = rule_text(SENTRY_DSN);
            let allowed = match telemetry.sentry_dsn.expose() {
                Secret::HIDDEN => format!("{rule}; {NOT_THE_SECRET}"),
                _ => rule,
            };
            return Err(invalid(SENTRY_DSN, Secret::HIDDEN.to_owned(), allowed));
        }
        Ok(())
    }

    fn check_rollout(&self) -> Result<(), InvalidValue> {
        let rollout = &self.rollout;
        if let Some(fault) = rollout.ladder_fault() {
            let allowed = format!("{} ({fault})", rule_text(ROLLOUT_LADDER));
            return Err(invalid(
                ROLLOUT_LADDER,
                format!("{} rungs", rollout.ladder.len()),
                allowed,
            ));
        }
        let name = &rollout.gateway;
        if name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(by_rule("rollout.gateway", &grammar::shorten(name)));
        }
        if rollout.salt == rollout.hold_out_salt {
            return Err(by_rule("rollout.hold_out_salt", &rollout.hold_out_salt));
        }
        Ok(())
    }

    fn check_swaps(&self) -> Result<(), InvalidValue> {
        let swaps = &self.swaps;
        if let Err(fault) = swaps.design() {
            let pairs = swaps.pairs.iter();
            let pairs: Vec<String> = pairs.map(|pair| format!("{} ({})", pair.upper, pair.weight)).collect();
            let allowed = format!("{} ({fault})", rule_text(SWAPS_PAIRS));
            return Err(invalid(SWAPS_PAIRS, format!("[{}]", pairs.join(", ")), allowed));
        }
        let others = [&self.shadow.salt, &self.rollout.salt, &self.rollout.hold_out_salt];
        if others.contains(&&swaps.salt) {
            return Err(by_rule("swaps.salt", &swaps.salt));
        }
        Ok(())
    }

    fn check_webhooks(&self) -> Result<(), InvalidValue> {
        let Some(fault) = self.webhooks.fault() else {
            return Ok(());
        };
        let allowed = format!("{} ({fault})", rule_text(WEBHOOKS_TARGETS));
        Err(invalid(WEBHOOKS_TARGETS, Secret::HIDDEN.to_owned(), allowed))
    }

    fn check_checks(&self) -> Result<(), InvalidValue> {
        let checks = &self.checks;
        if checks.value_most < checks.value_least {
            let allowed = format!("at least checks.value_least, which is {}", checks.value_least);
            return Err(invalid("checks.value_most", checks.value_most.to_string(), allowed));
        }
        Ok(())
    }

    fn check_evaluate(&self) -> Result<(), InvalidValue> {
        if !self.evaluate.has_usable_eta() {
            return Err(by_rule("evaluate.eta", &self.evaluate.eta));
        }
        Ok(())
    }

    fn check_train(&self) -> Result<(), InvalidValue> {
        let train = &self.train;
        if train.valid_fraction + train.test_fraction >= 1.0 {
            let allowed = format!(
                "a share that adds up to less than 1 with train.valid_fraction, which is {}",
                train.valid_fraction
            );
            return Err(invalid("train.test_fraction", train.test_fraction.to_string(), allowed));
        }
        for (name, value) in &train.params {
            let plain = |v: &toml::Value| {
                v.is_str() || v.is_integer() || v.is_bool() || v.as_float().is_some_and(f64::is_finite)
            };
            let list = value.as_array().is_some_and(|list| list.iter().all(plain));
            if !plain(value) && !list {
                let allowed = "a finite number, text, true or false, or a list of these".to_owned();
                return Err(invalid(&format!("{PARAMS}.{name}"), value.to_string(), allowed));
            }
        }
        Ok(())
    }
}

/// Whether a URL is `http[s]://` and something that may be a host.
fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn check_rule(key: &str, rule: Rule, value: Option<&toml::Value>) -> Result<(), InvalidValue> {
    let number = value.and_then(|v| v.as_float().or_else(|| v.as_integer().map(|i| i as f64)));
    let allowed = match rule {
        Rule::Whole(least, most) => value
            .and_then(toml::Value::as_integer)
            .is_some_and(|i| (least..=most).contains(&i)),
        Rule::Number(least, most) => number.is_some_and(|x| (least..=most).contains(&x)),
        Rule::Between(above, below) => number.is_some_and(|x| above < x && x < below),
        Rule::Text(_) => value.and_then(toml::Value::as_str).is_some_and(|t| !t.is_empty()),
        // Checked by the type of the field, or by one of the functions above.
        Rule::OneOf(_) | Rule::Flag | Rule::Words(_) => true,
    };
    if allowed {
        return Ok(());
    }
    let value = value.map_or_else(|| "nothing".to_owned(), toml::Value::to_string);
    Err(invalid(key, value, rule.to_string()))
}

fn find<'a>(tree: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let mut segments = key.split('.');
    let first = tree.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| value.get(segment))
}

fn by_rule(key: &str, value: &str) -> InvalidValue {
    invalid(key, format!("{value:?}"), rule_text(key))
}

fn rule_text(key: &str) -> String {
    sections::rule(key).expect("the key is declared").to_string()
}

fn invalid(key: &str, value: String, allowed: String) -> InvalidValue {
    InvalidValue {
        key: key.to_owned(),
        value,
        allowed,
    }
}
