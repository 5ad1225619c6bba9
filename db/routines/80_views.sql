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
       o.updated_at,
       o.last_event_at,
       CASE WHEN o.log_end > o.next_offset THEN o.oldest_unread_at END AS oldest_unread_at,
       s.state, s.reason,
       o.sampled_at
FROM argus.offsets o
JOIN argus.pipelines p USING (topic)
JOIN argus.tenants t USING (tenant_id)
LEFT JOIN argus.partition_states s
    ON s.topic = o.topic AND s.partition = o.partition
   AND s.reported_at > now() - interval '1 minute' -- six times as often as it is reported
WHERE p.retained_at IS NULL;

-- Per pipeline, summed over its partitions. log_end - log_start = stored + duplicate +
-- dead_lettered + skipped + lost + in_flight. Balanced: nothing was lost, and the reasons of the
-- letters add up to the letters; what is in flight is not missing, and skipped records are not
-- ours. The state is the worst that is reported, else null where a partition's is not, else open.
CREATE OR REPLACE VIEW argus.pipeline_ledger AS
SELECT t.namespace, t.name AS tenant, p.pipeline, p.pipeline_uid, p.topic, p.dead_letter_topic,
       p.partitions, o.log_start, o.log_end, o.stored, o.duplicate, o.dead_lettered,
       c.by_reason AS dead_lettered_by_reason,
       o.skipped, o.lost, o.expired, o.in_flight, o.oldest_unread_at, o.last_event_at,
       CASE WHEN o.worst = 'open' AND o.opened < p.partitions THEN NULL ELSE o.worst END AS state,
       o.reason, o.sampled_at,
       o.lost = 0 AND c.n = o.dead_lettered AS balanced
FROM argus.pipelines p
JOIN argus.tenants t USING (tenant_id)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(l.first_offset), 0)::bigint AS log_start,
           coalesce(sum(l.log_end), 0)::bigint AS log_end,
           coalesce(sum(l.stored), 0)::bigint AS stored,
           coalesce(sum(l.duplicate), 0)::bigint AS duplicate,
           coalesce(sum(l.dead_lettered), 0)::bigint AS dead_lettered,
           coalesce(sum(l.skipped), 0)::bigint AS skipped,
           coalesce(sum(l.lost), 0)::bigint AS lost,
           coalesce(sum(l.expired), 0)::bigint AS expired,
           coalesce(sum(l.in_flight), 0)::bigint AS in_flight,
           min(l.oldest_unread_at) AS oldest_unread_at,
           max(l.last_event_at) AS last_event_at,
           (array_agg(l.state ORDER BY w.rank, l.partition))[1] AS worst,
           (array_agg(l.reason ORDER BY w.rank, l.partition))[1] AS reason,
           count(*) AS opened,
           min(l.sampled_at) AS sampled_at
    FROM argus.ledger l
    CROSS JOIN LATERAL (
        SELECT array_position('{stopped,guarded,paused,NULL,open}', l.state) AS rank
    ) w
    WHERE l.topic = p.topic
) o
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(r.code, r.n), '{}') AS by_reason, coalesce(sum(r.n), 0) AS n
    FROM (
        SELECT lc.code, sum(lc.n)::bigint AS n
        FROM argus.letter_counts lc WHERE lc.topic = p.topic GROUP BY lc.code
    ) r
) c
WHERE p.retained_at IS NULL;

-- Per pipeline, against a count of what is really there. Balanced: each row that was stored is
-- there, or retention took it; letters likewise. Counts every row: ask rarely.
CREATE OR REPLACE VIEW argus.audit AS
SELECT a.namespace, a.tenant, a.pipeline, a.stored, a.expired, a.rows,
       a.dead_lettered, a.letters_expired, a.letters,
       a.rows + a.expired = a.stored
           AND a.letters + a.letters_expired = a.dead_lettered AS balanced,
       a.pipeline_uid
FROM (
    SELECT t.namespace, t.name AS tenant, p.pipeline, p.pipeline_uid,
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
