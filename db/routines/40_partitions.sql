-- Where each partition stands, and who reads it. Called by the stream with its owner's rights.

-- Invariant: the partition has a row, and it does not stand before the log. Records that Kafka
-- deleted before they were read are counted as lost. Returns the offset to read from. Raises
-- AR404 for a topic of no live pipeline, AR410 with the reason for a halted partition.
CREATE OR REPLACE FUNCTION argus.open_partition(
    topic text, partition integer, log_start bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    standing bigint;
    halted text;
BEGIN
    PERFORM FROM argus.pipelines p WHERE p.topic = open_partition.topic AND p.retained_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AR404', MESSAGE = format('no pipeline has topic %s', topic);
    END IF;
    SELECT h.reason INTO halted FROM argus.halted_partitions h
    WHERE h.topic = open_partition.topic AND h.partition = open_partition.partition;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'AR410', MESSAGE = halted;
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

-- Invariant: the partition is opened by nobody before argus.resume_partition. The first reason
-- stays: what is found later may only look better.
CREATE OR REPLACE FUNCTION argus.halt_partition(
    topic text, partition integer, reason text
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO argus.halted_partitions (topic, partition, reason) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING
$$;

-- For the database's owner, by hand: the partition is read on from where it stood. What its log
-- holds before that offset, and was not read, is given up. Returns whether it was halted.
CREATE OR REPLACE FUNCTION argus.resume_partition(topic text, partition integer) RETURNS boolean
LANGUAGE sql
AS $$
    WITH resumed AS (
        DELETE FROM argus.halted_partitions h WHERE h.topic = $1 AND h.partition = $2 RETURNING 1
    )
    SELECT EXISTS (SELECT FROM resumed)
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

-- Invariant: log_end is what Kafka said last, but never before next_offset: a sample may be older
-- than the batch that was stored meanwhile. oldest[i] is when the partition's first unread record
-- was received, null where the caller cannot know: then what is known stays as long as the
-- partition stands there, and after that the first sample that saw the record says when. Where
-- nothing else changed a row is written each five seconds. Other partitions are ignored, and so
-- is an end that is null: an unknown lag is not none.
CREATE OR REPLACE FUNCTION argus.sample(
    topics text[], partitions integer[], ends bigint[], oldest timestamptz[]
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH seen AS (
        SELECT o.topic, o.partition, o.next_offset, o.sampled_at, o.oldest_unread_at AS known,
               o.log_end AS before, greatest(s.log_end, o.next_offset) AS log_end,
               CASE WHEN s.log_end <= o.next_offset THEN NULL
                    WHEN s.oldest IS NULL AND o.oldest_unread_offset = o.next_offset
                    THEN o.oldest_unread_at
                    ELSE coalesce(s.oldest, now())
               END AS oldest
        FROM argus.offsets o
        JOIN unnest(topics, partitions, ends, oldest) AS s (topic, partition, log_end, oldest)
            USING (topic, partition)
        WHERE s.log_end IS NOT NULL
        ORDER BY o.topic, o.partition
        FOR NO KEY UPDATE OF o
    )
    UPDATE argus.offsets o SET
        log_end = seen.log_end, sampled_at = now(),
        oldest_unread_at = seen.oldest,
        oldest_unread_offset = CASE WHEN seen.oldest IS NOT NULL THEN seen.next_offset END
    FROM seen
    WHERE o.topic = seen.topic AND o.partition = seen.partition
      AND ((seen.log_end, seen.oldest) IS DISTINCT FROM (seen.before, seen.known)
           OR (seen.sampled_at > now() - interval '5 seconds') IS NOT TRUE)
$$;

-- Invariant: each of these partitions is in the state that the caller, which reads it, says:
-- open, paused (the store does not take its rows), guarded (it would refuse most of them) or
-- stopped (it cannot be read); reason says why in words. Raises AR002 for any other state;
-- partitions that were never opened are ignored.
CREATE OR REPLACE FUNCTION argus.report_states(
    topics text[], partitions integer[], states text[], reasons text[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (states <@ ARRAY['open', 'paused', 'guarded', 'stopped']
        AND cardinality(states) = cardinality(topics)) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR002',
            MESSAGE = format('states must be open, paused, guarded or stopped, one for each'
                             ' partition, not %s', coalesce(states::text, 'null'));
    END IF;
    INSERT INTO argus.partition_states AS p (topic, partition, state, reason)
    SELECT DISTINCT ON (o.topic, o.partition) o.topic, o.partition, s.state, s.reason
    FROM unnest(topics, partitions, states, reasons) AS s (topic, partition, state, reason)
    JOIN argus.offsets o USING (topic, partition)
    ORDER BY o.topic, o.partition
    ON CONFLICT (topic, partition) DO UPDATE SET
        state = excluded.state, reason = excluded.reason, reported_at = excluded.reported_at,
        since = CASE WHEN p.state = excluded.state THEN p.since ELSE excluded.since END;
END
$$;

-- Of these letters, given by root and attempt, the roots that need no further one: their attempt,
-- or a later one, was dead-lettered already, or their event was stored.
CREATE OR REPLACE FUNCTION argus.settled_replays(
    roots text[], attempts integer[]
) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.root
    FROM argus.replays r
    WHERE r.root = ANY (roots)
      AND (r.outcome <> 'dead_lettered'
           OR r.attempt >= ALL (
               SELECT asked.attempt FROM unnest(roots, attempts) AS asked (root, attempt)
               WHERE asked.root = r.root
           ))
$$;

-- Ids that need no (second) dead letter: dead-lettered within the pipeline's dedupe window, or
-- stored. An id without a time of its own is looked up among the ids, any other by its id and
-- time among the rows. An event that the edge took is no copy of one with its id that the edge
-- refused: its sender has corrected it. So `rejects` says whether those count.
CREATE OR REPLACE FUNCTION argus.known_ids(
    topic text, ids uuid[], times timestamptz[], rejects boolean DEFAULT true
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
          AND ($5 OR d.step IS DISTINCT FROM 'ingest')
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
    USING topic, ids, times, target.dedupe_window, rejects;
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
