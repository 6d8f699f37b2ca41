-- Records that the event bus does not have yet, in the order in which they were kept: written with the record itself, and
-- gone once the brokers have it. `owner` is the gateway that sends it, `made_at` milliseconds since 1970. One that the brokers
-- refuse stays, with the reason in `refused`.
CREATE TABLE ltr_bus (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    owner   TEXT NOT NULL,
    id      TEXT NOT NULL,
    case_id TEXT NOT NULL,
    message TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    refused TEXT
);
CREATE INDEX ltr_bus_owner ON ltr_bus (owner, seq) WHERE refused IS NULL;
