-- +goose Up
-- How replicas that don't publish the log ask the one that does for a checkpoint that is cosigned after they ask. One row:
-- requests are numbered, and a round answers all that were made before it began.
CREATE TABLE app.cosign_rounds (
    id     int    PRIMARY KEY CHECK (id = 1),
    asked  bigint NOT NULL, -- number of the last request
    done   bigint NOT NULL, -- requests up to this one are answered
    signed bytea            -- the checkpoint that answers them; NULL: the round failed
);

-- +goose Down
DROP TABLE app.cosign_rounds;
