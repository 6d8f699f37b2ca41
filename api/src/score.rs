//! JSON bodies of `POST /ltr/score`.

use ranking::Schema;
use serde::Serialize;

use crate::json::{Document, Json, position};
use crate::refusal::{Invalid, Refusal};

/// The rows of a JSON body, and whether it is a single row (`features` instead of `rows`).
///
/// # Errors
/// 400 for a body that is not JSON; 422 for the first value that is not allowed, with its place.
pub fn json_rows(body: &[u8], schema: &Schema, max_json_depth: usize) -> Result<(Vec<Vec<f64>>, bool), Refusal> {
    let document = Document::parse(body, max_json_depth)?;
    let json = document.root();
    let [row, rows] = json.fields(&["features", "rows"])?;
    match (row.optional(), rows.optional()) {
        (Some(_), None) => Ok((vec![row.read(|json| features(json, schema))?], true)),
        (None, Some(_)) => {
            let read = |(at, row)| features(row, schema).map_err(|e| e.under(format!("[{at}]")));
            let rows = rows.read(|rows| rows.array()?.enumerate().map(read).collect())?;
            Ok((rows, false))
        }
        _ => Err(Invalid::new(json, "either \"features\" or \"rows\"").into()),
    }
}

/// One value per feature, in the schema's order. `null` is a missing value (NaN); an absent name is
/// an error.
pub fn features(json: Json, schema: &Schema) -> Result<Vec<f64>, Invalid> {
    let names = schema.names();
    let mut row = vec![f64::NAN; names.len()];
    let fields = json.object()?;
    let found = fields.len();
    for (at, (name, value)) in fields.enumerate() {
        let Some(at) = position(names, at, name) else {
            let known = format!("only the features {}", names.join(", "));
            return Err(Invalid::new(value, known).under(name));
        };
        row[at] = value.number_or_missing().map_err(|e| e.under(name))?;
    }
    // Names are unique in a parsed object, so fewer fields than features mean an absent feature.
    if found < names.len() {
        let has = |name: &String| {
            json.object()
                .is_ok_and(|mut fields| fields.any(|(found, _)| found == name))
        };
        let absent = names.iter().find(|name| !has(name)).expect("fewer names than features");
        return Err(Invalid::missing().under(absent));
    }
    Ok(row)
}

/// The JSON response: `score` for a single row, `scores` for a list of rows.
pub fn answer(scores: &[f64], one: bool) -> Vec<u8> {
    let answer = match (one, scores) {
        (true, &[score]) => Answer::Score(score),
        _ => Answer::Scores(scores),
    };
    serde_json::to_vec(&answer).expect("numbers have a JSON form")
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'s> {
    Score(f64),
    Scores(&'s [f64]),
}
