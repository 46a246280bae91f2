-- +goose Up

-- Who signs in. What a person or a machine may do is not here: duties and roles are on the ledger.
CREATE TABLE app.account (
    id          text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    login       text        NOT NULL CONSTRAINT account_login UNIQUE CHECK (login = lower(login) AND length(login) BETWEEN 3 AND 100),
    member      text        NOT NULL CHECK (member ~ '^[0-9a-f]{32}$'),
    person      text        NOT NULL CHECK (person ~ '^[0-9a-f]{32}$'),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    password    text        NOT NULL, -- argon2id, in PHC form
    created_at  timestamptz NOT NULL,
    disabled_at timestamptz
);
CREATE INDEX account_member ON app.account (member, id);

-- A session is found by the SHA-256 of its token; the token itself is only in the browser's cookie.
CREATE TABLE app.session (
    token      bytea       PRIMARY KEY CHECK (length(token) = 32),
    account    text        NOT NULL REFERENCES app.account ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);
CREATE INDEX session_account ON app.session (account);
CREATE INDEX session_expires ON app.session (expires_at);

-- A machine of a member: a data node, the bank's own system, a job.
CREATE TABLE app.client (
    id          text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    member      text        NOT NULL CHECK (member ~ '^[0-9a-f]{32}$'),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret      bytea       NOT NULL CHECK (length(secret) = 32), -- SHA-256: the secret is 256 random bits, nothing to guess
    created_at  timestamptz NOT NULL,
    disabled_at timestamptz
);
CREATE INDEX client_member ON app.client (member, id);

CREATE TABLE app.bearer (
    token      bytea       PRIMARY KEY CHECK (length(token) = 32),
    client     text        NOT NULL REFERENCES app.client ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX bearer_client ON app.bearer (client);
CREATE INDEX bearer_expires ON app.bearer (expires_at);

-- Failed sign-ins, counted per subject: an address, or an account together with an address. The subject is a digest:
-- people type passwords into the wrong field.
CREATE TABLE app.sign_in_failure (
    subject       bytea       PRIMARY KEY CHECK (length(subject) = 32),
    failures      integer     NOT NULL CHECK (failures > 0),
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL
);
CREATE INDEX sign_in_failure_last ON app.sign_in_failure (last_at);

-- +goose Down
DROP TABLE app.sign_in_failure, app.bearer, app.client, app.session, app.account;
