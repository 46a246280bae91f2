-- Products, their versions, and the shelf: what can be searched and traded now.

CREATE TABLE proj.products (
    id       text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    provider text NOT NULL,
    listed   text NOT NULL, -- the version that can be traded, or ''
    record   text NOT NULL
);
CREATE INDEX products_provider ON proj.products (provider, position);

CREATE TABLE proj.versions (
    id            text COLLATE "C" PRIMARY KEY,
    position      bigint NOT NULL,
    product       text NOT NULL,
    number        bigint NOT NULL,
    title         text NOT NULL,
    state         text NOT NULL,
    since         bigint NOT NULL,
    publicity_end bigint NOT NULL,
    certificate   text NOT NULL,
    manual        text NOT NULL,
    record        text NOT NULL
);
CREATE INDEX versions_product ON proj.versions (product, number);
CREATE INDEX versions_state ON proj.versions (state, since, id);
CREATE INDEX versions_manual ON proj.versions (manual);
CREATE INDEX versions_certificate ON proj.versions (certificate) WHERE certificate <> '';

CREATE TABLE proj.datasets (
    id       text COLLATE "C" PRIMARY KEY, -- the version
    position bigint NOT NULL,
    node     text NOT NULL,
    rows     bigint NOT NULL,
    as_of    bigint NOT NULL,
    reported bigint NOT NULL,
    record   text NOT NULL
);

CREATE TABLE proj.attestations (
    id        text COLLATE "C" PRIMARY KEY,
    position  bigint NOT NULL,
    by        text NOT NULL,
    version   text NOT NULL,
    type      text NOT NULL,
    verdict   text NOT NULL,
    expires   bigint NOT NULL,
    withdrawn bigint NOT NULL,
    record    text NOT NULL
);
CREATE INDEX attestations_version ON proj.attestations (version);
CREATE INDEX attestations_by ON proj.attestations (by, position);

CREATE TABLE proj.objections (
    id        text COLLATE "C" PRIMARY KEY, -- <version>/<objection>
    position  bigint NOT NULL,
    version   text NOT NULL,
    objection text NOT NULL,
    by        text NOT NULL,
    answer    text NOT NULL,
    record    text NOT NULL
);
CREATE INDEX objections_version ON proj.objections (version);

-- One row for every version that was put on the shelf and not taken off. A suspended one keeps its place, unseen. The
-- row is narrow: a search reads hundreds of them and shows fifty cards.
CREATE TABLE proj.shelf (
    version   text COLLATE "C" PRIMARY KEY,
    listed    boolean NOT NULL,
    listed_at bigint NOT NULL,   -- when it was first listed
    facets    bigint[] NOT NULL, -- codes of its facets
    terms     bigint[] NOT NULL  -- codes of what words and facets are looked up by, see terms.go and facet.go
);
CREATE INDEX shelf_order ON proj.shelf (listed_at DESC, version DESC) WHERE listed;
-- The projector empties the index's pending list at the end of its transaction: written in bulk, and no search reads it.
CREATE INDEX shelf_terms ON proj.shelf USING gin (terms) WITH (fastupdate = on, gin_pending_list_limit = 65536) WHERE listed;
-- Words and facets are far from evenly spread; the planner has to know which are common.
ALTER TABLE proj.shelf ALTER COLUMN terms SET STATISTICS 2000;

CREATE TABLE proj.cards (
    version  text COLLATE "C" PRIMARY KEY,
    product  text NOT NULL,
    haystack text NOT NULL, -- normalised words, see terms.go
    card     text NOT NULL  -- what a page of results shows
);

-- What the codes of facets mean.
CREATE TABLE proj.facets (
    code  bigint PRIMARY KEY,
    facet text NOT NULL,
    value text NOT NULL
);

-- the present key epoch of private lookups
CREATE TABLE proj.lookups (
    id       text COLLATE "C" PRIMARY KEY, -- the version
    position bigint NOT NULL,
    epoch    bigint NOT NULL,
    rows     bigint NOT NULL,
    record   text NOT NULL
);
