-- +goose Up
-- What supervisors read, recorded before it is answered: no record, no answer. A chain: each row's hash covers the row
-- before, so that none can be taken out later without a trace.
CREATE TABLE app.reads (
    seq     bigint      PRIMARY KEY CHECK (seq > 0),
    at      timestamptz NOT NULL,
    member  text        NOT NULL,
    person  text        NOT NULL, -- '' for a machine
    what    text        NOT NULL, -- operation and parameters
    reason  text        NOT NULL,
    prev    text        NOT NULL,
    hash    text        NOT NULL UNIQUE
);

-- +goose Down
DROP TABLE app.reads;
