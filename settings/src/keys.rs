//! Every key: what it means and what it takes. Errors, `--print-config` and the range checks all read this table.

use std::fmt;

/// What a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// An integer from the first to the second, both included.
    Whole(i64, i64),
    /// A number from the first to the second, both included.
    Number(f64, f64),
    /// A number between the two, neither included.
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    Flag,
    /// Text that is not empty.
    Text(&'static str),
    /// Said in words; `validate` has the code.
    Words(&'static str),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Whole(least, most) => write!(f, "an integer, {least} to {most}"),
            Rule::Number(least, most) => write!(f, "a number, {least} to {most}"),
            Rule::Between(above, below) => {
                write!(f, "a number above {above} and below {below}")
            }
            Rule::OneOf(names) => write!(f, "{}", names.join(" or ")),
            Rule::Flag => write!(f, "true or false"),
            Rule::Text(what) | Rule::Words(what) => write!(f, "{what}"),
        }
    }
}

pub(crate) struct Key {
    pub name: &'static str,
    pub about: &'static str,
    pub rule: Rule,
}

pub(crate) struct Section {
    /// As in `[name]`.
    pub name: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
}

const fn key(name: &'static str, about: &'static str, rule: Rule) -> Key {
    Key { name, about, rule }
}

use Rule::{Between, Flag, Number, OneOf, Text, Whole, Words};

/// Sections whose keys the user names.
pub(crate) const PRESETS: &str = "ranking.presets";
pub(crate) const PARAMS: &str = "train.params";
pub(crate) const ACCESS_TOKENS: &str = "access.tokens";
pub(crate) const CLIENT_TOKEN: &str = "client.token";
/// A section, one key of which is a secret.
pub(crate) const TELEMETRY: &str = "telemetry.";
pub(crate) const SENTRY_DSN: &str = "telemetry.sentry_dsn";
pub(crate) const DATABASE_URL: &str = "database.url";
pub(crate) const DATABASE_CA_FILE: &str = "database.ca_file";
pub(crate) const ACCESS_EDGES: &str = "access.edges";
/// In `privacy`: keys that older files lack, whose default is for new ones.
pub(crate) const PSEUDONYMISE_EVENTS: &str = "pseudonymise_events";
pub(crate) const GROUPS_WITHOUT_CONSENT: &str = "groups_without_consent";
pub(crate) const REDIS_URL: &str = "flags.redis_url";

const SHARE: Rule = Number(0.0, 1.0);
const HOURS: Rule = Whole(1, 8760);
const RESAMPLES: Rule = Whole(100, 100_000);
const CONFIDENCE: Rule = Between(0.5, 1.0);
const SEED: Rule = Whole(0, i64::MAX);
const ROWS: Rule = Whole(1, 1_000_000_000);
const MILLISECONDS: Rule = Between(0.0, 60_000.0);
/// In milliseconds; one that is too short would cut off honest clients.
const TIMEOUT: Rule = Whole(100, 3_600_000);
const PATH: Rule = Text("a path, absolute or from the working directory");
const SALT: Rule = Text("text that no other sampler uses");
const REDIS_KEY: Rule = Text("the name of a key");

/// In the order they are printed; a section comes before its sub-sections, as TOML wants it.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "ranking",
        about: "What a lawyer is ranked by.",
        keys: &[
            key(
                "features",
                "Feature names, in the order of every row.",
                Words("a list of 1 to 4096 different names"),
            ),
            key(
                "default_preset",
                "The preset of a request that names none.",
                Words("the name of a table under ranking.presets"),
            ),
        ],
    },
    Section {
        name: "ranking.fairness",
        about: "The fairness re-rank, of legacy and LTR alike.",
        keys: &[
            key(
                "elite_floor",
                "The elite reaches at least this far below the best score.",
                SHARE,
            ),
            key(
                "elite_share",
                "The elite reaches this share of the best score below it, if that is further.",
                SHARE,
            ),
            key("score_weight", "Weight of the score inside the elite.", SHARE),
            key("equity_weight", "Weight of free capacity inside the elite.", SHARE),
            key("equity_floor", "Equity of a lawyer at or over capacity.", SHARE),
            key("lambda", "What a lawyer of an under-represented group gains.", SHARE),
            key(
                "tau",
                "A group with less than this share of the elite is under-represented.",
                SHARE,
            ),
        ],
    },
    Section {
        name: PRESETS,
        about: "Legacy weights by preset: one a feature, 0 leaves it out; normalised to sum 1.\n\
                A file that has any preset replaces them all.",
        keys: &[],
    },
    Section {
        name: "labels",
        about: "Attribution windows: how long after an impression an action still counts.",
        keys: &[
            key("click_hours", "Profile opened.", HOURS),
            key("contact_hours", "Chat or call started.", HOURS),
            key("contract_hours", "Contract signed.", HOURS),
        ],
    },
    Section {
        name: "events",
        about: "What /events takes.",
        keys: &[
            key(
                "max_ahead_seconds",
                "How far an event's time may lie after the gateway's; 422 beyond; 0 is no limit, for replays.",
                Whole(0, 31_536_000),
            ),
            key(
                "max_age_hours",
                "How far an event's time may lie before the gateway's; 422 beyond; 0 is no limit, for replays.",
                Whole(0, 1_000_000),
            ),
        ],
    },
    Section {
        name: "database",
        about: "Events, shadow log and rollout.",
        keys: &[
            key(
                "url",
                "Where they are stored; a SQLite file is made where it is absent. A password in it is secret.",
                Words("sqlite://PATH or postgres://USER[:PASSWORD]@HOST[:PORT]/DB"),
            ),
            key(
                "ca_file",
                "Authorities (PEM) by which a PostgreSQL server must show that it is the host in the URL, beside the system's; the connection is encrypted then. Empty: encrypted if the server offers it, by whoever answers.",
                Words("empty, or a path; only with a postgres:// URL"),
            ),
            key(
                "max_connections",
                "Most connections that a program keeps open: one writes, one is for the rollout, the others read. 2 counts as 3.",
                Whole(2, 1000),
            ),
            key(
                "timeout_ms",
                "How long a call waits for the database, which then counts as unavailable.",
                Whole(100, 600_000),
            ),
            key(
                "spool_dir",
                "Where the gateway keeps what it takes while the database is unavailable; its own, on a local disk.",
                PATH,
            ),
            key(
                "spool_mb",
                "Most that is kept there, in MiB; beyond, /events answers 503.",
                Whole(1, 1_000_000),
            ),
            key(
                "rank_waits",
                "Whether /rank answers when its records are on disk, as long as its deadline allows, instead of at once: a crash of the machine then takes no impression with it.",
                Flag,
            ),
        ],
    },
    Section {
        name: "models",
        about: "Published models.",
        keys: &[
            key(
                "dir",
                "Artefacts lie in ltr/{version}/ below this directory; a version is named by its time, YYYYMMDDTHHMMSSZ, and any other name counts as older.",
                PATH,
            ),
            key(
                "source",
                "Where else they are published, in ltr/{version}/ below it; a version comes from there to models.dir, this gateway's own then. Credentials, region and endpoint of S3: AWS_* in the environment.",
                Words("empty, or s3://BUCKET[/PREFIX], or file:///PATH"),
            ),
            key(
                "max_download_mb",
                "Largest version that is taken from there, all its files together, in MiB.",
                Whole(1, 65_536),
            ),
            key("download_seconds", "How long that may take.", Whole(1, 3_600)),
            key(
                "trusted_keys",
                "Directory of the public keys that may sign models: NAME.pub is trusted, NAME.revoked no longer; read at each load and on SIGHUP. A revocation that cannot be read counts for the key of its name.",
                PATH,
            ),
            key(
                "allow_unsigned",
                "Development only: load models that nobody signed. Warns at every load; metric ltr_unsigned_models_allowed.",
                Flag,
            ),
            key(
                "max_component_mb",
                "Largest component that is loaded, in MiB.",
                Whole(1, 1024),
            ),
            key(
                "max_memory_mb",
                "Most memory an instance of a component may have, in MiB.",
                Whole(1, 4096),
            ),
            key(
                "warm_instances",
                "Instances of a component that are ready before it serves; more are made under load.",
                Whole(1, 8),
            ),
            key(
                "poll_seconds",
                "How often the directory and the source are searched for a newer model, beside POST /models/notify; 0 never.",
                Whole(0, 86_400),
            ),
            key(
                "code_cache_dir",
                "Compiled models are kept here, for this host alone (mode 700); empty compiles them at every start.",
                Words("empty, or a path, absolute or from the working directory"),
            ),
            key(
                "code_cache_mb",
                "Most that is kept there, in MiB; the oldest goes first.",
                Whole(1, 65_536),
            ),
        ],
    },
    Section {
        name: "host",
        about: "The gateway.",
        keys: &[
            key(
                "listen",
                "Address it serves on; port 0 takes a free one.",
                Words("IP:PORT, as 127.0.0.1:8080; a loopback IP while access.tokens is empty"),
            ),
            key(
                "admin_listen",
                "Address of /rollout, /models and /metrics, for operators alone; empty serves them on host.listen. On loopback it speaks plain HTTP, whatever [tls] says.",
                Words("empty, or another IP:PORT; a loopback IP while access.tokens is empty"),
            ),
            key(
                "deadline_ms",
                "Within this /rank answers, whatever the model does.",
                Whole(1, 60_000),
            ),
            key(
                "ltr_budget_ms",
                "How much of the deadline the model may use; then legacy answers.",
                Words("an integer, 1 to 60000, below host.deadline_ms"),
            ),
            key(
                "max_connections",
                "Open connections; one more is answered 429 and closed.",
                Whole(1, 1_000_000),
            ),
            key("max_headers", "Headers of a request; 431 beyond.", Whole(8, 100)),
            key(
                "max_header_bytes",
                "Names and values of a request's headers together; 431 beyond.",
                Whole(512, 1 << 18),
            ),
            key(
                "max_body_bytes",
                "Largest request body; 413 beyond.",
                Whole(1024, 1 << 30),
            ),
            key(
                "max_body_total_mb",
                "Most that all request bodies above 64 KiB hold together, in MiB; 503 with Retry-After beyond. Bodies above 256 KiB may hold three quarters of it.",
                Words("an integer, 2 to 1000000, at least one and a third times host.max_body_bytes"),
            ),
            key(
                "max_json_depth",
                "How deep arrays and objects of a body may nest; 400 beyond.",
                Whole(8, 126),
            ),
            key(
                "max_lawyers",
                "Most lawyers in one /rank; 422 beyond.",
                Whole(1, 10_000),
            ),
            key(
                "max_rows",
                "Most rows in one /ltr/score; 422 beyond.",
                Whole(1, 10_000_000),
            ),
            key(
                "header_timeout_ms",
                "How long a connection may take to bring the head of its next request; closed then. An idle one is closed by it too.",
                TIMEOUT,
            ),
            key(
                "body_timeout_ms",
                "How long a request's body may take to arrive; 408 then.",
                TIMEOUT,
            ),
            key(
                "request_timeout_ms",
                "How long a request may take in all, its body included; 503 then.",
                TIMEOUT,
            ),
            key(
                "write_timeout_ms",
                "How long a client may take nothing of its answer; closed then.",
                TIMEOUT,
            ),
            key(
                "drain_delay_ms",
                "How long after SIGTERM requests are still taken, while /readyz says draining: longer than a load balancer takes to notice, as 5000 in Kubernetes.",
                Whole(0, 600_000),
            ),
            key(
                "drain_timeout_ms",
                "How long requests may then take to finish; cut off after it.",
                TIMEOUT,
            ),
            key(
                "rate_per_second",
                "Requests a second of one client, by token or else by address; 429 beyond; 0 is no limit.",
                Whole(0, 1_000_000),
            ),
            key(
                "rate_burst",
                "Requests that a client may send at once before host.rate_per_second counts.",
                Whole(1, 1_000_000),
            ),
            key(
                "clock",
                "Where \"now\" comes from; header (X-LTR-Time) is for simulations and replays only.",
                OneOf(&["system", "header"]),
            ),
        ],
    },
    Section {
        name: "tls",
        about: "Certificates (PEM); read again on SIGHUP, for new connections. All empty: plain HTTP.",
        keys: &[
            key(
                "cert_file",
                "The gateway's certificate and those between it and the authority.",
                Words("empty, or a path; together with tls.key_file"),
            ),
            key(
                "key_file",
                "Its private key.",
                Words("empty, or a path; together with tls.cert_file"),
            ),
            key(
                "client_ca_file",
                "Authorities of clients; where set, a client without a certificate of theirs is not served.",
                Words("empty, or a path; only with tls.cert_file"),
            ),
        ],
    },
    Section {
        name: "log",
        about: "The gateway's log, on standard error. It names no user, case or lawyer.",
        keys: &[
            key(
                "format",
                "text is for people, coloured on a terminal; json is one object a line, with timestamp, level, target, message, fields, and request_id while a request is served.",
                OneOf(&["text", "json"]),
            ),
            key(
                "level",
                "What is not worse is left out; the environment variable RUST_LOG, where set, decides instead, as RUST_LOG=warn,ltr_host=debug.",
                OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
            ),
            key(
                "requests",
                "One line for each request: method, route, status, milliseconds.",
                Flag,
            ),
        ],
    },
    Section {
        name: "telemetry",
        about: "Where traces and reports of errors go. What cannot be delivered is dropped (ltr_telemetry_lost_total).",
        keys: &[
            key(
                "otlp_endpoint",
                "An OpenTelemetry collector that gets the spans of requests by OTLP over HTTP, at /v1/traces below it; empty exports none.",
                Words("empty, or http://HOST[:PORT][/PATH] or https://..."),
            ),
            key(
                "trace_ratio",
                "Share of the requests that are traced where the caller's traceparent does not decide.",
                SHARE,
            ),
            key(
                "sentry_dsn",
                "Where errors and panics are reported, without users, cases, lawyers, bodies, headers and addresses; empty reports none. Secret.",
                Words("empty, or http[s]://KEY@HOST[:PORT]/PROJECT"),
            ),
        ],
    },
    Section {
        name: "access",
        about: "Who may call the gateway, and who of them is an edge. While there is no token, /rank, /ltr/score, /events and /models/notify are\n\
                open to programs on this machine (host.listen and the Host of a request must be loopback, bodies JSON or Arrow),\n\
                and changes of the rollout are refused.",
        keys: &[
            key(
                "tokens",
                "Bearer tokens by their hashes; `ltr-host token` makes a token and its entry. Roles: ingest (/events), rank (/rank, /ltr/score), admin (/rollout's changes, /models/notify).",
                Words(
                    "a list of { name = \"NAME\", roles = [\"ingest\", \"rank\", \"admin\"], sha256 = \"64 hexadecimal digits\" }, each name and hash once",
                ),
            ),
            key(
                "edges",
                "The Envoys that mark and copy requests: comparisons that they ask for are told from those that strangers ask for.",
                Words("a list of names of access.tokens, of IP addresses and of networks, as 10.0.0.0/8"),
            ),
        ],
    },
    Section {
        name: "client",
        about: "How ltr-trainer (simulate, publish) and ltr-host rollout call a gateway.",
        keys: &[
            key(
                "token",
                "The bearer token they show: simulate needs the roles ingest and rank, the others admin. Secret.",
                Words("empty, or 16 to 256 printable ASCII characters without spaces"),
            ),
            key(
                "ca_file",
                "Authorities (PEM) that they trust a gateway by which speaks https; empty: the system's.",
                Words("empty, or a path"),
            ),
        ],
    },
    Section {
        name: "shadow",
        about: "Which requests the challenger scores unseen.",
        keys: &[
            key("fraction", "Share of the requests.", SHARE),
            key("salt", "Salt of the sampling hash.", SALT),
        ],
    },
    Section {
        name: "flags",
        about: "The operator's switches. In a Redis they are the whole fleet's: `ltr-host flags`. While it is away, its last word counts.",
        keys: &[
            key(
                "kill_switch",
                "Legacy alone answers: no model serves or is compared, whatever Redis says.",
                Words(crate::flags::SWITCH_WORDS),
            ),
            key(
                "redis_url",
                "The Redis that holds the fleet's kill switch and shadow fraction; empty: none. A password in it is secret.",
                Words("empty, or redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], with TLS rediss://"),
            ),
            key("poll_ms", "How often it is asked.", Whole(50, 60_000)),
            key(
                "kill_switch_key",
                "Key of on (or true, yes, 1, stop) or off (or false, no, 0), in any case. It is off until it is turned on, and on until it is turned off, even if its value is lost. Any other value counts as on.",
                REDIS_KEY,
            ),
            key(
                "shadow_fraction_key",
                "Key of a number, 0 to 1; without a value shadow.fraction counts. Of another value the last number stays, and without one nothing is compared.",
                REDIS_KEY,
            ),
            key(
                "file",
                "Keeps Redis's last word for a start while it is away; this gateway's own.",
                PATH,
            ),
        ],
    },
    Section {
        name: "privacy",
        about: "What is kept of persons.",
        keys: &[
            key(
                "salt_file",
                "The secret salt of pseudonyms; made at the first start. All programs on one database have the same.",
                PATH,
            ),
            key(
                PSEUDONYMISE_EVENTS,
                "Whether match_events and the spool have users' pseudonyms instead of their ids, as the shadow log has. A file that does not say it is taken for an older one: false.",
                Flag,
            ),
            key(
                GROUPS_WITHOUT_CONSENT,
                "Whether a lawyer's groups are kept, for the fair gap, where groups_consented_at does not say when the lawyer agreed. The re-rank uses them in any case. A file that does not say it is taken for an older one: true.",
                Flag,
            ),
        ],
    },
    Section {
        name: "rollout",
        about: "Which requests the champion serves.",
        keys: &[key("salt", "Salt of the sampling hash.", SALT)],
    },
    Section {
        name: "rollout.criteria",
        about: "What the shadow evidence must show before a promotion.",
        keys: &[
            key(
                "min_days",
                "Days between the first and the last case; this or min_cases is enough.",
                Number(0.0, 3650.0),
            ),
            key("min_cases", "Cases compared.", Whole(1, 1_000_000_000)),
            key(
                "hit3_gain",
                "Least gain in Hit@3 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key("confidence", "Level of the intervals.", CONFIDENCE),
            key(
                "fair_gap_worsening",
                "Most that the fair gap may exceed legacy's.",
                SHARE,
            ),
            key(
                "latency_p95_ms",
                "The 95th percentile of scoring lies below this.",
                MILLISECONDS,
            ),
            key("resamples", "Bootstrap draws.", RESAMPLES),
            key("seed", "Seed of the bootstrap.", SEED),
            key(
                "fair_min_rows",
                "Groups with fewer rows are left out of the fair gap.",
                ROWS,
            ),
        ],
    },
    Section {
        name: "lake",
        about: "Training data.",
        keys: &[key("dir", "Where matrices are written.", PATH)],
    },
    Section {
        name: "train",
        about: "Training; the cases are split by time.",
        keys: &[
            key(
                "objective",
                "What the published model is trained to do: lambdarank (LambdaMART, pairs of lawyers), rank_xendcg (whole\n\
                 cases) or regression (the label of each lawyer alone). evaluate judges the others beside it.",
                OneOf(&["lambdarank", "rank_xendcg", "regression"]),
            ),
            key("max_rounds", "Most boosting rounds.", Whole(1, 100_000)),
            key(
                "valid_fraction",
                "Share of the cases, after training's, that early stopping watches.",
                Between(0.0, 1.0),
            ),
            key(
                "test_fraction",
                "Share of the newest cases, that only evaluation sees.",
                Between(0.0, 1.0),
            ),
            key(
                "position_bias",
                "Model examination bias with LightGBM's position field (lambdarank only), and stop the training by clicks\n\
                 that are weighted by how often their position is looked at.",
                Flag,
            ),
        ],
    },
    Section {
        name: PARAMS,
        about: "LightGBM's parameters, under LightGBM's names: numbers, text, true or false, or lists of these.\n\
                A file adds to these and overrides them one by one.",
        keys: &[],
    },
    Section {
        name: "evaluate",
        about: "Offline evaluation.",
        keys: &[
            key("resamples", "Bootstrap draws.", RESAMPLES),
            key("confidence", "Level of the intervals.", CONFIDENCE),
            key("seed", "Seed of the bootstrap.", SEED),
            key(
                "mrr_min_grade",
                "Least grade that MRR counts: 1 click, 2 contact, 3 contract.",
                Whole(1, 3),
            ),
            key(
                "fair_min_rows",
                "Groups with fewer rows are left out of the fair gap.",
                ROWS,
            ),
            key(
                "latency_calls",
                "Scorer calls that latency is taken over.",
                Whole(20, 1_000_000),
            ),
            key("latency_rows", "Lawyers in each of those calls.", Whole(1, 10_000)),
        ],
    },
    Section {
        name: "gate",
        about: "What a model must reach offline to be published.",
        keys: &[
            key(
                "ndcg5_gain",
                "Least gain in nDCG@5 over legacy, as a share.",
                Number(-1.0, 1.0),
            ),
            key(
                "mrr5_gain",
                "The gain in MRR@5 over legacy lies above this.",
                Number(-1.0, 1.0),
            ),
            key("fair_gap", "Largest fair gap.", SHARE),
            key(
                "latency_p95_ms",
                "The 95th percentile of scoring lies below this.",
                MILLISECONDS,
            ),
        ],
    },
    Section {
        name: "publish",
        about: "Publication.",
        keys: &[
            key(
                "signing_key",
                "Private key (64 hex characters) that signs the manifest.",
                PATH,
            ),
            key(
                "notify_url",
                "Called after a publication; empty calls nobody.",
                Words("empty, or http[s]://HOST[:PORT]/PATH"),
            ),
            key(
                "edge_dir",
                "Directory that Envoys watch: a publication writes the filter and ecds.json there, made of ecds.template.json; empty: none.",
                Words("a path, or empty"),
            ),
        ],
    },
];

/// The rule of a `section.key`.
pub(crate) fn rule(key: &str) -> Option<Rule> {
    let (section, name) = key.rsplit_once('.')?;
    let section = SECTIONS.iter().find(|s| s.name == section)?;
    let key = section.keys.iter().find(|k| k.name == name)?;
    Some(key.rule)
}

/// The names that may stand in a section ("" is the whole file): its keys, then its sub-sections.
pub(crate) fn names_in(section: &str) -> Vec<&'static str> {
    let keys = SECTIONS.iter().filter(|s| s.name == section).flat_map(|s| s.keys);
    keys.map(|k| k.name).chain(sub_sections(section)).collect()
}

/// The names of a section's sub-sections.
pub(crate) fn sub_sections(section: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().filter_map(move |s| match s.name.rsplit_once('.') {
        Some((parent, name)) if parent == section => Some(name),
        None if section.is_empty() => Some(s.name),
        _ => None,
    })
}
