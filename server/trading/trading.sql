-- Negotiations, agreements, and what hangs on an agreement. Private: only parties, the venue and regulators read.

CREATE TABLE proj.negotiations (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    buyer    text NOT NULL,
    provider text NOT NULL,
    version  text NOT NULL,
    state    text NOT NULL,
    record   text NOT NULL
);
CREATE INDEX negotiations_buyer ON proj.negotiations (buyer, position);
CREATE INDEX negotiations_provider ON proj.negotiations (provider, position);

CREATE TABLE proj.agreements (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    buyer    text NOT NULL,
    provider text NOT NULL,
    product  text NOT NULL,
    kind     text NOT NULL,
    state    text NOT NULL,
    ends     bigint NOT NULL,
    record   text NOT NULL
);
CREATE INDEX agreements_buyer ON proj.agreements (buyer, position);
CREATE INDEX agreements_provider ON proj.agreements (provider, position);
CREATE INDEX agreements_ends ON proj.agreements (ends) WHERE state = 'active';

CREATE TABLE proj.grants (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    state    text NOT NULL,
    warned   bigint NOT NULL,
    record   text NOT NULL
);
CREATE INDEX grants_state ON proj.grants (state) WHERE state <> 'revoked';

CREATE TABLE proj.usages (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    size     bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.periods (
    id        text COLLATE "C" PRIMARY KEY, -- <agreement>/<number>
    position  bigint NOT NULL,
    agreement text NOT NULL,
    number    bigint NOT NULL,
    reported  boolean NOT NULL,
    record    text NOT NULL
);
CREATE INDEX periods_agreement ON proj.periods (agreement, number);

CREATE TABLE proj.certificates (
    id        text COLLATE "C" PRIMARY KEY, -- <agreement>/<period>
    position  bigint NOT NULL,
    agreement text NOT NULL,
    number    text NOT NULL,
    record    text NOT NULL
);
CREATE INDEX certificates_agreement ON proj.certificates (agreement);
CREATE UNIQUE INDEX certificates_number ON proj.certificates (number);

CREATE TABLE proj.disputes (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    decided  bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.corrections (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    product  text NOT NULL,
    decided  bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.consents (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    buyer    text NOT NULL,
    product  text NOT NULL,
    form     text NOT NULL,
    revoked  bigint NOT NULL,
    record   text NOT NULL
);
CREATE INDEX consents_buyer ON proj.consents (buyer, position);

CREATE TABLE proj.escrows (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.debts (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.movements (
    id        text COLLATE "C" PRIMARY KEY, -- <agreement>/<movement>
    position  bigint NOT NULL,
    agreement text NOT NULL,
    type      text NOT NULL,
    period    bigint NOT NULL,
    record    text NOT NULL
);
CREATE INDEX movements_agreement ON proj.movements (agreement, position);

CREATE TABLE proj.settlements (
    id        text COLLATE "C" PRIMARY KEY, -- <agreement>/<period>
    position  bigint NOT NULL,
    agreement text NOT NULL,
    number    text NOT NULL,
    paid      bigint NOT NULL,
    record    text NOT NULL
);
CREATE INDEX settlements_agreement ON proj.settlements (agreement, id);

CREATE TABLE proj.settled (
    id       text COLLATE "C" PRIMARY KEY, -- the agreement
    position bigint NOT NULL,
    period   bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.models (
    id        text COLLATE "C" PRIMARY KEY,
    position  bigint NOT NULL,
    agreement text NOT NULL,
    assessor  text NOT NULL,
    attested  bigint NOT NULL,
    record    text NOT NULL
);
CREATE INDEX models_agreement ON proj.models (agreement);
CREATE INDEX models_assessor ON proj.models (assessor);

CREATE TABLE proj.statistics (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    version  text NOT NULL,
    parties  text NOT NULL, -- members, and nodes that aggregate
    ended    bigint NOT NULL,
    record   text NOT NULL
);
