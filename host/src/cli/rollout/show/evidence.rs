//! What stands beside the verdict, as tables.

use serde_json::Value;

use super::outcomes::interval;
use super::{UNKNOWN, fixed, percent, signed, table, text, text_or};

/// The whole of `GET /rollout/evidence`.
pub(in crate::cli::rollout) fn page(answer: &Value) -> String {
    let closed = &answer["closed"];
    if !closed.is_object() {
        return "no evidence was read yet\n".to_owned();
    }
    let mut page = format!(
        "{} closed days from {} to {}",
        text(&closed["days"]),
        text(&closed["from"]),
        text_or(&closed["until"], UNKNOWN)
    );
    if closed["without_evidence"].as_u64().is_some_and(|days| days > 0) {
        page += &format!(
            ", {} of them counted by a former program",
            text(&closed["without_evidence"])
        );
    }
    page.push('\n');
    for model in answer["models"].as_array().into_iter().flatten() {
        page += &of_model(model);
    }
    page + &coverage(&answer["coverage"]) + &samplers(&answer["samplers"])
}

fn of_model(model: &Value) -> String {
    let values = &model["values"];
    let mut page = format!(
        "\n{}: {} users whose case has both rankings, {} clicks\n{}\n",
        text_or(&model["version"], "all models"),
        text(&values["users"]),
        text(&values["clicks"]),
        text(&values["reason"])
    );
    let mut table = table(["clicks a user", "legacy", "ltr", "difference [interval]"]);
    for (name, key) in [
        ("inverse propensity scoring", "ips"),
        ("doubly robust", "doubly_robust"),
    ] {
        let estimate = &values[key];
        if estimate.is_object() {
            table.add_row([
                name.to_owned(),
                fixed(&estimate["legacy"], 3),
                fixed(&estimate["ltr"], 3),
                interval(&estimate["difference"]),
            ]);
        }
    }
    if values["bounds"].is_object() {
        let end = |end: &str| signed(values["bounds"][end].as_f64());
        let eta = |at: usize| fixed(&values["etas"][at], 2);
        table.add_row([
            format!("worst and best, eta {} to {}", eta(0), eta(1)),
            String::new(),
            String::new(),
            format!("[{}, {}]", end("worst"), end("best")),
        ]);
    }
    page += &format!("{table}\n");
    if values["effective_sample_size"].is_number() {
        page += &format!(
            "LTR's clicks say as much as {} of equal weight\n",
            fixed(&values["effective_sample_size"], 0)
        );
    }
    for bias in values["known_biases"].as_array().into_iter().flatten() {
        page += &format!("known bias: {}\n", text(bias));
    }
    page + &exposure(model)
}

fn exposure(model: &Value) -> String {
    let Some(groups) = model["exposure"].as_array().filter(|groups| !groups.is_empty()) else {
        return String::new();
    };
    let mut table = table(["group", "ranking", "candidates", "share of them", "share of attention"]);
    for group in groups {
        let ranking = match &group["ranking"] {
            Value::Object(displayed) => format!("displayed, arm {}", text_or(&displayed["displayed"], UNKNOWN)),
            ranking => text(ranking),
        };
        table.add_row([
            format!("{} {}", text(&group["attribute"]), text(&group["group"])),
            ranking,
            text(&group["candidates"]),
            percent(&group["of_candidates"]),
            percent(&group["of_examination"]),
        ]);
    }
    let gap = &model["fair_gap"];
    let gap = if gap.is_object() {
        format!(
            "; gap of scores: legacy {}, ltr {}",
            fixed(&gap["legacy"], 3),
            fixed(&gap["ltr"], 3)
        )
    } else {
        String::new()
    };
    format!(
        "{table}\nattention by 1/rank^{}{gap}\n",
        text(&model["eta_of_exposure"])
    )
}

fn coverage(coverage: &Value) -> String {
    if !coverage.is_object() {
        return String::new();
    }
    let mut table = table(["coverage", "number"]);
    for (name, key) in [
        ("cases displayed", "cases"),
        ("of them compared by a sampler", "compared"),
        ("actions on them", "actions"),
        ("of them without a matching impression", "actions_unbound"),
        ("of them on lawyers never displayed", "actions_never_displayed"),
        ("actions on cases without an impression", "actions_without_impression"),
    ] {
        table.add_row([name.to_owned(), text(&coverage[key])]);
    }
    let waiting = &coverage["waiting"];
    let waiting = if waiting.is_object() {
        format!(
            "{} cases wait, as of {}\n",
            text(&waiting["cases"]),
            text(&waiting["as_of"])
        )
    } else {
        String::new()
    };
    format!("\n{table}\n{waiting}")
}

fn samplers(samplers: &Value) -> String {
    if !samplers.is_object() {
        return String::new();
    }
    let mut table = table(["sampler", "", "asked for", "found", "of", "evidence (logarithm)"]);
    for test in samplers["tests"].as_array().into_iter().flatten() {
        let mark = match test["is_broken"].as_bool() {
            Some(true) => "BROKEN",
            Some(false) => "fair",
            None => UNKNOWN,
        };
        table.add_row([
            text(&test["sampler"]),
            mark.to_owned(),
            percent(&test["expected"]),
            percent(&test["observed"]),
            text(&test["n"]),
            format!(
                "{}, {} is broken",
                fixed(&test["log_e"], 2),
                fixed(&test["log_level"], 2)
            ),
        ]);
    }
    format!(
        "\nsamplers on {} closed days from {}\n{table}\n",
        text(&samplers["days"]),
        text(&samplers["from"])
    )
}
