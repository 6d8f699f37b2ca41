//! The body of `/rank`, read field by field.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use ranking::{Candidate, Presets, Schema, Weights};
use settings::Host;
use uuid::Uuid;

use crate::errors::{ApiError, Invalid};
use crate::json::{Fields, Json};
use crate::score::features;

/// Longest id or group name, in bytes; what an event may carry.
const MAX_TEXT: usize = ranking::features::MAX_TEXT_BYTES;

/// A case to rank.
pub struct RankRequest {
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub weights: Weights,
    /// How many to show; `None`: all.
    pub top_n: Option<usize>,
    pub candidates: Vec<Candidate>,
}

/// # Errors
/// 400 for what is no JSON, 422 for the first field that breaks a rule.
pub fn read(body: &[u8], schema: &Schema, presets: &Presets, host: &Host) -> Result<RankRequest, ApiError> {
    let json = Json::parse(body, host.max_json_depth)?;
    Ok(request(&json, schema, presets, host.max_lawyers)?)
}

fn request(json: &Json, schema: &Schema, presets: &Presets, max_lawyers: usize) -> Result<RankRequest, Invalid> {
    let fields = Fields::of(json, &["case", "preset", "top_n", "lawyers"])?;
    let (case_id, user_id) = case(fields.required("case")?).map_err(|e| e.under("case"))?;
    let weights = match fields.optional("preset") {
        None => presets.default_weights(),
        Some(json) => {
            let name = json.string().map_err(|e| e.under("preset"))?;
            let known = || presets.names().collect::<Vec<_>>().join(", ");
            presets
                .get(name)
                .ok_or_else(|| Invalid::new(json, known()).under("preset"))?
        }
    };
    let top_n = match fields.optional("top_n") {
        None => None,
        Some(json) => {
            let top_n = json.unsigned(max_lawyers as u64).map_err(|e| e.under("top_n"))?;
            if top_n == 0 {
                return Err(Invalid::new(json, format!("an integer from 1 to {max_lawyers}")).under("top_n"));
            }
            Some(top_n as usize)
        }
    };
    let list = fields.required("lawyers")?;
    let lawyers = list.array().map_err(|e| e.under("lawyers"))?;
    if lawyers.is_empty() || lawyers.len() > max_lawyers {
        return Err(Invalid::new(list, format!("1 to {max_lawyers} lawyers (host.max_lawyers)")).under("lawyers"));
    }
    let mut seen = HashSet::with_capacity(lawyers.len());
    let mut candidates = Vec::with_capacity(lawyers.len());
    for (at, json) in lawyers.iter().enumerate() {
        let place = |e: Invalid| e.under(format!("lawyers[{at}]"));
        let candidate = lawyer(json, schema).map_err(place)?;
        if !seen.insert(candidate.lawyer_id.clone()) {
            let doubled = Invalid::new(format!("{:?}", candidate.lawyer_id), "each lawyer once").under("lawyer_id");
            return Err(place(doubled));
        }
        candidates.push(candidate);
    }
    Ok(RankRequest {
        case_id,
        user_id,
        weights: weights.clone(),
        top_n,
        candidates,
    })
}

fn case(json: &Json) -> Result<(Uuid, Uuid), Invalid> {
    let fields = Fields::of(json, &["case_id", "user_id"])?;
    let id = |name| {
        let json = fields.required(name)?;
        uuid(json).map_err(|e| e.under(name))
    };
    Ok((id("case_id")?, id("user_id")?))
}

fn lawyer(json: &Json, schema: &Schema) -> Result<Candidate, Invalid> {
    let names = [
        "lawyer_id",
        "features",
        "cases_30d",
        "monthly_capacity",
        "groups",
        "last_offered_at",
    ];
    let fields = Fields::of(json, &names)?;
    let count = |name| {
        let json = fields.required(name)?;
        let count = json.unsigned(u64::from(u32::MAX)).map_err(|e: Invalid| e.under(name))?;
        Ok::<u32, Invalid>(count as u32)
    };
    Ok(Candidate {
        lawyer_id: text(fields.required("lawyer_id")?)
            .map_err(|e| e.under("lawyer_id"))?
            .to_owned(),
        features: features(fields.required("features")?, schema).map_err(|e| e.under("features"))?,
        cases_30d: count("cases_30d")?,
        monthly_capacity: count("monthly_capacity")?,
        groups: match fields.optional("groups") {
            None => BTreeMap::new(),
            Some(json) => groups(json).map_err(|e| e.under("groups"))?,
        },
        last_offered_at: match fields.optional("last_offered_at") {
            None => None,
            Some(json) => Some(time(json).map_err(|e| e.under("last_offered_at"))?),
        },
    })
}

fn groups(json: &Json) -> Result<BTreeMap<String, String>, Invalid> {
    let fields = json.object()?;
    if fields.len() > ranking::events::MAX_GROUPS {
        return Err(Invalid::new(
            json,
            format!("up to {} attributes", ranking::events::MAX_GROUPS),
        ));
    }
    let mut groups = BTreeMap::new();
    for (attribute, value) in fields {
        if attribute.is_empty() || attribute.len() > MAX_TEXT {
            return Err(Invalid::new(
                format!("{attribute:.20?}"),
                format!("a name of 1 to {MAX_TEXT} bytes"),
            ));
        }
        if !value.is_null() {
            let group = text(value).map_err(|e| e.under(attribute))?;
            groups.insert(attribute.clone().into_owned(), group.to_owned());
        }
    }
    Ok(groups)
}

fn text<'j>(json: &'j Json) -> Result<&'j str, Invalid> {
    let text = json.string()?;
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(Invalid::new(json, format!("a string of 1 to {MAX_TEXT} bytes")));
    }
    Ok(text)
}

fn uuid(json: &Json) -> Result<Uuid, Invalid> {
    let text = json.string().map_err(|_| Invalid::new(json, "a UUID"))?;
    Uuid::try_parse(text).map_err(|_| Invalid::new(json, "a UUID"))
}

fn time(json: &Json) -> Result<DateTime<Utc>, Invalid> {
    let text = json.string()?;
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| Invalid::new(json, "an RFC 3339 time"))?;
    Ok(time.with_timezone(&Utc))
}
