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

/// The JSON response: the version of the model that scored, and `score` for a single row or `scores`
/// for a list of rows.
pub fn answer(scores: &[f64], one: bool, model_version: &str) -> Vec<u8> {
    let (score, scores) = match (one, scores) {
        (true, &[score]) => (Some(score), None),
        _ => (None, Some(scores)),
    };
    let answer = Answer {
        model_version,
        score,
        scores,
    };
    serde_json::to_vec(&answer).expect("numbers and texts have a JSON form")
}

#[derive(Serialize)]
struct Answer<'a> {
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<&'a [f64]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_model_beside_its_scores() {
        let text = |scores: &[f64], one| String::from_utf8(answer(scores, one, "v1")).unwrap();
        assert_eq!(text(&[0.5], true), r#"{"model_version":"v1","score":0.5}"#);
        assert_eq!(text(&[0.5], false), r#"{"model_version":"v1","scores":[0.5]}"#);
        assert_eq!(text(&[], false), r#"{"model_version":"v1","scores":[]}"#);
    }
}
