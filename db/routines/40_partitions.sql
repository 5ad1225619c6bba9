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
