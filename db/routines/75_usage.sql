-- What tenants have sent in a day and in a month of UTC: for counters that were lost. Redis counts
-- while requests are judged; this is what the logs took, replays included, and without what came
-- between midnight and the day's first mark.

-- Records that the logs of a topic took since the books began, read or not; gaps and records of
-- others are none.
CREATE OR REPLACE FUNCTION argus.accepted(topic text) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(sum(greatest(o.log_end, o.next_offset) - o.first_offset - o.skipped), 0)::bigint
    FROM argus.offsets o
    WHERE o.topic = $1
$$;

-- Invariant: every pipeline that is not retained has a mark of today. One that was made today
-- began at 0. To be called some times a minute; marks are kept for a month and the one before it.
CREATE OR REPLACE FUNCTION argus.mark_usage() RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    INSERT INTO argus.usage_marks (pipeline_uid, day, accepted)
    SELECT p.pipeline_uid, today,
           CASE WHEN (p.created_at AT TIME ZONE 'UTC')::date = today THEN 0
                ELSE argus.accepted(p.topic)
           END
    FROM argus.pipelines p
    WHERE p.retained_at IS NULL
      AND NOT EXISTS (
          SELECT FROM argus.usage_marks m WHERE m.pipeline_uid = p.pipeline_uid AND m.day = today
      )
    FOR KEY SHARE OF p -- else one that is dropped meanwhile would fail the marks of all
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        DELETE FROM argus.usage_marks m WHERE m.day < today - 62;
    END IF;
END
$$;

-- Of each tenant that is not retained, what its logs took since the marks of today and since the
-- first ones of this month; what a retained pipeline took before counts too. `at` says which day
-- and month that is.
CREATE OR REPLACE FUNCTION argus.usage()
RETURNS TABLE (tenant_id text, at timestamptz, daily bigint, monthly bigint)
LANGUAGE sql STABLE
AS $$
    SELECT t.tenant_id, now(),
           coalesce(sum(greatest(a.n - today.accepted, 0)), 0)::bigint,
           coalesce(sum(greatest(a.n - month.accepted, 0)), 0)::bigint
    FROM argus.tenants t
    LEFT JOIN argus.pipelines p USING (tenant_id)
    LEFT JOIN argus.usage_marks today
        ON today.pipeline_uid = p.pipeline_uid AND today.day = (now() AT TIME ZONE 'UTC')::date
    LEFT JOIN LATERAL (
        SELECT m.accepted
        FROM argus.usage_marks m
        WHERE m.pipeline_uid = p.pipeline_uid
          AND m.day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date
        ORDER BY m.day
        LIMIT 1
    ) month ON true
    LEFT JOIN LATERAL argus.accepted(p.topic) a (n) ON true
    WHERE t.retained_at IS NULL
    GROUP BY t.tenant_id
$$;
