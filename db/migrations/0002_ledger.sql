-- What became of every record: where each partition stands, what was dead-lettered, what Redis
-- has still to count.

-- One row per partition. Every offset between first_offset and next_offset is in exactly one of
-- the five terms; each is counted where it happens, none is what the others leave over.
CREATE TABLE argus.offsets (
    topic           text        NOT NULL REFERENCES argus.pipelines (topic),
    partition       integer     NOT NULL CHECK (partition >= 0),
    first_offset    bigint      NOT NULL CHECK (first_offset >= 0),
    next_offset     bigint      NOT NULL,
    log_end         bigint      NOT NULL,
    stored          bigint      NOT NULL DEFAULT 0 CHECK (stored >= 0),
    duplicate       bigint      NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
    dead_lettered   bigint      NOT NULL DEFAULT 0 CHECK (dead_lettered >= 0),
    skipped         bigint      NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    lost            bigint      NOT NULL DEFAULT 0 CHECK (lost >= 0),
    expired         bigint      NOT NULL DEFAULT 0 CHECK (expired >= 0),
    letters_expired bigint      NOT NULL DEFAULT 0 CHECK (letters_expired >= 0),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition),
    CONSTRAINT ledger_adds_up CHECK (
        next_offset - first_offset = stored + duplicate + dead_lettered + skipped + lost
    )
) WITH (fillfactor = 20); -- rewritten several times a second: room for updates that touch no index
COMMENT ON COLUMN argus.offsets.skipped IS 'Offset gaps, and records of others.';
COMMENT ON COLUMN argus.offsets.lost IS 'Records that Kafka deleted before they were read.';
COMMENT ON COLUMN argus.offsets.expired IS 'Stored rows that retention has dropped since.';
COMMENT ON COLUMN argus.offsets.letters_expired IS
    'Rows of argus.dead_letters that retention has dropped since.';
COMMENT ON COLUMN argus.offsets.log_end IS 'End of the log as the stream last saw it.';

-- One row per record that went to the dead-letter topic.
CREATE TABLE argus.dead_letters (
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    source_offset bigint      NOT NULL,
    id            uuid,
    code          text        NOT NULL,
    event         text,
    at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, source_offset)
);
CREATE INDEX dead_letters_id ON argus.dead_letters (topic, id) WHERE id IS NOT NULL;
CREATE INDEX dead_letters_at ON argus.dead_letters (topic, at);

-- One row per move of next_offset, without gaps, so that a reader can follow a partition from row
-- to row.
CREATE TABLE argus.outbox (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    from_offset bigint      NOT NULL,
    to_offset   bigint      NOT NULL CHECK (to_offset > from_offset),
    deltas      jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, from_offset)
);
COMMENT ON COLUMN argus.outbox.deltas IS
    'Rows inserted by this move: {"<epoch second of receipt>": {"<event>": n}}.';

-- The terms that one move adds to a partition's row of argus.offsets.
CREATE TYPE argus.slice_terms AS (
    slice         integer,
    topic         text,
    partition     integer,
    from_offset   bigint,
    to_offset     bigint,
    stored        bigint,
    duplicate     bigint,
    dead_lettered bigint,
    skipped       bigint,
    lost          bigint,
    deltas        jsonb
);
