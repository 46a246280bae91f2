-- +goose Up

-- Who signs in. What a person or a machine may do is not here: duties and roles are on the ledger.
CREATE TABLE app.accounts (
    id          text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    login       text        NOT NULL CONSTRAINT accounts_login UNIQUE CHECK (login = lower(login) AND length(login) BETWEEN 3 AND 100),
    member      text        NOT NULL CHECK (member ~ '^[0-9a-f]{32}$'),
    person      text        NOT NULL CHECK (person = '' OR person ~ '^[0-9a-f]{32}$'), -- '' signs nothing
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    password    text        NOT NULL, -- argon2id, in PHC form
    created_at  timestamptz NOT NULL,
    disabled_at timestamptz
);
CREATE INDEX accounts_member ON app.accounts (member, id);

-- A session is found by the SHA-256 of its token; the token itself is only in the browser's cookie.
CREATE TABLE app.sessions (
    token      bytea       PRIMARY KEY CHECK (length(token) = 32),
    account    text        NOT NULL REFERENCES app.accounts ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);
CREATE INDEX sessions_account ON app.sessions (account);
CREATE INDEX sessions_expires ON app.sessions (expires_at);

-- A machine of a member: a data node, the bank's own system, a job.
CREATE TABLE app.clients (
    id          text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    member      text        NOT NULL CHECK (member ~ '^[0-9a-f]{32}$'),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret      bytea       NOT NULL CHECK (length(secret) = 32), -- SHA-256: the secret is 256 random bits, nothing to guess
    created_at  timestamptz NOT NULL,
    disabled_at timestamptz
);
CREATE INDEX clients_member ON app.clients (member, id);

CREATE TABLE app.bearers (
    token      bytea       PRIMARY KEY CHECK (length(token) = 32),
    client     text        NOT NULL REFERENCES app.clients ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX bearers_client ON app.bearers (client);
CREATE INDEX bearers_expires ON app.bearers (expires_at);

-- Failed sign-ins, counted per subject: an address, or an account together with an address. The subject is a digest:
-- people type passwords into the wrong field.
CREATE TABLE app.sign_in_failures (
    subject       bytea       PRIMARY KEY CHECK (length(subject) = 32),
    failures      integer     NOT NULL CHECK (failures > 0),
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_last ON app.sign_in_failures (last_at);

-- +goose Down
DROP TABLE app.sign_in_failures, app.bearers, app.clients, app.sessions, app.accounts;
