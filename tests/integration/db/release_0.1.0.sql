-- The routines of release 0.1.0, as it applied them: what test_upgrade.py upgrades from.
-- Invariant: argus_stream and argus_reader exist, may log in with these passwords and connect to
-- this database. What they may do is in 90_privileges.sql. Roles belong to the whole server:
-- another database of it may be creating them at the same moment.
CREATE OR REPLACE FUNCTION argus.ensure_roles(stream_password text, reader_password text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.grant_privileges();
    EXECUTE format('ALTER ROLE argus_stream LOGIN PASSWORD %L', stream_password);
    EXECUTE format('ALTER ROLE argus_reader LOGIN PASSWORD %L', reader_password);
END
$$;

-- Invariant: the role exists and may connect to this database.
CREATE OR REPLACE FUNCTION argus.ensure_role(role_name text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            RAISE DEBUG 'role % was created by another session', role_name;
        END;
    END IF;
    IF NOT has_database_privilege(role_name, current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END IF;
END
$$;

-- A tenant: its row, its schema, and the role that reads this schema and nothing else.

CREATE OR REPLACE FUNCTION argus.read_only_role(schema_name text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN schema_name || '_ro';

-- Invariant: the tenant's row, schema and read-only role exist, and argus_reader is a member of
-- that role. Raises AR409 where the schema belongs to another tenant, or the tenant was retained.
CREATE OR REPLACE FUNCTION argus.ensure_tenant(
    tenant_id text, namespace text, name text, schema_name text
) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    role_name CONSTANT text := argus.read_only_role(schema_name);
BEGIN
    INSERT INTO argus.tenants AS t (tenant_id, namespace, name, schema_name)
    VALUES (tenant_id, namespace, name, schema_name)
    ON CONFLICT DO NOTHING;
    PERFORM FROM argus.tenants t
    WHERE t.tenant_id = ensure_tenant.tenant_id
      AND t.schema_name = ensure_tenant.schema_name
      AND t.retained_at IS NULL
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR409',
            MESSAGE = format('schema %s belongs to another tenant than %s, or to one that was retained',
                             schema_name, tenant_id);
    END IF;

    PERFORM argus.ensure_role(role_name);
    IF NOT pg_has_role('argus_reader', role_name, 'USAGE') THEN
        EXECUTE format('GRANT %I TO argus_reader', role_name);
    END IF;
    IF to_regnamespace(quote_ident(schema_name)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', schema_name);
    END IF;
    IF NOT has_schema_privilege(role_name, schema_name, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, role_name);
    END IF;
END
$$;

-- Invariant: nothing of the tenant is dropped; its pipelines are retained too. Absent or retained
-- already is fine.
CREATE OR REPLACE FUNCTION argus.retain_tenant(tenant_id text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.retain_pipeline(p.pipeline_uid)
    FROM argus.pipelines p
    WHERE p.tenant_id = retain_tenant.tenant_id AND p.retained_at IS NULL;
    UPDATE argus.tenants t SET retained_at = now()
    WHERE t.tenant_id = retain_tenant.tenant_id AND t.retained_at IS NULL;
END
$$;

-- Invariant: everything of the tenant is gone, but for pipelines that were retained: while there
-- are such, the schema and its role stay with them, and the tenant counts as retained. Absent is
-- fine.
CREATE OR REPLACE FUNCTION argus.drop_tenant(tenant_id text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    tenant argus.tenants;
    reader text;
BEGIN
    SELECT * INTO tenant FROM argus.tenants t WHERE t.tenant_id = drop_tenant.tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM argus.drop_pipeline(p.pipeline_uid)
    FROM argus.pipelines p
    WHERE p.tenant_id = tenant.tenant_id AND p.retained_at IS NULL;
    IF EXISTS (SELECT FROM argus.pipelines p WHERE p.tenant_id = tenant.tenant_id) THEN
        PERFORM argus.retain_tenant(tenant.tenant_id);
        RETURN;
    END IF;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', tenant.schema_name);
    reader := argus.read_only_role(tenant.schema_name);
    IF to_regrole(quote_ident(reader)) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), reader);
        EXECUTE format('DROP ROLE %I', reader);
    END IF;
    DELETE FROM argus.tenants t WHERE t.tenant_id = tenant.tenant_id;
END
$$;

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
-- Raises AR404 without the tenant, AR409 where name or topic belong to another pipeline, or this
-- one was retained.
CREATE OR REPLACE FUNCTION argus.ensure_pipeline(
    tenant_id text, pipeline_uid text, pipeline text, topic text, dead_letter_topic text,
    partitions integer, chunk_interval interval, retention interval, dedupe_window interval
) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    tenant argus.tenants;
    relation text;
    reader text;
BEGIN
    SELECT * INTO tenant FROM argus.tenants t
    WHERE t.tenant_id = ensure_pipeline.tenant_id AND t.retained_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR404', MESSAGE = format('there is no tenant %s', ensure_pipeline.tenant_id);
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
    DELETE FROM argus.offsets o WHERE o.topic = before.topic;
    DELETE FROM argus.pipelines p WHERE p.pipeline_uid = drop_pipeline.pipeline_uid;
END
$$;

-- Where each partition stands, and who reads it. Called by the stream with its owner's rights.

-- Invariant: the partition has a row, and it does not stand before the log. Records that Kafka
-- deleted before they were read are counted as lost. Returns the offset to read from. Raises
-- AR404 for a topic of no live pipeline.
CREATE OR REPLACE FUNCTION argus.open_partition(
    topic text, partition integer, log_start bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    standing bigint;
BEGIN
    PERFORM FROM argus.pipelines p WHERE p.topic = open_partition.topic AND p.retained_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AR404', MESSAGE = format('no pipeline has topic %s', topic);
    END IF;
    INSERT INTO argus.offsets (topic, partition, first_offset, next_offset, log_end)
    VALUES (open_partition.topic, open_partition.partition, log_start, log_start, log_start)
    ON CONFLICT DO NOTHING;
    SELECT o.next_offset INTO standing FROM argus.offsets o
    WHERE o.topic = open_partition.topic AND o.partition = open_partition.partition
    FOR NO KEY UPDATE;
    IF standing >= log_start THEN
        RETURN standing;
    END IF;
    PERFORM argus.settle(ARRAY[
        ROW(1, open_partition.topic, open_partition.partition, standing, log_start,
            0, 0, 0, 0, log_start - standing, '{}')::argus.slice_terms
    ]);
    RETURN log_start;
END
$$;

-- Invariant: log_end is what Kafka said last. Rows that did not change are not written.
CREATE OR REPLACE FUNCTION argus.sample_log_end(
    topics text[], partitions integer[], ends bigint[]
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH held AS (
        SELECT o.topic, o.partition, s.log_end
        FROM argus.offsets o
        JOIN unnest(topics, partitions, ends) AS s (topic, partition, log_end) USING (topic, partition)
        WHERE o.log_end <> s.log_end
        ORDER BY o.topic, o.partition
        FOR NO KEY UPDATE OF o
    )
    UPDATE argus.offsets o SET log_end = held.log_end
    FROM held
    WHERE o.topic = held.topic AND o.partition = held.partition
$$;

-- Ids that need no (second) dead letter: dead-lettered within the pipeline's dedupe window, or
-- stored. An id without a time of its own is looked up among the ids, any other by its id and
-- time among the rows.
CREATE OR REPLACE FUNCTION argus.known_ids(
    topic text, ids uuid[], times timestamptz[]
) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    SELECT p.relation, p.dedupe_window, t.schema_name INTO target
    FROM argus.pipelines p JOIN argus.tenants t USING (tenant_id)
    WHERE p.topic = known_ids.topic;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AR404', MESSAGE = format('no pipeline has topic %s', topic);
    END IF;
    RETURN QUERY EXECUTE format(
        $statement$
        SELECT d.id FROM argus.dead_letters d
        WHERE d.topic = $1 AND d.id = ANY ($2) AND d.at > now() - $4
        UNION
        SELECT known.id FROM %1$I.%2$I known
        WHERE known.id = ANY ($2) AND known.received_at > now() - $4
        UNION
        SELECT asked.id
        FROM unnest($2, $3) AS asked (id, time)
        CROSS JOIN LATERAL (
            SELECT FROM %1$I.%3$I e WHERE e.time = asked.time AND e.id = asked.id OFFSET 0
        ) e
        $statement$, target.schema_name, 'ids_' || target.relation, 'events_' || target.relation)
    USING topic, ids, times, target.dedupe_window;
END
$$;

-- Invariant: the caller counts as alive for `ttl`. Returns everybody who does, by the server's
-- clock.
CREATE OR REPLACE FUNCTION argus.heartbeat(member uuid, ttl interval) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO argus.members AS m (id, heartbeat_at) VALUES (member, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at;
    -- Long dead ones; two members may be clearing up at once.
    DELETE FROM argus.members m
    WHERE m.id IN (
        SELECT id FROM argus.members WHERE heartbeat_at < clock_timestamp() - 100 * ttl
        FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY
    SELECT m.id FROM argus.members m WHERE m.heartbeat_at > clock_timestamp() - ttl ORDER BY m.id;
END
$$;

-- Invariant: the member no longer counts as alive.
CREATE OR REPLACE FUNCTION argus.leave(member uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM argus.members WHERE id = member
$$;

-- The way of a batch: from the session's staging table into the tenants' hypertables, with its
-- ledger.
--
-- The stream may call these and nothing else: they run with their owner's rights, so the stream's
-- role needs none on the tables. What they read from the caller's session is a table that they
-- made themselves.

-- Invariant: pg_temp.staged is empty, belongs to this function's owner, and the caller may only
-- fill it. The caller must not own it: a trigger or rule of its own on it would run with the
-- owner's rights.
CREATE OR REPLACE FUNCTION argus.create_staging() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS staged (
        slice         integer     NOT NULL,
        source_offset bigint      NOT NULL,
        id            uuid        NOT NULL,
        time          timestamptz NOT NULL,
        received_at   timestamptz NOT NULL,
        by_id         boolean     NOT NULL,
        event         text        NOT NULL CHECK (octet_length(event) BETWEEN 1 AND 1000),
        distinct_id   text,
        session_id    text,
        value         float8 CHECK (value > '-Infinity' AND value < 'Infinity'), -- NaN is above both
        properties    jsonb
    );
    PERFORM argus.require_own_staging();
    EXECUTE format('GRANT INSERT ON pg_temp.staged TO %I', session_user);
    TRUNCATE pg_temp.staged;
END
$$;

-- Invariant: pg_temp.staged is empty. TRUNCATE costs 1.5 ms whatever the size (new files,
-- forgotten plans), DELETE leaves its rows to be skipped by every later scan: small batches
-- delete, until what they left is worth the truncation.
CREATE OR REPLACE FUNCTION argus.clear_staging() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF pg_relation_size('pg_temp.staged') > 1048576 THEN
        TRUNCATE pg_temp.staged;
    ELSE
        DELETE FROM pg_temp.staged;
    END IF;
END
$$;

-- Invariant: raises unless pg_temp.staged is a plain table of the current user's.
CREATE OR REPLACE FUNCTION argus.require_own_staging() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM pg_class
    WHERE oid = to_regclass('pg_temp.staged')
      AND relkind = 'r' AND relowner = to_regrole(quote_ident(current_user));
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'pg_temp.staged was not made by argus.create_staging in this session';
    END IF;
END
$$;

-- Invariant: on return this transaction holds the row of every slice's partition, and each stands
-- at the slice's first offset. Rows are locked in one order by everybody, so two calls never wait
-- for each other in a circle. Raises AR001 where a partition has moved: whoever calls then is
-- not, or no longer, its owner.
CREATE OR REPLACE FUNCTION argus.fence(
    topics text[], partitions integer[], from_offsets bigint[]
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    moved record;
BEGIN
    PERFORM FROM argus.offsets o
    JOIN unnest(topics, partitions) AS s (topic, partition) USING (topic, partition)
    ORDER BY topic, partition
    FOR NO KEY UPDATE OF o;

    SELECT s.topic, s.partition, s.from_offset AS expected, o.next_offset AS found INTO moved
    FROM unnest(topics, partitions, from_offsets) WITH ORDINALITY
        AS s (topic, partition, from_offset, slice)
    LEFT JOIN argus.offsets o USING (topic, partition)
    WHERE o.next_offset IS DISTINCT FROM s.from_offset
    ORDER BY s.slice
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR001',
            MESSAGE = format('partition %s of %s stands at %s, not at %s',
                             moved.partition, moved.topic, coalesce(moved.found::text, 'no offset'),
                             moved.expected),
            DETAIL = to_jsonb(moved)::text;
    END IF;
END
$$;

-- Invariant: a pipeline never knows more than 10,000 names. Admits what is new in the batch,
-- first come first, and returns the names for which there was no room; they are stored as
-- __other__, so that rows, rollups and counters agree.
CREATE OR REPLACE FUNCTION argus.admit_names(uid text, slices integer[]) RETURNS text[]
LANGUAGE plpgsql
AS $$
DECLARE
    most CONSTANT integer := 10000;
    fresh text[];
    room integer;
BEGIN
    -- Another partition's batch may be admitting names at this moment: one after the other.
    PERFORM FROM argus.pipelines WHERE pipeline_uid = uid FOR NO KEY UPDATE;
    fresh := ARRAY(
        SELECT s.event
        FROM pg_temp.staged s
        WHERE s.slice = ANY (slices)
        GROUP BY s.event
        HAVING NOT EXISTS (
            SELECT FROM argus.event_names n WHERE n.pipeline_uid = uid AND n.event = s.event
        )
        ORDER BY min(s.slice), min(s.source_offset)
    );
    SELECT greatest(most - count(*), 0) INTO room FROM argus.event_names WHERE pipeline_uid = uid;
    INSERT INTO argus.event_names (pipeline_uid, event) SELECT uid, unnest(fresh[:room]);
    RETURN fresh[room + 1:];
END
$$;

-- Invariant: of the rows whose id alone identifies them, one per id stays staged, and only where
-- the id is new in the dedupe window. Removes the others and counts them per slice. The window is
-- measured between receipts, not from now, so that a batch that is read again is judged alike.
CREATE OR REPLACE FUNCTION argus.unstage_known_ids(
    schema_name text, ids_table text, slices integer[], dedupe_window interval
) RETURNS TABLE (slice integer, duplicate bigint)
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        $statement$
        WITH first AS (
            SELECT DISTINCT ON (id) id, slice, source_offset, received_at
            FROM pg_temp.staged
            WHERE slice = ANY ($1) AND by_id
            ORDER BY id, received_at, slice, source_offset
        ), fresh AS (
            INSERT INTO %1$I.%2$I AS known (id, received_at)
            SELECT id, received_at FROM first ORDER BY id
            ON CONFLICT (id) DO UPDATE SET received_at = excluded.received_at
            WHERE known.received_at < excluded.received_at - $2
            RETURNING id
        ), removed AS (
            DELETE FROM pg_temp.staged s
            WHERE s.slice = ANY ($1) AND s.by_id
              AND (s.slice, s.source_offset) NOT IN (
                  SELECT first.slice, first.source_offset FROM first JOIN fresh USING (id)
              )
            RETURNING s.slice
        )
        SELECT slice, count(*) FROM removed GROUP BY slice
        $statement$, schema_name, ids_table)
    USING slices, dedupe_window;
END
$$;

-- Invariant: rows, minute rollups and the returned counts describe the same set, the rows that
-- this call inserted. Rows are inserted in one order by everybody (time, id), rollups too
-- (minute, event): no circular waits. A sum outside float8 is infinite instead of an error, for
-- no value that fits a row may stop the batch.
CREATE OR REPLACE FUNCTION argus.insert_rows(
    schema_name text, relation text, slices integer[], partitions integer[], refused text[]
) RETURNS TABLE (slice integer, stored bigint, deltas jsonb)
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        $statement$
        WITH inserted AS (
            INSERT INTO %1$I.%2$I (
                time, id, received_at, value, source_offset, source_partition,
                event, distinct_id, session_id, original_event, properties
            )
            SELECT s.time, s.id, s.received_at, s.value, s.source_offset, ($2)[s.slice],
                   CASE WHEN s.event = ANY ($3) THEN '__other__' ELSE s.event END,
                   s.distinct_id, s.session_id,
                   CASE WHEN s.event = ANY ($3) THEN s.event END,
                   s.properties
            FROM pg_temp.staged s
            WHERE s.slice = ANY ($1)
            ORDER BY s.time, s.id, s.slice, s.source_offset
            ON CONFLICT DO NOTHING
            RETURNING time, received_at, value, source_partition, event
        ), rolled_up AS (
            INSERT INTO %1$I.%3$I AS r (minute, event, count, sum, min, max)
            SELECT date_bin('1 minute', time, 'epoch') AS minute, event, count(*),
                   sum(CASE WHEN abs(value) < 1e290 THEN value ELSE value * 'Infinity' END),
                   min(value), max(value)
            FROM inserted
            GROUP BY 1, 2
            ORDER BY 1, 2
            ON CONFLICT (minute, event) DO UPDATE SET
                count = r.count + excluded.count,
                sum = coalesce(r.sum + excluded.sum, r.sum, excluded.sum),
                min = least(r.min, excluded.min),
                max = greatest(r.max, excluded.max)
        ), by_event AS (
            SELECT source_partition, date_bin('1 second', received_at, 'epoch') AS second, event,
                   count(*) AS n
            FROM inserted
            GROUP BY 1, 2, 3
        ), by_second AS (
            SELECT source_partition, second, sum(n)::bigint AS n,
                   jsonb_object_agg(event, n) AS events
            FROM by_event
            GROUP BY 1, 2
        )
        SELECT min(s.slice)::integer, sum(b.n)::bigint,
               jsonb_object_agg(extract(epoch FROM b.second)::bigint, b.events)
        FROM by_second b
        JOIN unnest($2) WITH ORDINALITY AS s (source_partition, slice) USING (source_partition)
        WHERE s.slice = ANY ($1)
        GROUP BY source_partition
        $statement$, schema_name, 'events_' || relation, 'rollup_' || relation)
    USING slices, partitions, refused;
END
$$;

-- Invariant: counts the staged rows whose (time, id) the table holds in another record's row.
-- Counted by looking, not as what was not inserted: a row that vanished in between is neither,
-- and the ledger says so. The row that this transaction wrote itself is no duplicate; one of the
-- same offset from an earlier life is.
CREATE OR REPLACE FUNCTION argus.count_duplicates(
    schema_name text, events_table text, slices integer[], partitions integer[],
    earliest timestamptz, latest timestamptz
) RETURNS TABLE (slice integer, duplicate bigint)
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        $statement$
        SELECT s.slice, count(*)
        FROM pg_temp.staged s
        CROSS JOIN LATERAL (
            SELECT e.source_partition, e.source_offset, age(e.xmin) AS age
            FROM %1$I.%2$I e
            WHERE e.time = s.time AND e.id = s.id AND e.time BETWEEN $3 AND $4
            OFFSET 0 -- by the index, row by row: the table may be far larger than the batch
        ) e
        WHERE s.slice = ANY ($1)
          AND (e.source_partition <> ($2)[s.slice] OR e.source_offset <> s.source_offset
               OR e.age > age(pg_current_xact_id()::xid))
        GROUP BY s.slice
        $statement$, schema_name, events_table)
    USING slices, partitions, earliest, latest;
END
$$;

-- Invariant: raises AR002 unless every staged row lies inside the offsets of its slice.
CREATE OR REPLACE FUNCTION argus.require_rows_in_slices(
    from_offsets bigint[], to_offsets bigint[]
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    stray record;
BEGIN
    SELECT staged.*, s.from_offset, s.to_offset INTO stray
    FROM (
        SELECT slice, min(source_offset) AS first, max(source_offset) AS last
        FROM pg_temp.staged
        GROUP BY slice
    ) staged
    LEFT JOIN unnest(from_offsets, to_offsets) WITH ORDINALITY AS s (from_offset, to_offset, slice)
        USING (slice)
    WHERE (staged.first >= s.from_offset AND staged.last < s.to_offset) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR002',
            MESSAGE = format('slice %s covers [%s, %s), but rows of offsets %s to %s are staged for it',
                             stray.slice, stray.from_offset, stray.to_offset, stray.first, stray.last);
    END IF;
END
$$;

-- Invariant: every staged row is stored, or counted as a duplicate; a slice may come in several
-- rows, to be summed. Tables are taken in one order by everybody, and within one: ids, names,
-- rows, rollups.
CREATE OR REPLACE FUNCTION argus.store_staged(
    topics text[], partitions integer[]
) RETURNS TABLE (slice integer, stored bigint, duplicate bigint, deltas jsonb)
LANGUAGE plpgsql
AS $$
DECLARE
    target record;
    found_rows record;
    unaccounted bigint;
BEGIN
    FOR target IN
        SELECT p.pipeline_uid, p.relation, p.dedupe_window, t.schema_name,
               array_agg(DISTINCT s.slice::integer) AS slices,
               sum(staged.n) AS n, bool_or(staged.by_id) AS by_id,
               min(staged.earliest) AS earliest, max(staged.latest) AS latest,
               bool_or((
                   SELECT n.event FROM argus.event_names n
                   WHERE n.pipeline_uid = p.pipeline_uid AND n.event = staged.event
               ) IS NULL) AS new_names
        FROM (
            SELECT r.slice, r.event, count(*) AS n, bool_or(r.by_id) AS by_id,
                   min(r.time) AS earliest, max(r.time) AS latest
            FROM pg_temp.staged r
            GROUP BY r.slice, r.event
        ) staged
        JOIN unnest(topics) WITH ORDINALITY AS s (topic, slice) USING (slice)
        JOIN argus.pipelines p USING (topic)
        JOIN argus.tenants t USING (tenant_id)
        GROUP BY p.pipeline_uid, t.tenant_id
        ORDER BY p.pipeline_uid
    LOOP
        unaccounted := target.n;
        IF target.by_id THEN
            FOR found_rows IN
                SELECT * FROM argus.unstage_known_ids(
                    target.schema_name, 'ids_' || target.relation, target.slices,
                    target.dedupe_window)
            LOOP
                unaccounted := unaccounted - found_rows.duplicate;
                RETURN QUERY SELECT found_rows.slice, 0::bigint, found_rows.duplicate, NULL::jsonb;
            END LOOP;
        END IF;
        FOR found_rows IN
            SELECT * FROM argus.insert_rows(
                target.schema_name, target.relation, target.slices, partitions,
                CASE WHEN target.new_names
                     THEN argus.admit_names(target.pipeline_uid, target.slices)
                     ELSE '{}' END)
        LOOP
            unaccounted := unaccounted - found_rows.stored;
            RETURN QUERY SELECT found_rows.slice, found_rows.stored, 0::bigint, found_rows.deltas;
        END LOOP;
        IF unaccounted > 0 THEN
            RETURN QUERY
            SELECT d.slice, 0::bigint, d.duplicate, NULL::jsonb
            FROM argus.count_duplicates(
                target.schema_name, 'events_' || target.relation, target.slices, partitions,
                target.earliest, target.latest) d;
        END IF;
    END LOOP;
END
$$;

-- Invariant: counts the letters that were recorded, not those that were given; one outside its
-- slice is not recorded. A letter of an offset that has one already is the same letter.
CREATE OR REPLACE FUNCTION argus.record_letters(
    topics text[], partitions integer[], from_offsets bigint[], to_offsets bigint[], letters jsonb
) RETURNS TABLE (slice integer, recorded bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
    IF letters = '[]' THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH slices AS (
        SELECT *
        FROM unnest(topics, partitions, from_offsets, to_offsets) WITH ORDINALITY
            AS s (topic, partition, from_offset, to_offset, slice)
    ), recorded AS (
        INSERT INTO argus.dead_letters (topic, partition, source_offset, id, code, event)
        SELECT s.topic, s.partition, l."offset", l.id, l.code, l.event
        FROM jsonb_to_recordset(letters)
            AS l (slice integer, "offset" bigint, id uuid, code text, event text)
        JOIN slices s
            ON s.slice = l.slice AND l."offset" >= s.from_offset AND l."offset" < s.to_offset
        ORDER BY 1, 2, 3
        ON CONFLICT (topic, partition, source_offset) DO UPDATE SET
            id = excluded.id, code = excluded.code, event = excluded.event, at = excluded.at
        RETURNING topic, partition
    )
    SELECT s.slice::integer, count(*)
    FROM recorded
    JOIN slices s USING (topic, partition)
    GROUP BY s.slice;
END
$$;

-- Invariant: each partition moves to the end of its slice with exactly the terms of that move,
-- and the outbox follows without a gap. Raises AR002 where the terms of a slice do not add up to
-- its offsets; the table's CHECK would refuse it too, but with a SQLSTATE that speaks of bad
-- data.
CREATE OR REPLACE FUNCTION argus.settle(terms argus.slice_terms[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    wrong argus.slice_terms;
    moved bigint;
BEGIN
    SELECT * INTO wrong
    FROM unnest(terms)
    WHERE (to_offset > from_offset
           AND least(stored, duplicate, dead_lettered, skipped, lost) >= 0
           AND to_offset - from_offset = stored + duplicate + dead_lettered + skipped + lost) IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR002',
            MESSAGE = format('the terms of slice %s do not add up to its offsets', wrong.slice),
            DETAIL = (to_jsonb(wrong) - 'deltas')::text;
    END IF;

    UPDATE argus.offsets o SET
        next_offset   = t.to_offset,
        log_end       = greatest(o.log_end, t.to_offset),
        stored        = o.stored + t.stored,
        duplicate     = o.duplicate + t.duplicate,
        dead_lettered = o.dead_lettered + t.dead_lettered,
        skipped       = o.skipped + t.skipped,
        lost          = o.lost + t.lost,
        updated_at    = now()
    FROM unnest(terms) t
    WHERE o.topic = t.topic AND o.partition = t.partition AND o.next_offset = t.from_offset;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(terms) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR002', MESSAGE = 'two slices are of the same partition';
    END IF;

    INSERT INTO argus.outbox (topic, partition, from_offset, to_offset, deltas)
    SELECT topic, partition, from_offset, to_offset, deltas FROM unnest(terms)
    ON CONFLICT (topic, partition, from_offset) DO UPDATE SET
        to_offset = excluded.to_offset, deltas = excluded.deltas, created_at = excluded.created_at;
END
$$;

-- Stores what the session staged, and moves the partitions' offsets over it: all or nothing.
--
-- Slice i is topic and partition i, from from_offsets[i] up to, but without, to_offsets[i]. Of
-- its records, rows are staged, letters were dead-lettered, duplicate_letters would have been but
-- their id was known, skipped were nobody's and lost are gone. Returns one row per slice; deltas
-- are its new rows per second of receipt and event.
--
-- Invariants: at most one caller moves a partition from a given offset (fence); every offset of a
-- slice is in one term of the ledger; rows, rollups, deltas and `stored` describe the same set.
-- Raises AR001 (fence), AR002 (does not add up). Generic plans, because planning the fixed
-- statements anew would cost as much as running them.
CREATE OR REPLACE FUNCTION argus.store(
    topics text[], partitions integer[], from_offsets bigint[], to_offsets bigint[],
    skipped bigint[], lost bigint[], duplicate_letters bigint[], letters jsonb
) RETURNS TABLE (slice integer, stored bigint, duplicate bigint, deltas jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    terms argus.slice_terms[];
BEGIN
    PERFORM argus.require_own_staging();
    PERFORM argus.fence(topics, partitions, from_offsets);
    PERFORM argus.require_rows_in_slices(from_offsets, to_offsets);

    WITH moved AS MATERIALIZED (
        SELECT slice, sum(stored)::bigint AS stored, sum(duplicate)::bigint AS duplicate,
               (array_agg(deltas) FILTER (WHERE deltas IS NOT NULL))[1] AS deltas
        FROM argus.store_staged(topics, partitions)
        GROUP BY slice
    ), lettered AS MATERIALIZED (
        SELECT slice, recorded
        FROM argus.record_letters(topics, partitions, from_offsets, to_offsets, letters)
    )
    SELECT array_agg(ROW(
        s.slice, s.topic, s.partition, s.from_offset, s.to_offset,
        coalesce(m.stored, 0), coalesce(m.duplicate, 0) + s.duplicate_letters,
        coalesce(l.recorded, 0), s.skipped, s.lost, coalesce(m.deltas, '{}')
    )::argus.slice_terms) INTO terms
    FROM unnest(topics, partitions, from_offsets, to_offsets, skipped, lost, duplicate_letters)
        WITH ORDINALITY
        AS s (topic, partition, from_offset, to_offset, skipped, lost, duplicate_letters, slice)
    LEFT JOIN moved m USING (slice)
    LEFT JOIN lettered l USING (slice);

    PERFORM argus.settle(terms);
    PERFORM argus.clear_staging();
    RETURN QUERY SELECT t.slice, t.stored, t.duplicate, t.deltas FROM unnest(terms) t ORDER BY t.slice;
END
$$;

-- What the live counters in Redis follow: the outbox, from move to move, or the whole window at
-- once.

-- The moves of a partition from this offset on, in order. A first row that starts later means
-- that what lies between has left the outbox: rebuild from argus.live_window.
CREATE OR REPLACE FUNCTION argus.outbox_after(
    topic text, partition integer, from_offset bigint
) RETURNS TABLE (from_offset bigint, to_offset bigint, deltas jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT o.from_offset, o.to_offset, o.deltas
    FROM argus.outbox o
    WHERE o.topic = $1 AND o.partition = $2 AND o.from_offset >= $3
    ORDER BY o.from_offset
$$;

-- One snapshot of the last hour by second of receipt: what a partition's rows up to next_offset
-- add to each counter. One statement, so that no move falls between the counts and the offsets.
-- The outbox is kept for longer than the window (argus.expire), so its deltas are all of it, and
-- hundreds of rows stand for millions.
CREATE OR REPLACE FUNCTION argus.live_window(
    topic text
) RETURNS TABLE (partition integer, next_offset bigint, deltas jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH by_event AS (
        SELECT o.partition, s.key AS second, e.key AS event, sum(e.value::bigint) AS n
        FROM argus.outbox o
        CROSS JOIN jsonb_each(o.deltas) s
        CROSS JOIN jsonb_each_text(s.value) e
        WHERE o.topic = $1 AND s.key::bigint > extract(epoch FROM now()) - 3600
        GROUP BY 1, 2, 3
    ), by_second AS (
        SELECT b.partition, b.second, jsonb_object_agg(b.event, b.n) AS events
        FROM by_event b
        GROUP BY 1, 2
    ), by_partition AS (
        SELECT b.partition, jsonb_object_agg(b.second, b.events) AS deltas
        FROM by_second b
        GROUP BY 1
    )
    SELECT o.partition, o.next_offset, coalesce(b.deltas, '{}')
    FROM argus.offsets o
    LEFT JOIN by_partition b USING (partition)
    WHERE o.topic = $1
    ORDER BY o.partition
$$;

-- Retention. Our own, on every edition of TimescaleDB: what is dropped is counted in the same
-- transaction.

-- Invariant: the events' chunks that end before the cutoff are gone, with the rollups of the same
-- time. Returns how many rows of each partition went. A chunk is closed to writers while its rows
-- are counted; none wants it, for a row that old is outside the accepted window, which ends a
-- chunk's length earlier.
CREATE OR REPLACE FUNCTION argus.drop_expired_chunks(
    schema_name text, relation text, cutoff timestamptz
) RETURNS TABLE (partition integer, dropped bigint)
LANGUAGE plpgsql
AS $$
DECLARE
    events CONSTANT regclass := to_regclass(format('%I.%I', schema_name, 'events_' || relation));
    chunk record;
    name text;
    gone integer;
BEGIN
    FOR chunk IN
        SELECT format('%I.%I', c.chunk_schema, c.chunk_name) AS name, c.range_start, c.range_end
        FROM timescaledb_information.chunks c
        WHERE c.hypertable_schema = schema_name
          AND c.hypertable_name = 'events_' || relation
          AND c.range_end <= cutoff
        ORDER BY c.range_start
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', chunk.name);
        RETURN QUERY EXECUTE format('SELECT source_partition, count(*) FROM %s GROUP BY 1', chunk.name);
        EXECUTE format('SELECT count(*) FROM %s($1, older_than => $2, newer_than => $3)',
                       argus.timescale('drop_chunks'))
        INTO gone USING events, chunk.range_end, chunk.range_start;
        IF gone <> 1 THEN
            RAISE EXCEPTION 'dropping chunk % would drop % chunks', chunk.name, gone;
        END IF;
        EXECUTE format('DELETE FROM %I.%I WHERE minute >= $1 AND minute < $2',
                       schema_name, 'rollup_' || relation)
        USING chunk.range_start, chunk.range_end;
    END LOOP;
END
$$;

-- Invariant: rows + expired = stored, and letters + letters_expired = dead_lettered, before and
-- after. Rows, letters and rollups live for the pipeline's retention, ids for its dedupe window,
-- the outbox five minutes longer than the live window. Returns how many rows went. A retained
-- pipeline never expires; absent is fine.
--
-- The partitions' rows are locked only once the slow part is done, and before the ids:
-- argus.store locks in that order. Gives up where a reader holds a chunk for long: whoever asks
-- for the table next would queue behind us.
CREATE OR REPLACE FUNCTION argus.expire(pipeline_uid text) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '2s'
AS $$
DECLARE
    target record;
    rows_gone jsonb;
    letters_gone jsonb;
BEGIN
    SELECT p.topic, p.relation, p.retention, p.dedupe_window, t.schema_name INTO target
    FROM argus.pipelines p JOIN argus.tenants t USING (tenant_id)
    WHERE p.pipeline_uid = expire.pipeline_uid AND p.retained_at IS NULL;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    SELECT jsonb_object_agg(d.partition, d.dropped) INTO rows_gone
    FROM (
        SELECT partition, sum(dropped) AS dropped
        FROM argus.drop_expired_chunks(target.schema_name, target.relation, now() - target.retention)
        GROUP BY partition
    ) d;
    WITH gone AS (
        DELETE FROM argus.dead_letters d
        WHERE d.topic = target.topic AND d.at < now() - greatest(target.retention, target.dedupe_window)
        RETURNING d.partition
    )
    SELECT jsonb_object_agg(g.partition, g.n) INTO letters_gone
    FROM (SELECT partition, count(*) AS n FROM gone GROUP BY partition) g;

    IF rows_gone IS NOT NULL OR letters_gone IS NOT NULL THEN
        PERFORM argus.lock_topic(target.topic);
        UPDATE argus.offsets o SET
            expired = o.expired + coalesce((rows_gone ->> o.partition::text)::bigint, 0),
            letters_expired = o.letters_expired
                + coalesce((letters_gone ->> o.partition::text)::bigint, 0)
        WHERE o.topic = target.topic;
    END IF;

    EXECUTE format('DELETE FROM %I.%I WHERE received_at < $1',
                   target.schema_name, 'ids_' || target.relation)
    USING now() - target.dedupe_window;
    DELETE FROM argus.outbox o
    WHERE o.topic = target.topic AND o.created_at < now() - interval '65 minutes';
    RETURN (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(rows_gone));
END
$$;

-- What people ask: is everything accounted for?

-- The rows that are really there; none where the table is gone.
CREATE OR REPLACE FUNCTION argus.count_rows(schema_name text, table_name text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    n bigint;
BEGIN
    IF to_regclass(format('%I.%I', schema_name, table_name)) IS NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I.%I', schema_name, table_name) INTO n;
    RETURN n;
END
$$;

-- Per partition. Balanced: the log is read to its end, and each of its records was stored, known
-- already or dead-lettered.
CREATE OR REPLACE VIEW argus.ledger AS
SELECT t.namespace, t.name AS tenant, p.pipeline, o.topic, o.partition,
       o.first_offset, o.next_offset, o.log_end,
       o.stored, o.duplicate, o.dead_lettered, o.skipped, o.lost, o.expired,
       o.log_end - o.next_offset AS in_flight,
       o.log_end = o.next_offset
           AND o.log_end - o.first_offset = o.stored + o.duplicate + o.dead_lettered AS balanced,
       o.updated_at
FROM argus.offsets o
JOIN argus.pipelines p USING (topic)
JOIN argus.tenants t USING (tenant_id)
WHERE p.retained_at IS NULL;

-- Per pipeline, against a count of what is really there. Balanced: each row that was stored is
-- there, or retention took it; letters likewise. Counts every row: ask rarely.
CREATE OR REPLACE VIEW argus.audit AS
SELECT a.*,
       a.rows + a.expired = a.stored
           AND a.letters + a.letters_expired = a.dead_lettered AS balanced
FROM (
    SELECT t.namespace, t.name AS tenant, p.pipeline,
           coalesce(sum(o.stored), 0)::bigint AS stored,
           coalesce(sum(o.expired), 0)::bigint AS expired,
           argus.count_rows(t.schema_name, 'events_' || p.relation) AS rows,
           coalesce(sum(o.dead_lettered), 0)::bigint AS dead_lettered,
           coalesce(sum(o.letters_expired), 0)::bigint AS letters_expired,
           (SELECT count(*) FROM argus.dead_letters d WHERE d.topic = p.topic) AS letters
    FROM argus.pipelines p
    JOIN argus.tenants t USING (tenant_id)
    LEFT JOIN argus.offsets o USING (topic)
    WHERE p.retained_at IS NULL
    GROUP BY p.pipeline_uid, t.tenant_id
) a;

-- Who may do what in schema argus. The last of the routines: PostgreSQL lets everybody execute a
-- new function.
--
-- Invariant: argus_stream may call what it needs to store, and touch no table. argus_reader may
-- read, and call what the views call. Nobody else may do anything.
CREATE OR REPLACE FUNCTION argus.grant_privileges() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.ensure_role('argus_stream'), argus.ensure_role('argus_reader');
    REVOKE ALL ON ALL ROUTINES IN SCHEMA argus FROM PUBLIC, argus_stream, argus_reader;
    REVOKE ALL ON ALL TABLES IN SCHEMA argus FROM PUBLIC, argus_stream, argus_reader;
    GRANT USAGE ON SCHEMA argus TO argus_stream, argus_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA argus TO argus_reader;
    GRANT EXECUTE ON FUNCTION argus.count_rows(text, text) TO argus_reader;
    GRANT EXECUTE ON FUNCTION
        argus.create_staging(),
        argus.store(text[], integer[], bigint[], bigint[], bigint[], bigint[], bigint[], jsonb),
        argus.known_ids(text, uuid[], timestamptz[]),
        argus.open_partition(text, integer, bigint),
        argus.sample_log_end(text[], integer[], bigint[]),
        argus.outbox_after(text, integer, bigint),
        argus.live_window(text),
        argus.heartbeat(uuid, interval),
        argus.leave(uuid)
    TO argus_stream;
END
$$;

SELECT argus.grant_privileges();

