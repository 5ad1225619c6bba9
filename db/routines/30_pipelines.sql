-- A pipeline: its row, and in its tenant's schema the hypertable of events, the rollups and the
-- ids.
--
-- The ensure functions look before they change, so that a resync of a healthy pipeline takes no
-- lock that a batch or a reader would wait for.

-- The function of the timescaledb extension of that name, qualified: the extension may be in any
-- schema.
CREATE OR REPLACE FUNCTION argus.timescale(function_name text) RETURNS text
LANGUAGE sql STABLE
RETURN (SELECT format('%I.%I', n.nspname, function_name)
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'timescaledb');

-- The interval of the table's next chunks; null where it is no hypertable. A string body, for
-- PostgreSQL keeps no dependencies of it: the extension replaces its views when it is updated,
-- and may not while one depends on them.
CREATE OR REPLACE FUNCTION argus.chunk_interval(schema_name text, table_name text) RETURNS interval
LANGUAGE sql STABLE
AS $$
    SELECT d.time_interval
    FROM timescaledb_information.dimensions d
    WHERE d.hypertable_schema = schema_name
      AND d.hypertable_name = table_name
      AND d.dimension_number = 1
$$;

-- Invariant: the table has exactly this primary key.
CREATE OR REPLACE FUNCTION argus.ensure_primary_key(relation regclass, key_columns text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    present record;
BEGIN
    SELECT c.conname, array_agg(a.attname::text ORDER BY k.position) AS key_columns INTO present
    FROM pg_constraint c
    CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    WHERE c.conrelid = relation AND c.contype = 'p'
    GROUP BY c.conname;
    IF present.key_columns = key_columns THEN
        RETURN;
    END IF;
    IF present.conname IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', relation, present.conname);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (%s)', relation,
                   (SELECT string_agg(quote_ident(c), ', ') FROM unnest(key_columns) c));
END
$$;

-- Invariant: the table exists with at least these columns ("name type …") and this primary key,
-- and the role may read it.
CREATE OR REPLACE FUNCTION argus.ensure_table(
    schema_name text, table_name text, columns text[], key_columns text[], reader text
) RETURNS regclass
LANGUAGE plpgsql
AS $$
DECLARE
    relation regclass := to_regclass(format('%I.%I', schema_name, table_name));
    missing text;
BEGIN
    IF relation IS NULL THEN
        EXECUTE format('CREATE TABLE %I.%I (%s)', schema_name, table_name, array_to_string(columns, ', '));
        relation := format('%I.%I', schema_name, table_name)::regclass;
    ELSE
        SELECT string_agg('ADD COLUMN ' || c, ', ') INTO missing
        FROM unnest(columns) c
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = relation AND attname = split_part(c, ' ', 1) AND NOT attisdropped
        );
        IF missing IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s %s', relation, missing);
        END IF;
    END IF;
    PERFORM argus.ensure_primary_key(relation, key_columns);
    IF NOT has_table_privilege(reader, relation, 'SELECT') THEN
        EXECUTE format('GRANT SELECT ON %s TO %I', relation, reader);
    END IF;
    RETURN relation;
END
$$;

-- Invariant: the events are a hypertable whose next chunks have this interval. Its key begins
-- with the time: new rows then go to the end of the index whatever their ids, and queries by time
-- need no second index.
CREATE OR REPLACE FUNCTION argus.ensure_events(
    schema_name text, table_name text, chunk_interval interval, reader text
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    present CONSTANT interval := argus.chunk_interval(schema_name, table_name);
    events CONSTANT regclass := argus.ensure_table(
        schema_name, table_name,
        ARRAY[
            'time timestamptz NOT NULL', 'id uuid NOT NULL', 'received_at timestamptz NOT NULL',
            'value float8', 'source_offset bigint NOT NULL', 'source_partition integer NOT NULL',
            'event text NOT NULL', 'distinct_id text', 'session_id text', 'original_event text',
            'properties jsonb'
        ],
        ARRAY['time', 'id'], reader);
BEGIN
    IF present IS NULL THEN
        EXECUTE format(
            'SELECT %s($1, %s(''time'', $2), create_default_indexes => false, migrate_data => true)',
            argus.timescale('create_hypertable'), argus.timescale('by_range'))
        USING events, chunk_interval;
    ELSIF present <> chunk_interval THEN
        EXECUTE format('SELECT %s($1, $2)', argus.timescale('set_chunk_time_interval'))
        USING events, chunk_interval;
    END IF;
END
$$;

-- Invariant: the ids table can be pruned by age without reading all of it.
CREATE OR REPLACE FUNCTION argus.ensure_ids(
    schema_name text, table_name text, uid text, reader text
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    ids CONSTANT regclass := argus.ensure_table(
        schema_name, table_name, ARRAY['id uuid NOT NULL', 'received_at timestamptz NOT NULL'],
        ARRAY['id'], reader);
    index_name CONSTANT text := table_name || '_' || left(uid, 8) || '_age';
BEGIN
    IF to_regclass(format('%I.%I', schema_name, index_name)) IS NULL THEN
        EXECUTE format('CREATE INDEX %I ON %s USING brin (received_at)', index_name, ids);
    END IF;
END
$$;

-- Invariant: the pipeline's row says what was asked for, and its three tables exist accordingly.
-- Raises AR404 without the tenant, AR409 where name or topics belong to another pipeline, or this
-- one was retained. dead_letter_retention is how long Kafka keeps dead letters; null leaves it as
-- it is. A topic is one pipeline's alone and in one part: what one writes as letters is no other's
-- log.
CREATE OR REPLACE FUNCTION argus.ensure_pipeline(
    tenant_id text, pipeline_uid text, pipeline text, topic text, dead_letter_topic text,
    partitions integer, chunk_interval interval, retention interval, dedupe_window interval,
    dead_letter_retention interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    tenant argus.tenants;
    relation text;
    reader text;
    holder text;
BEGIN
    SELECT * INTO tenant FROM argus.tenants t
    WHERE t.tenant_id = ensure_pipeline.tenant_id AND t.retained_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR404', MESSAGE = format('there is no tenant %s', ensure_pipeline.tenant_id);
    END IF;

    IF NOT starts_with(ensure_pipeline.topic, 'argus.') THEN -- those are made for one uid alone
        PERFORM pg_advisory_xact_lock(hashtextextended('argus: topics of others', 0));
        SELECT format('%s of %s', p.pipeline, p.tenant_id)
            || CASE WHEN p.retained_at IS NULL THEN '' ELSE ', which was retained' END
        INTO holder
        FROM argus.pipelines p
        WHERE p.pipeline_uid <> ensure_pipeline.pipeline_uid
          AND ARRAY[p.topic, p.dead_letter_topic]
           && ARRAY[ensure_pipeline.topic, ensure_pipeline.dead_letter_topic]
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'AR409',
                MESSAGE = format('topic %s or %s belongs to pipeline %s', ensure_pipeline.topic,
                                 ensure_pipeline.dead_letter_topic, holder),
                HINT = 'delete this resource and make one that names other topics';
        END IF;
    END IF;

    BEGIN
        INSERT INTO argus.pipelines AS p (
            pipeline_uid, tenant_id, pipeline, topic, dead_letter_topic, partitions,
            chunk_interval, retention, dedupe_window
        )
        VALUES (
            ensure_pipeline.pipeline_uid, tenant.tenant_id, ensure_pipeline.pipeline,
            ensure_pipeline.topic, ensure_pipeline.dead_letter_topic, ensure_pipeline.partitions,
            ensure_pipeline.chunk_interval, ensure_pipeline.retention, ensure_pipeline.dedupe_window
        )
        ON CONFLICT (pipeline_uid) DO UPDATE SET
            partitions = excluded.partitions, chunk_interval = excluded.chunk_interval,
            retention = excluded.retention, dedupe_window = excluded.dedupe_window
        WHERE p.retained_at IS NULL
          AND (p.tenant_id, p.pipeline, p.topic, p.dead_letter_topic)
            = (excluded.tenant_id, excluded.pipeline, excluded.topic, excluded.dead_letter_topic)
        RETURNING p.relation INTO relation;
    EXCEPTION WHEN unique_violation THEN
        relation := NULL;
    END;
    IF relation IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR409',
            MESSAGE = format('pipeline %s of %s is held by another uid than %s, or was retained',
                             ensure_pipeline.pipeline, tenant.tenant_id, ensure_pipeline.pipeline_uid);
    END IF;

    UPDATE argus.pipelines p SET dead_letter_retention = ensure_pipeline.dead_letter_retention
    WHERE p.pipeline_uid = ensure_pipeline.pipeline_uid
      AND p.dead_letter_retention <> ensure_pipeline.dead_letter_retention;

    reader := argus.read_only_role(tenant.schema_name);
    PERFORM argus.ensure_events(
        tenant.schema_name, 'events_' || relation, ensure_pipeline.chunk_interval, reader);
    PERFORM argus.ensure_table(
        tenant.schema_name, 'rollup_' || relation,
        ARRAY['minute timestamptz NOT NULL', 'event text NOT NULL', 'count bigint NOT NULL',
              'sum float8', 'min float8', 'max float8'],
        ARRAY['minute', 'event'], reader);
    PERFORM argus.ensure_ids(
        tenant.schema_name, 'ids_' || relation, ensure_pipeline.pipeline_uid, reader);
END
$$;

-- What there really is of a pipeline; null where it is absent. Always one row.
CREATE OR REPLACE FUNCTION argus.observe_pipeline(
    pipeline_uid text,
    OUT schema_name text, OUT events_table text, OUT rollup_table text, OUT ids_table text,
    OUT role_name text, OUT chunk_interval interval, OUT retention interval,
    OUT dedupe_window interval, OUT partitions integer, OUT retained boolean
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    p argus.pipelines;
    tenant_schema text;
BEGIN
    SELECT * INTO p FROM argus.pipelines WHERE pipelines.pipeline_uid = observe_pipeline.pipeline_uid;
    retained := FOUND AND p.retained_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT t.schema_name INTO tenant_schema FROM argus.tenants t WHERE t.tenant_id = p.tenant_id;
    schema_name := to_regnamespace(quote_ident(tenant_schema))::text;
    role_name := to_regrole(quote_ident(argus.read_only_role(tenant_schema)))::text;
    events_table := argus.present_table(tenant_schema, 'events_' || p.relation);
    rollup_table := argus.present_table(tenant_schema, 'rollup_' || p.relation);
    ids_table := argus.present_table(tenant_schema, 'ids_' || p.relation);
    chunk_interval := argus.chunk_interval(schema_name, events_table);
    retention := p.retention;
    dedupe_window := p.dedupe_window;
    partitions := p.partitions;
END
$$;

-- The table's name where it exists, else null.
CREATE OR REPLACE FUNCTION argus.present_table(schema_name text, table_name text) RETURNS text
LANGUAGE sql STABLE
RETURN (SELECT c.relname
        FROM pg_class c
        WHERE c.oid = to_regclass(format('%I.%I', schema_name, table_name)));

-- Holds every partition of the topic until the transaction ends, in the order in which
-- argus.fence takes them.
CREATE OR REPLACE FUNCTION argus.lock_topic(topic text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM argus.offsets o WHERE o.topic = lock_topic.topic ORDER BY o.partition FOR NO KEY UPDATE;
END
$$;

-- Invariant: no row is dropped; the tables are out of the way of a pipeline of the same name, and
-- never expire. Absent or retained already is fine.
CREATE OR REPLACE FUNCTION argus.retain_pipeline(pipeline_uid text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    before record;
    kept text;
    kind text;
BEGIN
    SELECT p.topic, p.relation, t.schema_name INTO before
    FROM argus.pipelines p JOIN argus.tenants t USING (tenant_id)
    WHERE p.pipeline_uid = retain_pipeline.pipeline_uid AND p.retained_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM argus.lock_topic(before.topic);
    UPDATE argus.pipelines p SET retained_at = now()
    WHERE p.pipeline_uid = retain_pipeline.pipeline_uid
    RETURNING p.relation INTO kept;
    FOREACH kind IN ARRAY ARRAY['events_', 'rollup_', 'ids_'] LOOP
        EXECUTE format('ALTER TABLE IF EXISTS %I.%I RENAME TO %I',
                       before.schema_name, kind || before.relation, kind || kept);
    END LOOP;
END
$$;

-- Invariant: nothing of the pipeline is left, its ledger neither. Absent is fine; one that was
-- retained is dropped too.
CREATE OR REPLACE FUNCTION argus.drop_pipeline(pipeline_uid text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    before record;
    kind text;
BEGIN
    SELECT p.topic, p.relation, t.schema_name INTO before
    FROM argus.pipelines p JOIN argus.tenants t USING (tenant_id)
    WHERE p.pipeline_uid = drop_pipeline.pipeline_uid;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM argus.lock_topic(before.topic);
    FOREACH kind IN ARRAY ARRAY['events_', 'rollup_', 'ids_'] LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', before.schema_name, kind || before.relation);
    END LOOP;
    DELETE FROM argus.outbox o WHERE o.topic = before.topic;
    DELETE FROM argus.dead_letters d WHERE d.topic = before.topic;
    DELETE FROM argus.replays r WHERE r.topic = before.topic;
    DELETE FROM argus.halted_partitions h WHERE h.topic = before.topic;
    DELETE FROM argus.offsets o WHERE o.topic = before.topic;
    DELETE FROM argus.pipelines p WHERE p.pipeline_uid = drop_pipeline.pipeline_uid;
END
$$;
