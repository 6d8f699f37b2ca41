//! When the verdict can be decided, as a table: what comparing a larger share would change.

use serde_json::Value;

use super::{UNKNOWN, percent, table, text, text_or};

/// The criteria that wait for data.
const PLANNED: [&str; 4] = ["duration", "users", "hit3", "mrr_gap"];

/// The plan; nothing if nothing waits for data.
pub(super) fn plan(plan: &Value) -> String {
    let Some(shares) = plan["shares"].as_array() else {
        return String::new();
    };
    let mut table = table(["compared", "decided", "duration", "users", "Hit@3", "MRR gap"]);
    for planned in shares {
        let now = if planned["share"] == plan["share"] {
            " (now)"
        } else {
            ""
        };
        let open = |name: &str| match planned["criteria"].get(name) {
            // It is decided already.
            None => String::new(),
            Some(day) => text_or(day, UNKNOWN),
        };
        let mut row = vec![
            percent(&planned["share"]) + now,
            text_or(&planned["decidable_on"], UNKNOWN),
        ];
        row.extend(PLANNED.map(open));
        table.add_row(row);
    }
    format!("{table}\nplan: {}\n", text(&plan["sentence"]))
}
