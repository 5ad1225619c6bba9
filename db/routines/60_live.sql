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

-- The same, but no more than `most` moves at once (at least one): whoever has fallen far behind
-- reads page after page, each from the end of the one before.
CREATE OR REPLACE FUNCTION argus.outbox_page(
    topic text, partition integer, from_offset bigint, most integer
) RETURNS TABLE (from_offset bigint, to_offset bigint, deltas jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT o.from_offset, o.to_offset, o.deltas
    FROM argus.outbox o
    WHERE o.topic = $1 AND o.partition = $2 AND o.from_offset >= $3
    ORDER BY o.from_offset
    LIMIT greatest($4, 1)
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
