-- +goose Up
-- Openings of private values, by what the ledger holds of them. They are durable here before the entry is written, and
-- deletable: an erasure on the ledger says that a row was destroyed. Only the audience, the venue and regulators read.
CREATE TABLE app.openings (
    commitment text  PRIMARY KEY CHECK (commitment ~ '^[0-9a-f]{64}$'),
    tag        text  NOT NULL,
    salt       bytea NOT NULL CHECK (length(salt) = 32),
    value      bytea NOT NULL,
    audience   text[] NOT NULL,
    command    text  NOT NULL CHECK (command ~ '^[0-9a-f]{32}$') -- that brought or made it first
);

-- Commands on their way to the ledger: written before they are submitted, removed when their outcome is known. On start
-- open ones are looked up, and sent again as they were until their time is over.
CREATE TABLE app.intents (
    command    text        PRIMARY KEY CHECK (command ~ '^[0-9a-f]{32}$'),
    raw        bytea       NOT NULL,
    signatures jsonb       NOT NULL,
    openings   jsonb       NOT NULL,
    not_after  bigint      NOT NULL, -- ms
    made_at    timestamptz NOT NULL
);

-- +goose Down
DROP TABLE app.intents, app.openings;
