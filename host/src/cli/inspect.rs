//! `ltr-host inspect`: shows the contents of a component.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use rows::Categories;
use runtime::{ComponentFacts, Description};
use serde::Serialize;

use super::component_file;

const EXAMPLES: &str = "\
The component is validated, compiled, and describes itself in the sandbox that the gateway uses. For a component
that the gateway would refuse, the report holds the reason and what could be read, and the exit code is 1.

Examples:
  ltr-host inspect scorer.wasm
  ltr-host inspect scorer.wasm --json | jq -r '.feature_names[]'";

/// Show what a component holds: contract, features, trees, imports, size, sha256.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// Component, as `ltr-trainer compile` writes it
    pub component: PathBuf,
    /// JSON for programs instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Everything known about a component. In JSON, facts and description form one flat object.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    facts: &'a ComponentFacts,
    #[serde(flatten)]
    description: Option<&'a Description>,
    /// The pandas category columns, whose values in files are converted to codes.
    categories: Option<&'a Categories>,
    /// Why the gateway would not load it.
    refused: Option<Refused>,
}

#[derive(Clone, Serialize)]
struct Refused {
    code: &'static str,
    message: String,
}

/// Runs `ltr-host inspect`.
///
/// # Errors
/// A file that is not a component; and, after the report, a component that the gateway would
/// refuse.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let component = component_file::read(&args.component)?;
    let refusal = || format!("{} is refused", args.component.display());
    let facts = runtime::inspect(&component).with_context(refusal)?;
    let loaded = component_file::engine()?.load(&component);
    let refused = loaded.as_ref().err().map(|error| Refused {
        code: error.code(),
        message: error.to_string(),
    });
    let categories = component_file::categories(&component).with_context(refusal)?;
    let report = Report {
        facts: &facts,
        categories: categories.as_ref(),
        description: loaded.as_ref().ok().map(|scorer| scorer.description()),
        refused: refused.clone(),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        table(&report).to_string()
    };
    writeln!(io::stdout(), "{text}").context("writing to standard output")?;
    match refused {
        None => Ok(()),
        Some(refused) => Err(anyhow!(refused.message).context(refusal())),
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    // A pipe has no terminal width to wrap a long list of features.
    if table.width().is_none() {
        table.set_width(100);
    }
    if let Some(refused) = &report.refused {
        table.add_row(["refused", &format!("{}: {}", refused.code, refused.message)]);
    }
    if let Some(description) = report.description {
        add_description(&mut table, description);
    }
    if let Some(categories) = report.categories {
        table.add_row(["pandas categories", &in_words(categories)]);
    }
    let facts = report.facts;
    table.add_row(["imports", &listed(&facts.imports)]);
    table.add_row(["exports", &listed(&facts.exports)]);
    table.add_row(["size", &format!("{} bytes", facts.size_bytes)]);
    table.add_row([
        "code",
        &format!("{} functions, {} bytes", facts.functions, facts.code_bytes),
    ]);
    table.add_row(["sha256", &facts.sha256]);
    table
}

fn add_description(table: &mut Table, description: &Description) {
    let window = description.training_window.as_ref();
    let window = window.map_or_else(|| "none".to_owned(), |w| format!("{} to {}", w.start, w.end));
    let features = &description.feature_names;
    table.add_row(["contract", &description.contract_version]);
    table.add_row(["model version", &description.model_version]);
    table.add_row(["objective", or_none(&description.objective)]);
    table.add_row(["trees", &description.trees.to_string()]);
    table.add_row(["outputs per row", &description.outputs.to_string()]);
    table.add_row(["training window", &window]);
    table.add_row(["features", &format!("{}: {}", features.len(), listed(features))]);
}

fn in_words(categories: &Categories) -> String {
    match categories {
        Categories::Unclear(why) => format!("unclear: {why}"),
        Categories::Columns(columns) => {
            let lists = columns.iter().map(|(name, list)| {
                let values: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{name}: {}", listed(&values))
            });
            lists.collect::<Vec<_>>().join("\n")
        }
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Names in one cell. The table cuts a long list; `--json` has all names.
fn listed(names: &[String]) -> String {
    const MOST: usize = 40;
    let shown = names
        .iter()
        .take(MOST)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0 => "none".to_owned(),
        n if n > MOST => format!("{shown}, and {} more", n - MOST),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ComponentFacts {
        ComponentFacts {
            imports: vec![],
            exports: vec!["ltr:scorer/scoring@1.1.0".into()],
            size_bytes: 12345,
            sha256: "ab".repeat(32),
            functions: 7,
            code_bytes: 999,
        }
    }

    fn description() -> Description {
        Description {
            model_version: "20261123T021500Z".into(),
            contract_version: "1.1.0".into(),
            feature_names: (0..50).map(|i| format!("f{i}")).collect(),
            objective: "lambdarank".into(),
            trees: 21,
            outputs: 1,
            training_window: None,
        }
    }

    #[test]
    fn the_json_report_is_one_flat_object_with_every_field() {
        let (facts, description) = (facts(), description());
        let report = Report {
            facts: &facts,
            description: Some(&description),
            categories: None,
            refused: None,
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["feature_names"].as_array().unwrap().len(), 50);
        assert_eq!(
            (json["trees"].as_u64(), json["size_bytes"].as_u64()),
            (Some(21), Some(12345))
        );
        assert_eq!(json["imports"], serde_json::json!([]));
        for key in [
            "contract_version",
            "model_version",
            "objective",
            "outputs",
            "training_window",
            "sha256",
            "refused",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_table_shows_the_facts_and_the_refusal() {
        let (facts, description) = (facts(), description());
        let fine = table(&Report {
            facts: &facts,
            description: Some(&description),
            categories: None,
            refused: None,
        })
        .to_string();
        for text in [
            "1.1.0",
            "20261123T021500Z",
            "lambdarank",
            "12345 bytes",
            "and 10 more",
            "none",
        ] {
            assert!(fine.contains(text), "{text} in\n{fine}");
        }
        let refused = Refused {
            code: "has_imports",
            message: "it imports a clock".into(),
        };
        let bad = table(&Report {
            facts: &facts,
            description: None,
            categories: None,
            refused: Some(refused),
        })
        .to_string();
        assert!(bad.contains("has_imports: it imports a clock"), "{bad}");
    }
}
