//! Reads the body of `/rank`, field by field.

use std::collections::{BTreeMap, HashSet};

use api::json::{Document, Json};
use api::score::features;
use chrono::{DateTime, Utc};
use ranking::{Candidate, Presets, Schema, Weights};
use settings::Host;
use uuid::Uuid;

use crate::http::error::{ApiError, Invalid};

/// A case to rank.
pub struct RankRequest {
    /// The case that the lawyers are ranked for.
    pub case_id: Uuid,
    /// The client who sees the ranking.
    pub user_id: Uuid,
    /// The weights of the preset that the request names, or of the default preset.
    pub weights: Weights,
    /// Number of lawyers to show; `None`: all.
    pub top_n: Option<usize>,
    /// The lawyers, in the order of the request; 1 to `host.max_lawyers`, no id twice.
    pub candidates: Vec<Candidate>,
    /// For each candidate, when they consented to the use of their groups; `None`: they did not.
    pub consents: Vec<Consent>,
}

/// Reads a request.
///
/// # Errors
/// 400 if the body is not JSON, 422 for the first field that breaks a rule.
pub fn read(body: &[u8], schema: &Schema, presets: &Presets, host: &Host) -> Result<RankRequest, ApiError> {
    let document = Document::parse(body, host.max_json_depth)?;
    Ok(request(document.root(), schema, presets, host.max_lawyers)?)
}

fn request(json: Json, schema: &Schema, presets: &Presets, max_lawyers: usize) -> Result<RankRequest, Invalid> {
    let [case, preset, top_n, lawyers] = json.fields(&["case", "preset", "top_n", "lawyers"])?;
    let (case_id, user_id) = case.read(|json| {
        let [case_id, user_id] = json.fields(&["case_id", "user_id"])?;
        Ok((case_id.read(uuid)?, user_id.read(uuid)?))
    })?;
    let weights = preset.read_optional(|json| {
        let known = || presets.names().collect::<Vec<_>>().join(", ");
        presets.get(json.string()?).ok_or_else(|| Invalid::new(json, known()))
    })?;
    let top_n = top_n.read_optional(|json| match json.unsigned(max_lawyers as u64)? {
        0 => Err(Invalid::new(json, format!("an integer from 1 to {max_lawyers}"))),
        top_n => Ok(top_n as usize),
    })?;
    let (candidates, consents) = lawyers.read(|json| candidates(json, schema, max_lawyers))?;
    Ok(RankRequest {
        case_id,
        user_id,
        weights: weights.unwrap_or(presets.default_weights()).clone(),
        top_n,
        candidates,
        consents,
    })
}

/// When a lawyer consented to the use of their groups; `None`: never.
type Consent = Option<DateTime<Utc>>;

fn candidates(json: Json, schema: &Schema, max_lawyers: usize) -> Result<(Vec<Candidate>, Vec<Consent>), Invalid> {
    let lawyers = json.array()?;
    if !(1..=max_lawyers).contains(&lawyers.len()) {
        return Err(Invalid::new(
            json,
            format!("1 to {max_lawyers} lawyers (host.max_lawyers)"),
        ));
    }
    let mut seen = HashSet::with_capacity(lawyers.len());
    let mut candidates = Vec::with_capacity(lawyers.len());
    let mut consents = Vec::with_capacity(lawyers.len());
    for (at, json) in lawyers.enumerate() {
        let (candidate, consent) = lawyer(json, schema, &mut seen).map_err(|e| e.under(format!("[{at}]")))?;
        candidates.push(candidate);
        consents.push(consent);
    }
    Ok((candidates, consents))
}

fn lawyer<'d>(json: Json<'d>, schema: &Schema, seen: &mut HashSet<&'d str>) -> Result<(Candidate, Consent), Invalid> {
    let [
        lawyer_id,
        values,
        cases_30d,
        monthly_capacity,
        attributes,
        last_offered_at,
        groups_consented_at,
    ] = json.fields(&[
        "lawyer_id",
        "features",
        "cases_30d",
        "monthly_capacity",
        "groups",
        "last_offered_at",
        "groups_consented_at",
    ])?;
    let count = |json: Json| Ok(json.unsigned(u64::from(u32::MAX))? as u32);
    let new = |json: Json<'d>| {
        let id = text(json)?;
        if seen.insert(id) {
            Ok(id.to_owned())
        } else {
            Err(Invalid::new(json, "each lawyer once"))
        }
    };
    let candidate = Candidate {
        lawyer_id: lawyer_id.read(new)?,
        features: values.read(|json| features(json, schema))?,
        cases_30d: cases_30d.read(count)?,
        monthly_capacity: monthly_capacity.read(count)?,
        groups: attributes.read_optional(groups)?.unwrap_or_default(),
        last_offered_at: last_offered_at.read_optional(time)?,
    };
    Ok((candidate, groups_consented_at.read_optional(time)?))
}

fn groups(json: Json) -> Result<BTreeMap<String, String>, Invalid> {
    let fields = json.object()?;
    if fields.len() > ranking::events::MAX_GROUPS {
        return Err(Invalid::new(
            json,
            format!("up to {} attributes", ranking::events::MAX_GROUPS),
        ));
    }
    let mut groups = BTreeMap::new();
    for (attribute, value) in fields {
        if !grammar::is_text(attribute) {
            return Err(Invalid::new(
                format!("{:?}", grammar::shorten(attribute)),
                grammar::TEXT,
            ));
        }
        if !value.is_null() {
            let group = text(value).map_err(|e| e.under(attribute))?;
            groups.insert(attribute.to_owned(), group.to_owned());
        }
    }
    Ok(groups)
}

fn text(json: Json<'_>) -> Result<&str, Invalid> {
    let text = json.string()?;
    if grammar::is_text(text) {
        Ok(text)
    } else {
        Err(Invalid::new(json, grammar::TEXT))
    }
}

fn uuid(json: Json) -> Result<Uuid, Invalid> {
    let id = json.string().ok().and_then(grammar::id);
    id.ok_or_else(|| Invalid::new(json, grammar::ID))
}

fn time(json: Json) -> Result<DateTime<Utc>, Invalid> {
    grammar::instant(json.string()?).ok_or_else(|| Invalid::new(json, grammar::INSTANT))
}
