//! `ltr-trainer edge-bypass`: prints the condition under which Envoy skips the filter.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use proxy_filter::{Config, ConfigError};
use serde_json::Value;

use crate::files;
use crate::outcome::Outcome;

/// The plug-in configuration in a discovery response, as a JSON string.
const CONFIGURATION: &str = "/resources/0/typed_config/config/configuration/value";

const EXAMPLES: &str = "Examples:
  ltr-trainer edge-bypass /etc/envoy/ltr/ecds.template.json
  ltr-trainer edge-bypass plugin.json

In Envoy's configuration, a matcher among the routes disables the filter for these requests:
  virtual_hosts:
    - name: all
      domains: [\"*\"]
      matcher:
        matcher_list:
          matchers:
            - predicate: {the printed condition}
              on_match: {the routes, with the filter disabled by typed_per_filter_config}
        on_no_match: {the routes}
The bootstrap lists the internal headers, so that Envoy finds them without a lookup:
  inline_headers:
    - { inline_header_name: x-shadow-ltr, inline_header_type: REQUEST_HEADER }
    - { inline_header_name: x-ltr-edge-copy, inline_header_type: REQUEST_HEADER }
    - { inline_header_name: x-ltr-shadow-fraction, inline_header_type: REQUEST_HEADER }
deploy/envoy/static.yaml is a complete example.";

/// Prints the condition under which Envoy skips the filter, as a predicate for Envoy's routes.
///
/// Calling the filter costs Envoy about a tenth of its throughput, and most requests are not
/// sampled. Envoy computes the sampler's hash by itself and skips the filter for requests that the
/// filter would not change. Requests with an internal header, or with an id in another form than
/// Envoy's, still go through the filter. Print the condition again after a change of a `score`
/// route or of any `sampling` key except `fraction`.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The filter's plug-in configuration, or the discovery response (ECDS) that contains it
    #[arg(value_name = "JSON")]
    pub configuration: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The configuration cannot be read, is invalid, or has `sampling` without `sampling.bypass_above`.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let path = &args.configuration;
    let json: Value = files::read_json(path)?;
    let predicate = predicate(&json).with_context(|| path.display().to_string())?;
    println!("{}", text(&predicate));
    Ok(Outcome::Done)
}

fn predicate(json: &Value) -> Result<Value, ConfigError> {
    let own = match json.pointer(CONFIGURATION) {
        Some(text) => text.as_str().unwrap_or_default().to_owned(),
        None => json.to_string(),
    };
    // The salt of pseudonyms does not affect the condition: any salt will do.
    let salt = |_: &str| Some("0".repeat(32));
    Config::read(own.as_bytes(), salt)?.bypass()
}

/// One line per condition, as in deploy/envoy. JSON is also YAML.
fn text(predicate: &Value) -> String {
    let conditions = predicate["and_matcher"]["predicate"].as_array().into_iter().flatten();
    let lines: Vec<String> = conditions.map(Value::to_string).collect();
    format!("{{\"and_matcher\":{{\"predicate\":[\n  {}\n]}}}}", lines.join(",\n  "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own() -> Value {
        json!({
            "sampling": { "salt": "ltr-shadow-v1", "fraction": 0.1, "bypass_above": 0.1 },
            "routes": [{ "path_prefix": "/rank", "method": "POST", "modes": ["mark"] }],
        })
    }

    #[test]
    fn a_configuration_gives_one_condition_alone_and_in_a_discovery_response() {
        let configuration = json!({ "value": own().to_string() });
        let discovery = json!({ "resources": [{ "typed_config": { "config": { "configuration": configuration } } }] });
        assert_eq!(predicate(&discovery).unwrap(), predicate(&own()).unwrap());
    }

    #[test]
    fn the_help_lists_every_internal_header() {
        for name in proxy_filter::INTERNAL_HEADERS {
            assert!(EXAMPLES.contains(&format!("inline_header_name: {name},")), "{name}");
        }
    }

    #[test]
    fn what_is_printed_is_json_again() {
        let predicate = predicate(&own()).unwrap();
        let text = text(&predicate);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), predicate);
        assert_eq!(text.lines().count(), 5 + 2, "one line per condition\n{text}");
    }

    #[test]
    fn an_invalid_configuration_is_rejected() {
        let mut wrong = own();
        wrong["sampling"]["fraction"] = json!(0.2);
        let sentence = predicate(&wrong).unwrap_err().to_string();
        assert!(
            sentence.starts_with("sampling.bypass_above is 0.1; allowed: "),
            "{sentence}"
        );
    }
}
