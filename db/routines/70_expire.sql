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
-- after. Rows and rollups live for the pipeline's retention, letters for the longest of all that may
-- ask for them, replays longer than the letters in Kafka, ids for the dedupe window, the outbox
-- five minutes longer than the live window. Returns how many rows went. A retained pipeline never
-- expires; absent is fine.
--
-- The partitions' rows are locked only once the slow part is done, and before the ids:
-- argus.store locks in that order. Gives up where a reader holds a chunk for long: whoever asks
-- for the table next would queue behind us.
CREATE OR REPLACE FUNCTION argus.expire(pipeline_uid text) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '2s'
AS $$
DECLARE
    target record;
    letters_kept interval;
    rows_gone jsonb;
    letters_gone jsonb;
BEGIN
    SELECT p.topic, p.relation, p.retention, p.dedupe_window, p.dead_letter_retention,
           t.schema_name
    INTO target
    FROM argus.pipelines p JOIN argus.tenants t USING (tenant_id)
    WHERE p.pipeline_uid = expire.pipeline_uid AND p.retained_at IS NULL;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    letters_kept := greatest(target.retention, target.dedupe_window, target.dead_letter_retention);

    SELECT jsonb_object_agg(d.partition, d.dropped) INTO rows_gone
    FROM (
        SELECT partition, sum(dropped) AS dropped
        FROM argus.drop_expired_chunks(target.schema_name, target.relation, now() - target.retention)
        GROUP BY partition
    ) d;
    WITH gone AS (
        DELETE FROM argus.dead_letters d
        WHERE d.topic = target.topic AND d.at < now() - letters_kept
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
    -- Kafka drops a segment when its last letter is old enough, and begins a new one after seven
    -- days. A batch may be settling one of these again: it is then not old any more.
    DELETE FROM argus.replays r
    WHERE r.root IN (
        SELECT old.root FROM argus.replays old
        WHERE old.topic = target.topic AND old.settled_at < now() - letters_kept - interval '8 days'
        FOR UPDATE SKIP LOCKED
    );
    DELETE FROM argus.outbox o
    WHERE o.topic = target.topic AND o.created_at < now() - interval '65 minutes';
    RETURN (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(rows_gone));
END
$$;
