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
