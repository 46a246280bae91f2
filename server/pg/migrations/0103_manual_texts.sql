-- +goose Up
-- What manuals are found by. It stands beside the documents, not in the projection: a manual may come after its product
-- was listed, and the projection is made from the ledger alone.
CREATE TABLE app.manual_texts (
    digest   text COLLATE "C" PRIMARY KEY REFERENCES app.documents (digest) ON DELETE CASCADE,
    haystack text NOT NULL,    -- normalised words, see server/catalog/terms.go
    terms    bigint[] NOT NULL -- codes of what its words are looked up by
);
CREATE INDEX manual_texts_terms ON app.manual_texts USING gin (terms);
ALTER TABLE app.manual_texts ALTER COLUMN terms SET STATISTICS 1000;

-- +goose Down
DROP TABLE app.manual_texts;
