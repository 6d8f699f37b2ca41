"""Lakes of made-up events, for the tests: rows of the raw tables with everything that makes labels hard.

The generator says what happened; it knows no rule of attribution. Ties in time are frequent, because all times come
from a few.
"""

import json
import random
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ltr_lake import RECORDS, TIME, RawFile
from ltr_rules import EPOCH, MICROS_A_DAY, MICROS_AN_HOUR, Rules

FIRST = date(2026, 10, 1)
# The last two are behind lake.case_days of the first ones.
DAYS = [0, 1, 2, 35, 36]
AS_OF = datetime(2026, 11, 9, 8, tzinfo=UTC)
# Names that SQL has to quote, and two that differ by case alone.
FEATURES = ["price", "Price", "area match", 'a.b`c"d']
LAWYERS = ["a", "b", "c", "d", "ç", "z z"]
WINDOWS = {"click_profile": 24, "contact_made": 72, "contract_signed": 168}

TEXT = pa.string()
EVENT = [("event_id", TEXT), ("ts_utc", TIME), ("case_id", TEXT), ("user_id", TEXT), ("salt_id", TEXT)]
SCHEMAS = {
    "impressions": [
        *EVENT,
        ("request_id", TEXT),
        ("source", TEXT),
        ("model_version", TEXT),
        ("origin", TEXT),
        ("policy", TEXT),
        ("lawyers", pa.int32()),
        ("weights_used", TEXT),
        ("details", TEXT),
    ],
    "impression_lawyers": [
        ("event_id", TEXT),
        ("ts_utc", TIME),
        ("case_id", TEXT),
        ("position", pa.int32()),
        ("lawyer_id", TEXT),
        *[(name, pa.float64()) for name in FEATURES],
        ("legacy_score", pa.float64()),
        ("groups", TEXT),
        ("cases_30d", pa.int64()),
        ("monthly_capacity", pa.int64()),
        ("last_offered_at", TIME),
        ("groups_consented_at", TIME),
    ],
    "actions": [
        *EVENT,
        ("event", TEXT),
        ("lawyer_id", TEXT),
        ("rank_pos", pa.int64()),
        ("request_id", TEXT),
        ("unbound", pa.bool_()),
        ("details", TEXT),
    ],
}


# Without the columns that no test needs.
COMPARISONS = [*EVENT, ("request_id", TEXT), ("outcome", TEXT), ("lawyer_id", TEXT), ("rank_legacy", pa.int32())]


class Events:
    """What happened on a small marketplace, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cases = [self.id() for _ in range(60)]
        self.users = [self.id() for _ in range(2)]
        self.salts = [None, None, self.id(), self.id()]
        self.requests = [self.id() for _ in range(3)]
        self.impressions: list[dict] = []
        self.actions: list[dict] = []
        for _ in range(160):
            self.show()
        for _ in range(400):
            self.act()

    def id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def one(self, options: list):
        return self.random.choice(options)

    def show(self) -> None:
        """An impression; one of four repeats an earlier one under another id."""
        if self.impressions and self.random.random() < 0.25:
            again = dict(self.one(self.impressions), event_id=self.id())
            again["ts_us"] += self.one([0, 1, MICROS_AN_HOUR])
            self.impressions.append(again)
            return
        day = (FIRST - EPOCH.date()).days + self.one(DAYS)
        hour = self.one([0, 0, 9, 9, self.random.randrange(24)])
        self.impressions.append(
            {
                "event_id": self.id(),
                "ts_us": day * MICROS_A_DAY + hour * MICROS_AN_HOUR,
                "case_id": self.one(self.cases),
                "user_id": self.one(self.users),
                "salt_id": self.one(self.salts),
                "request_id": self.one(self.requests),
                "source": self.one(["legacy", "ltr"]),
                "origin": self.one(["gateway", "client"]),
                "shown": self.random.sample(LAWYERS, self.random.randint(1, len(LAWYERS))),
                "values": self.random.random(),
            }
        )

    def act(self) -> None:
        """An action that follows an impression, as it should be or with one thing that is not."""
        seen = self.one(self.impressions)
        at = self.random.randrange(len(seen["shown"]))
        event = self.one(list(WINDOWS))
        window = WINDOWS[event] * MICROS_AN_HOUR
        action = {
            "event_id": self.id(),
            "ts_us": seen["ts_us"] + self.one([0, 1, MICROS_AN_HOUR, window - 1]),
            "case_id": seen["case_id"],
            "user_id": seen["user_id"],
            "salt_id": seen["salt_id"],
            "event": event,
            "lawyer_id": seen["shown"][at],
            "rank_pos": at + 1,
            "request_id": self.one([None, seen["request_id"]]),
            "unbound": self.one([None, False, True]),
        }
        wrong = {
            "ts_us": [seen["ts_us"] + window, seen["ts_us"] - 1, seen["ts_us"] - 30 * MICROS_AN_HOUR],
            "case_id": [self.id(), self.one(self.cases)],
            "user_id": [self.id()],
            "salt_id": self.salts,
            "lawyer_id": [*LAWYERS, "nobody"],
            "rank_pos": [1, 2, 7, 1 << 40],
            "request_id": self.requests,
            "event": ["something_new"],
        }
        if self.random.random() < 0.5:
            name = self.one(list(wrong))
            action[name] = self.one(wrong[name])
        self.actions.append(action)


def write(lake: Path, seed: int) -> None:
    """Writes the events of a seed as the files of a lake: several a day, some of them replaced, older ones narrower."""
    events = Events(seed)
    actions = [dict(action, details="{}") for action in events.actions]
    impressions = [dict(IMPRESSION, **shown, lawyers=len(shown["shown"])) for shown in events.impressions]
    for table, rows in (("impressions", impressions), ("actions", actions), ("impression_lawyers", impressions)):
        days: dict[date, list[dict]] = {}
        for row in rows:
            days.setdefault(date.fromordinal(EPOCH.toordinal() + row["ts_us"] // MICROS_A_DAY), []).append(row)
        for day, some in sorted(days.items()):
            events.random.shuffle(some)
            _write_day(lake, table, day, some, events.random)


IMPRESSION = {"model_version": None, "policy": None, "weights_used": "{}", "details": "{}"}


def add_comparisons(lake: Path, day: date) -> int:
    """Adds two files of comparisons, one of them without lawyers. Returns their rows."""
    common = {name: "3" for name, type_ in COMPARISONS if type_ == TEXT}
    common["ts_us"] = (day - EPOCH.date()).days * MICROS_A_DAY
    lawyers = [{**common, "lawyer_id": lawyer, "rank_legacy": at} for at, lawyer in enumerate(LAWYERS, start=1)]
    nobody = {**common, "lawyer_id": None, "rank_legacy": None}
    for file, rows in ((RawFile("comparisons", day, 0, 2), lawyers * 2), (RawFile("comparisons", day, 2, 3), [nobody])):
        _write_file(lake, file, rows, pa.schema(COMPARISONS))
    return 2 * len(lawyers) + 1


def _write_day(lake: Path, table: str, day: date, rows: list[dict], chance: random.Random) -> None:
    cuts = sorted({0, len(rows), *(chance.randint(0, len(rows)) for _ in range(2))})
    files = [RawFile(table, day, start, end) for start, end in zip(cuts, cuts[1:])]
    if len(files) > 2:
        # The first two were put into one. On some days the second came too late, with what the third has, too.
        files.append(RawFile(table, day, cuts[0], cuts[2], is_merged=True))
        files[1] = files[1]._replace(end=chance.choice(cuts[2:]))
    # A former program knew nothing of these.
    unknown = {"impression_lawyers": FEATURES[-1:], "actions": ["unbound", "request_id"]} if day == FIRST else {}
    fields = [(name, type_) for name, type_ in SCHEMAS[table] if name not in unknown.get(table, [])]
    for file in files:
        _write_file(lake, file, rows[file.start : file.end], pa.schema(fields))


def _write_file(lake: Path, file: RawFile, records: list[dict], schema: pa.Schema) -> None:
    """The rows of some records as a file."""
    if file.table == "impression_lawyers":
        records = [lawyer for shown in records for lawyer in _lawyers(shown)]
    named = [{**row, "ts_utc": row["ts_us"]} for row in records]
    path = lake / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(named, schema=schema))
        writer.add_key_value_metadata({RECORDS: str(file.end - file.start)})


def _lawyers(shown: dict) -> list[dict]:
    """A row for each lawyer. Some values are missing; they follow from the impression, not from its file."""
    value = shown["values"]
    return [
        {
            **{name: shown[name] for name in ("event_id", "ts_us", "case_id")},
            "position": at + 1,
            "lawyer_id": lawyer,
            **{name: None if (at + nth) % 3 == 2 else value / (at + nth + 1) for nth, name in enumerate(FEATURES)},
            "legacy_score": None if value < 0.1 else value / (at + 1),
            "groups": '{"gênero": "f"}' if at % 2 else "{}",
            "cases_30d": None if value < 0.3 else at,
            "monthly_capacity": None if value < 0.3 else 10 + at,
            "last_offered_at": None if at % 3 else shown["ts_us"] - at * 1_000_003,
            "groups_consented_at": None,
        }
        for at, lawyer in enumerate(shown["shown"])
    ]


def configuration(rules: Rules) -> str:
    """The trainer's configuration for such a lake and these rules."""
    features = ", ".join(_toml(name) for name in FEATURES)
    weights = "\n".join(f"{_toml(name)} = 1.0" for name in FEATURES)
    labels = "\n".join(f"{name} = {json.dumps(value)}" for name, value in vars(rules).items() if name != "case_days")
    return (
        f'[ranking]\nfeatures = [{features}]\ndefault_preset = "even"\n\n[ranking.presets.even]\n{weights}\n\n'
        f"[labels]\n{labels}\n\n[lake]\ncase_days = {rules.case_days}\n"
    )


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
