-- What the market is, who is in it, and the index of entries. Times are milliseconds since 1970, 0 when unset.

CREATE TABLE proj.position (
    id     integer PRIMARY KEY CHECK (id = 1),
    next   bigint NOT NULL, -- entries projected
    hash   text NOT NULL,   -- of the last one
    schema text NOT NULL    -- fingerprint of what made these tables
);

CREATE TABLE proj.entries (
    position bigint PRIMARY KEY,
    time     bigint NOT NULL,
    rulebook bigint NOT NULL,
    hash     text NOT NULL,
    kind     text NOT NULL,
    member   text NOT NULL, -- '' in genesis and applications
    command  text NOT NULL,
    public   boolean NOT NULL,
    audience text[] NOT NULL,
    objects  text[] NOT NULL
);
CREATE UNIQUE INDEX entries_command ON proj.entries (command);
CREATE INDEX entries_kind ON proj.entries (kind, position);
CREATE INDEX entries_member ON proj.entries (member, position);
CREATE INDEX entries_objects ON proj.entries USING gin (objects) WHERE NOT public;

-- Records of which a market has one: genesis, rulebook, clock, calendars, ledger snapshot, loss, anchor of
-- supervisors' reads.
CREATE TABLE proj.market (
    id       text COLLATE "C" PRIMARY KEY, -- the whole key
    position bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.members (
    id          text COLLATE "C" PRIMARY KEY,
    position    bigint NOT NULL,
    name        text NOT NULL,
    name_en     text NOT NULL,
    credit_code text NOT NULL,
    roles       text[] NOT NULL,
    state       text NOT NULL,
    since       bigint NOT NULL,
    record      text NOT NULL
);
CREATE UNIQUE INDEX members_credit_code ON proj.members (credit_code);

CREATE TABLE proj.checks (
    id       text COLLATE "C" PRIMARY KEY, -- <member>/<digest of the method>
    position bigint NOT NULL,
    member   text NOT NULL,
    method   text NOT NULL,
    passed   boolean NOT NULL,
    checked  bigint NOT NULL,
    operator text NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.people (
    id        text COLLATE "C" PRIMARY KEY, -- <member>/<person>
    position  bigint NOT NULL,
    member    text NOT NULL,
    person    text NOT NULL,
    duties    text[] NOT NULL,
    dismissed bigint NOT NULL,
    record    text NOT NULL
);
CREATE UNIQUE INDEX people_person ON proj.people (person);

CREATE TABLE proj.keys (
    id        text COLLATE "C" PRIMARY KEY,
    position  bigint NOT NULL,
    key       text NOT NULL, -- suite:hex
    member    text NOT NULL,
    person    text NOT NULL, -- '' for a machine's
    purpose   text NOT NULL,
    custody   boolean NOT NULL,
    not_after bigint NOT NULL,
    revoked   bigint NOT NULL,
    node      text NOT NULL,
    record    text NOT NULL
);
CREATE INDEX keys_member ON proj.keys (member);

CREATE TABLE proj.nodes (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    member   text NOT NULL,
    host     text NOT NULL,
    url      text NOT NULL,
    region   text NOT NULL,
    since    bigint NOT NULL,
    retired  bigint NOT NULL,
    record   text NOT NULL
);
CREATE INDEX nodes_member ON proj.nodes (member);

CREATE TABLE proj.authorizations (
    id         text COLLATE "C" PRIMARY KEY,
    position   bigint NOT NULL,
    authority  text NOT NULL,
    operator   text NOT NULL,
    valid_from bigint NOT NULL,
    valid_to   bigint NOT NULL,
    withdrawn  bigint NOT NULL,
    record     text NOT NULL
);
CREATE INDEX authorizations_operator ON proj.authorizations (operator);
CREATE INDEX authorizations_authority ON proj.authorizations (authority);

CREATE TABLE proj.freezes (
    id       text COLLATE "C" PRIMARY KEY, -- the target: a member, product or agreement
    position bigint NOT NULL,
    by       text NOT NULL,
    since    bigint NOT NULL,
    lifted   bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.exports (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    by       text NOT NULL,
    member   text NOT NULL,
    route    text NOT NULL,
    time     bigint NOT NULL,
    record   text NOT NULL
);
CREATE INDEX exports_member ON proj.exports (member);

CREATE TABLE proj.erasures (
    id       text COLLATE "C" PRIMARY KEY, -- the commitment
    position bigint NOT NULL,
    by       text NOT NULL,
    time     bigint NOT NULL,
    record   text NOT NULL
);
