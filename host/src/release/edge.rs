//! Offers the filter of what serves to running Envoys, through a directory that they watch
//! (file-based ECDS).
//!
//! Each offer has a place in an order, which the discovery response keeps as its `version_info`:
//! `{state version}.{count}-{what}`. A higher state version replaces a lower one, and never the other
//! way, so that a gateway that lags does not bring back what was replaced; [`Turn`] has the
//! exceptions. Within one state version the latest offer counts: the kill switch turns without a new
//! state, in both directions. The count makes each `version_info` unique.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use regular_file::Links;
use runtime::artefact;
use serde_json::{Value, json};

/// The operator's template: a discovery response. Only the version, the name of the filter's file
/// and the accepted tokens are replaced in it.
const TEMPLATE: &str = "ecds.template.json";
/// The discovery response that Envoys watch.
const DISCOVERY: &str = "ecds.json";
/// Locked during an offer, so that gateways that share the directory take turns.
const LOCK: &str = ".edge.lock";
/// JSON pointer to the name of the filter's file in a discovery response, as Envoy sees it.
const FILENAME: &str = "/resources/0/typed_config/config/vm_config/code/local/filename";
/// JSON pointer to the filter's own configuration, a JSON text.
const CONFIGURATION: &str = "/resources/0/typed_config/config/configuration/value";
/// No configuration is near this size; a larger file is something else.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// For everybody, less the umask: Envoy runs as another user.
const MODE: u32 = 0o666;
/// A hash that no token has.
const NOBODYS_TOKEN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The directory that Envoys watch (`rollout.edge_dir`).
pub struct EdgeDir {
    dir: PathBuf,
    template: Value,
    /// The configuration with which the filter scores nothing.
    scoring_nothing: String,
}

/// The Envoy filter of a model.
#[derive(Clone, Debug)]
pub struct EdgeFilter {
    /// The model's version.
    pub version: String,
    /// The verified bytes of its `edge-filter.wasm`.
    pub wasm: Vec<u8>,
}

/// What Envoys shall do with requests to score, from one state of the rollout on.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The version of the rollout's state.
    pub state_version: u64,
    /// Which offers it may replace.
    pub turn: Turn,
    /// What is offered.
    pub what: Offered,
}

/// Which offers an offer may replace, and which may replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It replaces none of a later state.
    InOrder,
    /// It replaces any, and is replaced by the next one of the state whose offer it replaced: LTR was
    /// stopped on this gateway without a new state.
    First,
    /// It replaces any, and is replaced by a state alone that follows the one whose offer it replaced:
    /// a rollback that is not on record yet becomes such a state.
    Ahead {
        /// The state of the gateway's own former offer of this kind, which need not be made again.
        of: Option<u64>,
    },
    /// It replaces any, and the order begins anew with its state: the record was replaced.
    Anew,
}

impl Offer {
    /// The state that this offer is written under. `place`: the offer in the directory; `is_same`: whether
    /// that one offers the same.
    fn state(&self, place: Option<Place>, is_same: bool) -> u64 {
        let before = place.map_or(0, |place| place.state);
        match self.turn {
            Turn::InOrder | Turn::Anew => self.state_version,
            Turn::First => self.state_version.max(before),
            Turn::Ahead { of: Some(of) } if is_same && before >= of => before,
            Turn::Ahead { .. } => self.state_version.max(before).saturating_add(1),
        }
    }
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, as of this state.
    Written(u64),
    /// The directory offers it already, or there is nothing to offer.
    Same,
    /// An offer of this later state stays.
    Later(u64),
}

/// What is offered to Envoys.
#[derive(Clone, Debug)]
pub enum Offered {
    /// Envoys score with this filter.
    Model(EdgeFilter),
    /// Envoys score nothing: requests to score go upstream. The offered filter stays and goes on
    /// marking and copying.
    Nothing {
        /// Offered if the directory offers no filter yet, so that Envoys can mark and copy requests
        /// before the first promotion. It need not be read while [`EdgeDir::has_filter`].
        spare: Option<EdgeFilter>,
    },
}

impl EdgeDir {
    /// Reads and checks the template, `ecds.template.json`.
    ///
    /// # Errors
    /// A template that cannot be read, or is no discovery response of one filter from a file.
    pub fn open(dir: &Path) -> anyhow::Result<EdgeDir> {
        let path = dir.join(TEMPLATE);
        let template = read_json(&path).context("rollout.edge_dir")?;
        let at = || format!("rollout.edge_dir: {}", path.display());
        let one = template["resources"]
            .as_array()
            .is_some_and(|resources| resources.len() == 1);
        if !one || text_at(&template, FILENAME).is_none() {
            bail!(
                "{}: not exactly one resource with a text at {FILENAME}; needed: a discovery response with one resource, the filter, whose code is a local file",
                at()
            );
        }
        let own = text_at(&template, CONFIGURATION).with_context(|| {
            format!(
                "{}: no text at {CONFIGURATION}; needed: the filter's configuration as JSON in a StringValue",
                at()
            )
        })?;
        let scoring_nothing = scoring_nothing(own).with_context(|| format!("{}: {CONFIGURATION}", at()))?;
        Ok(EdgeDir {
            dir: dir.to_owned(),
            template,
            scoring_nothing,
        })
    }

    /// Whether the directory offers a filter.
    pub fn has_filter(&self) -> bool {
        self.current().filter.is_some()
    }

    /// Offers what `offer` says, unless the directory offers it already, or a later state.
    ///
    /// The filter's file is there before the discovery response names it, and each appears by one
    /// rename. The previous filter's file stays, because an Envoy may be reading it; older ones are
    /// removed. Without any filter, [`Offered::Nothing`] leaves the directory as it is.
    ///
    /// Blocks: it waits for the disk, and for other gateways that write to the directory.
    ///
    /// # Errors
    /// A file that cannot be written, or no filter in the place of one that Envoys are told to load.
    /// Envoys then keep their current filter.
    pub fn offer(&self, offer: &Offer) -> anyhow::Result<Outcome> {
        let _turn = self.lock().context("rollout.edge_dir")?;
        self.offer_in_turn(offer).context("rollout.edge_dir")
    }

    fn offer_in_turn(&self, offer: &Offer) -> anyhow::Result<Outcome> {
        let current = self.current();
        let place = current.place;
        if let (Turn::InOrder, Some(place)) = (offer.turn, place)
            && place.state > offer.state_version
        {
            return Ok(Outcome::Later(place.state));
        }
        let Some(Placed { name, is_new }) = self.place_filter(&offer.what, &current)? else {
            return Ok(Outcome::Same);
        };
        let mut discovery = self.discovery(&name, &offer.what);
        let is_same = place.is_some() && !is_new && current.resources == discovery["resources"];
        let state = offer.state(place, is_same);
        if is_same && place.is_some_and(|place| place.state == state) {
            return Ok(Outcome::Same);
        }
        let before = place.filter(|place| place.state >= state);
        let count = before.map_or(1, |place| place.count.saturating_add(1));
        let what = match &offer.what {
            Offered::Model(filter) => &filter.version,
            Offered::Nothing { .. } => "off",
        };
        let version = format!("{state}.{count}-{what}");
        discovery["version_info"] = version.as_str().into();
        let mut text = serde_json::to_vec_pretty(&discovery)?;
        text.push(b'\n');
        write(&self.dir.join(DISCOVERY), &text)?;
        tracing::info!(version, filter = name, "offered to Envoys");
        // The new filter is offered already, so an old one that cannot be deleted is only a warning.
        if let Err(error) = self.remove_other_filters(&[Some(name), current.filter]) {
            tracing::warn!("rollout.edge_dir: {error:#}; a former filter is left there");
        }
        Ok(Outcome::Written(state))
    }

    /// Waits until no other gateway makes an offer. The turn ends with the file, and with the
    /// process.
    fn lock(&self) -> anyhow::Result<File> {
        let path = self.dir.join(LOCK);
        let options = &mut File::options();
        let locked = regular_file::open_with(options.write(true).create(true), &path, Links::Refuse)
            .and_then(|file| file.lock().map(|()| file));
        locked.with_context(|| format!("locking {}", path.display()))
    }

    /// Puts the filter's file into the directory, if it is not there. `None`: there is no filter, and
    /// no Envoy was told of one.
    fn place_filter(&self, what: &Offered, current: &Current) -> anyhow::Result<Option<Placed>> {
        let spare = match what {
            Offered::Model(filter) => return self.write_filter(filter).map(Some),
            Offered::Nothing { spare } => spare,
        };
        if let Some(name) = &current.filter {
            return Ok(Some(Placed::before(name.clone())));
        }
        if let Some(filter) = spare {
            return self.write_filter(filter).map(Some);
        }
        // Envoys may score with a filter although nobody can read any more which one it is.
        let newest = self.newest_filter()?;
        ensure!(
            newest.is_some() || !current.exists,
            "{} names no filter in the directory, and there is none to put in its place; Envoys may go on scoring; put a filter there",
            self.dir.join(DISCOVERY).display()
        );
        Ok(newest.map(Placed::before))
    }

    fn write_filter(&self, filter: &EdgeFilter) -> anyhow::Result<Placed> {
        let EdgeFilter { version, wasm } = filter;
        ensure!(
            artefact::is_version(version),
            "{version:?} is not an artefact version; allowed: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot"
        );
        let name = format!("edge-filter-{version}.wasm");
        let path = self.dir.join(&name);
        let there = regular_file::read(&path, Links::Refuse, wasm.len() as u64);
        let is_new = !there.is_ok_and(|there| there == *wasm);
        if is_new {
            write(&path, wasm)?;
        }
        Ok(Placed { name, is_new })
    }

    /// The template with this filter. Its `version_info` is still the template's.
    fn discovery(&self, filter: &str, what: &Offered) -> Value {
        let mut discovery = self.template.clone();
        if let Some(filename) = discovery.pointer_mut(FILENAME) {
            let seen_by_envoy = Path::new(filename.as_str().unwrap_or_default()).with_file_name(filter);
            *filename = seen_by_envoy.to_string_lossy().into();
        }
        if let (Offered::Nothing { .. }, Some(own)) = (what, discovery.pointer_mut(CONFIGURATION)) {
            *own = self.scoring_nothing.as_str().into();
        }
        discovery
    }

    /// The offer in the directory. What cannot be read is nobody's offer, and the next one replaces
    /// it.
    fn current(&self) -> Current {
        let path = self.dir.join(DISCOVERY);
        let read = read_json(&path);
        let exists = path.symlink_metadata().is_ok();
        if let (Err(error), true) = (&read, exists) {
            tracing::warn!("rollout.edge_dir: {error:#}; the next offer replaces the file");
        }
        let mut discovery = read.unwrap_or_default();
        Current {
            exists,
            place: discovery["version_info"].as_str().and_then(Place::parse),
            filter: text_at(&discovery, FILENAME)
                .and_then(|filename| Path::new(filename).file_name()?.to_str())
                .filter(|name| name.ends_with(".wasm") && self.has_file(name))
                .map(str::to_owned),
            resources: discovery.get_mut("resources").map(Value::take).unwrap_or_default(),
        }
    }

    /// Whether this is a regular file in the directory.
    fn has_file(&self, name: &str) -> bool {
        regular_file::open(&self.dir.join(name), Links::Follow).is_ok()
    }

    /// The filter whose file changed last.
    fn newest_filter(&self) -> anyhow::Result<Option<String>> {
        let filters = self.filters()?.into_iter().filter(|name| self.has_file(name));
        let changed = |name: &String| self.dir.join(name).metadata().and_then(|file| file.modified()).ok();
        Ok(filters.max_by_key(|name| (changed(name), name.clone())))
    }

    /// Removes all filters but these.
    fn remove_other_filters(&self, kept: &[Option<String>]) -> anyhow::Result<()> {
        for name in self.filters()? {
            if !kept.iter().flatten().any(|kept| *kept == name) {
                let path = self.dir.join(&name);
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The names of all filters' files.
    fn filters(&self) -> anyhow::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir).and_then(|entries| {
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<io::Result<Vec<String>>>()
        });
        let mut names = names.with_context(|| format!("reading {}", self.dir.display()))?;
        names.retain(|name| name.starts_with("edge-filter-") && name.ends_with(".wasm"));
        Ok(names)
    }
}

/// A filter's file in the directory.
struct Placed {
    name: String,
    /// Whether it was just written.
    is_new: bool,
}

impl Placed {
    /// A file that was there before.
    fn before(name: String) -> Placed {
        Placed { name, is_new: false }
    }
}

/// What the directory offers.
struct Current {
    /// Whether there is a discovery response, however unreadable.
    exists: bool,
    /// `None`: nobody's, or an operator's.
    place: Option<Place>,
    /// Null if the discovery response cannot be read.
    resources: Value,
    /// The name of the filter's file, if it is in the directory.
    filter: Option<String>,
}

/// An offer's place in the order.
#[derive(Clone, Copy)]
struct Place {
    state: u64,
    /// The number of the offer among those of the state.
    count: u64,
}

impl Place {
    /// `{state version}.{count}-{what}`.
    fn parse(version_info: &str) -> Option<Place> {
        let (numbers, _) = version_info.split_once('-')?;
        let (state, count) = numbers.split_once('.')?;
        Some(Place {
            state: state.parse().ok()?,
            count: count.parse().ok()?,
        })
    }
}

/// The filter's configuration, changed so that requests to score go upstream: nobody shows a token
/// with the one hash that is accepted.
///
/// Removing the mode `score` would not do. A configuration needs a route, and the first route that
/// matches applies: without its route, a request to score could match a later one and be copied.
/// A key of its own would be refused by filters of earlier releases, which would go on scoring.
fn scoring_nothing(own: &str) -> anyhow::Result<String> {
    let mut own: Value = serde_json::from_str(own)?;
    let Some(fields) = own.as_object_mut() else {
        bail!("{own} is no filter's configuration; allowed: an object");
    };
    match fields.get_mut("score") {
        None | Some(Value::Null) => {}
        Some(Value::Object(score)) => {
            score.insert("tokens_sha256".to_owned(), json!([NOBODYS_TOKEN]));
        }
        Some(other) => bail!("score is {other}; allowed: an object"),
    }
    Ok(own.to_string())
}

fn text_at<'a>(json: &'a Value, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer)?.as_str()
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let reading = || format!("reading {}", path.display());
    let bytes = regular_file::read(path, Links::Follow, MAX_JSON_BYTES).with_context(reading)?;
    // Windows editors may write a byte order mark.
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(json).with_context(reading)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    regular_file::replace(path, bytes, MODE).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests;
