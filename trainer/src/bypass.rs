//! `ltr-trainer edge-bypass`: which requests an Envoy need not call the filter for.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use proxy_filter::{Config, ConfigError};
use serde_json::Value;

use crate::files;
use crate::outcome::Outcome;

/// Where a discovery response has the plug-in configuration, as a text.
const CONFIGURATION: &str = "/resources/0/typed_config/config/configuration/value";

const EXAMPLES: &str = "Examples:
  ltr-trainer edge-bypass /etc/envoy/ltr/ecds.template.json
  ltr-trainer edge-bypass plugin.json
  ltr-trainer edge-bypass --marked plugin.json

In Envoy's configuration, the routes under `matcher` switch the filter off for these requests:
  virtual_hosts:
    - name: all
      domains: [\"*\"]
      matcher:
        matcher_list:
          matchers:
            - predicate: {what is printed}
              on_match: {the routes, with the filter disabled by typed_per_filter_config}
            - predicate: {what is printed with --marked}
              on_match: {the same routes, with request_headers_to_add: x-shadow-ltr, 1}
        on_no_match: {the routes}
and, in the bootstrap, so that Envoy looks up at once whether a request has them:
  inline_headers:
    - { inline_header_name: x-shadow-ltr, inline_header_type: REQUEST_HEADER }
    - { inline_header_name: x-ltr-edge-copy, inline_header_type: REQUEST_HEADER }
    - { inline_header_name: x-ltr-shadow-fraction, inline_header_type: REQUEST_HEADER }
deploy/envoy/mark.yaml has all of it, and static.yaml all but what goes with --marked.";

/// Prints which requests may go past the Envoy filter, as a predicate for Envoy's routes.
///
/// Calling a filter costs Envoy about a tenth of the requests that it could pass on, and most requests are not chosen.
/// Envoy computes the same hash by itself. What it is not sure of, such as an internal header or an id that it did not
/// make, goes to the filter. To be printed anew when a route with `score` or anything of `sampling` but its
/// `fraction` changes; with `--marked`, when any route changes.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The filter's plug-in configuration, or the discovery response (ECDS) with it
    #[arg(value_name = "JSON")]
    pub configuration: PathBuf,
    /// Those that the routes may mark by themselves, where the filter would mark them and do nothing else
    #[arg(long)]
    pub marked: bool,
}

/// Runs the command.
///
/// # Errors
/// A configuration that cannot be read, that the filter would refuse, or without `sampling.bypass_above`; with `--marked`,
/// without `sampling.marked_below` or a route that only marks.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let path = &args.configuration;
    let json: Value = files::read_json(path)?;
    let predicate = predicate(&json, args.marked).with_context(|| path.display().to_string())?;
    println!("{}", text(&predicate));
    Ok(Outcome::Done)
}

fn predicate(json: &Value, marked: bool) -> Result<Value, ConfigError> {
    let own = match json.pointer(CONFIGURATION) {
        Some(text) => text.as_str().unwrap_or_default().to_owned(),
        None => json.to_string(),
    };
    // Under which pseudonyms users are copied has no say in it: any salt does.
    let salt = |_: &str| Some("0".repeat(32));
    let config = Config::read(own.as_bytes(), salt)?;
    if marked { config.marked() } else { config.bypass() }
}

/// A line for each condition, as in deploy/envoy. JSON is YAML, too.
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
            "sampling": { "salt": "ltr-shadow-v1", "fraction": 0.1, "marked_below": 0.1, "bypass_above": 0.1 },
            "routes": [{ "path_prefix": "/rank", "method": "POST", "modes": ["mark"] }],
        })
    }

    #[test]
    fn a_configuration_says_the_same_by_itself_and_in_what_discovers_it() {
        let configuration = json!({ "value": own().to_string() });
        let discovery = json!({ "resources": [{ "typed_config": { "config": { "configuration": configuration } } }] });
        for marked in [false, true] {
            assert_eq!(
                predicate(&discovery, marked).unwrap(),
                predicate(&own(), marked).unwrap()
            );
        }
    }

    #[test]
    fn the_help_names_every_header_that_envoy_is_to_know() {
        for name in proxy_filter::INTERNAL_HEADERS {
            assert!(EXAMPLES.contains(&format!("inline_header_name: {name},")), "{name}");
        }
    }

    #[test]
    fn what_is_printed_is_json_again() {
        for (marked, conditions) in [(false, 5), (true, 7)] {
            let predicate = predicate(&own(), marked).unwrap();
            let text = text(&predicate);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), predicate);
            assert_eq!(
                text.lines().count(),
                conditions + 2,
                "a line for each condition\n{text}"
            );
        }
    }

    #[test]
    fn what_the_filter_would_refuse_is_refused() {
        let mut wrong = own();
        wrong["sampling"]["fraction"] = json!(0.2);
        let sentence = predicate(&wrong, false).unwrap_err().to_string();
        assert!(
            sentence.starts_with("sampling.bypass_above is 0.1; allowed: "),
            "{sentence}"
        );
    }
}
