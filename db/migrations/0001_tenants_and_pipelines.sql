-- Who there is: tenants and their pipelines, as the operator last applied them.

-- The schema is named, for the default would be argus where that is the role's name too
-- ("$user").
CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public;

CREATE TABLE argus.tenants (
    tenant_id   text        PRIMARY KEY,
    namespace   text        NOT NULL,
    name        text        NOT NULL,
    schema_name text        NOT NULL UNIQUE CHECK (schema_name ~ '^t_[a-z0-9_]{1,58}$'),
    retained_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN argus.tenants.schema_name IS
    'Room for the suffix _ro: the role that may read this schema is named after it.';
COMMENT ON COLUMN argus.tenants.retained_at IS 'When its resource was deleted with Retain.';

-- The three tables of a pipeline are events_<relation>, rollup_<relation> and ids_<relation>.
CREATE TABLE argus.pipelines (
    pipeline_uid      text        PRIMARY KEY,
    tenant_id         text        NOT NULL REFERENCES argus.tenants,
    pipeline          text        NOT NULL CHECK (pipeline ~ '^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$'),
    topic             text        NOT NULL UNIQUE,
    dead_letter_topic text        NOT NULL UNIQUE,
    partitions        integer     NOT NULL CHECK (partitions > 0),
    chunk_interval    interval    NOT NULL CHECK (chunk_interval >= interval '1 minute'),
    retention         interval    NOT NULL CHECK (retention >= chunk_interval),
    dedupe_window     interval    NOT NULL CHECK (dedupe_window >= interval '0'),
    retained_at       timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    relation          text        NOT NULL GENERATED ALWAYS AS (
        replace(pipeline, '-', '_')
        || CASE WHEN retained_at IS NULL THEN '' ELSE '_' || left(pipeline_uid, 8) END
    ) STORED,
    CHECK (length(pipeline_uid) >= 8),
    UNIQUE (tenant_id, relation) -- a name is free again once its holder was retained
);
COMMENT ON COLUMN argus.pipelines.retained_at IS
    'When its resource was deleted with Retain; its tables then carry its uid and never expire.';

-- The event names that a pipeline may use: the first ones it saw, capped by argus.admit_names.
CREATE TABLE argus.event_names (
    pipeline_uid text NOT NULL REFERENCES argus.pipelines ON DELETE CASCADE,
    event        text NOT NULL,
    PRIMARY KEY (pipeline_uid, event)
);
