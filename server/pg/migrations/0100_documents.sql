-- +goose Up
-- Documents by digest: manuals, opinions, reports, undertakings. The ledger holds the digests.
CREATE TABLE app.documents (
    digest       text PRIMARY KEY,
    kind         text NOT NULL,
    content_type text NOT NULL,
    owner        text NOT NULL,   -- the member that stored it first
    public       boolean NOT NULL,
    audience     text[] NOT NULL, -- members that may read it when it is not public; the venue and regulators always may
    content      bytea NOT NULL,
    stored_at    timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE app.documents;
