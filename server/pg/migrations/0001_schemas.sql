-- +goose Up
-- app is a record and is backed up with the ledger; proj is written only by the projector and can be rebuilt from it.
CREATE SCHEMA app;
CREATE SCHEMA proj;

-- +goose Down
DROP SCHEMA proj CASCADE;
DROP SCHEMA app CASCADE;
