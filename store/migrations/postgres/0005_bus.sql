-- Records that the event bus does not have yet, in the order in which they were kept: written with the record itself, and
-- gone once the brokers have it. `owner` is the gateway that sends it. One that the brokers refuse stays, with the reason in
-- `refused`.
CREATE TABLE ltr_bus (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner   UUID NOT NULL,
    id      UUID NOT NULL,
    case_id UUID NOT NULL,
    message TEXT NOT NULL,
    made_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    refused TEXT
);
CREATE INDEX ltr_bus_owner ON ltr_bus (owner, seq) WHERE refused IS NULL;
