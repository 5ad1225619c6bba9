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

-- Invariant: one event has one letter in a pipeline, whichever processes read its copies at once; an
-- event that the edge took is no copy of one with its id that the edge refused. Counts the letters
-- that were recorded, not those that were given, by partition and by reason, and the copies of
-- others; one outside its slice is neither. A letter of an offset that has one already is the same
-- letter. Whoever records letters of a pipeline waits for whoever does; to be called when nothing
-- but the own partitions' offsets is needed any more, so that there are no circular waits.
CREATE OR REPLACE FUNCTION argus.record_letters(
    topics text[], partitions integer[], from_offsets bigint[], to_offsets bigint[], letters jsonb
) RETURNS TABLE (slice integer, recorded bigint, known bigint)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    lock_class CONSTANT integer := hashtext('argus.record_letters');
BEGIN
    PERFORM pg_advisory_xact_lock(lock_class, named.hash)
    FROM (
        SELECT DISTINCT hashtext(topics[l.slice]) AS hash
        FROM jsonb_to_recordset(letters) AS l (slice integer)
        ORDER BY hash
    ) named;
    RETURN QUERY
    WITH slices AS (
        SELECT s.*, p.dedupe_window
        FROM unnest(topics, partitions, from_offsets, to_offsets) WITH ORDINALITY
            AS s (topic, partition, from_offset, to_offset, slice)
        JOIN argus.pipelines p USING (topic)
    ), given AS (
        SELECT s.slice, s.topic, s.partition, s.dedupe_window, l."offset", l.id, l.code, l.event,
               l.step, l.root, coalesce(l.attempt, 1) AS attempt, l.step = 'ingest' AS rejected,
               row_number() OVER (
                   PARTITION BY s.topic, l.id, l.root IS NULL, l.step = 'ingest'
                   ORDER BY s.partition, l."offset"
               ) AS copy
        FROM jsonb_to_recordset(letters)
            AS l (slice integer, "offset" bigint, id uuid, code text, event text, step text,
                  root text, attempt integer)
        JOIN slices s
            ON s.slice = l.slice AND l."offset" >= s.from_offset AND l."offset" < s.to_offset
    ), judged AS MATERIALIZED (
        SELECT g.*, g.id IS NOT NULL AND g.root IS NULL AND (g.copy > 1 OR EXISTS (
            SELECT FROM argus.dead_letters d
            WHERE d.topic = g.topic AND d.id = g.id AND d.at > now() - g.dedupe_window
              AND (d.partition, d.source_offset) <> (g.partition, g."offset")
              AND (g.rejected OR d.step IS DISTINCT FROM 'ingest')
        )) AS is_copy
        FROM given g
    ), recorded AS (
        INSERT INTO argus.dead_letters (
            topic, partition, source_offset, id, code, event, step, root, attempt
        )
        SELECT topic, partition, "offset", id, code, event, step, root, attempt
        FROM judged
        WHERE NOT is_copy
        ORDER BY 1, 2, 3
        ON CONFLICT (topic, partition, source_offset) DO UPDATE SET
            id = excluded.id, code = excluded.code, event = excluded.event, step = excluded.step,
            root = excluded.root, attempt = excluded.attempt, at = excluded.at
        RETURNING topic, partition, code
    ), counted AS (
        INSERT INTO argus.letter_counts AS c (topic, partition, code, n)
        SELECT topic, partition, code, count(*) FROM recorded GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (topic, partition, code) DO UPDATE SET n = c.n + excluded.n
    )
    SELECT s.slice::integer,
           (SELECT count(*) FROM recorded WHERE (topic, partition) = (s.topic, s.partition)),
           (SELECT count(*) FROM judged j WHERE j.slice = s.slice AND j.is_copy)
    FROM slices s;
END
$$;

-- Whether this is the key of a dead letter of that topic: topic/partition/offset of its source.
CREATE OR REPLACE FUNCTION argus.is_letter_key(key text, topic text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN starts_with(key, topic) AND substr(key, length(topic) + 1) ~ '^/[0-9]{1,10}/[0-9]{1,19}$';

-- Invariant: raises AR002 unless letters and replays are what argus.store says: each with its
-- offset, letters with a code, a root the key of a letter of the same topic, each replay of one
-- staged row. Were a later statement to find out, its SQLSTATE would speak of bad data.
CREATE OR REPLACE FUNCTION argus.require_attempts(
    topics text[], letters jsonb, replays jsonb
) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    wrong jsonb;
BEGIN
    IF letters <> '[]' THEN
        SELECT to_jsonb(l) INTO wrong
        FROM jsonb_to_recordset(letters)
            AS l (slice integer, "offset" bigint, id uuid, code text, event text, step text,
                  root text, attempt integer)
        WHERE (l."offset" >= 0 AND octet_length(l.code) BETWEEN 1 AND 100
               AND coalesce(l.attempt, 1) >= 1
               AND (l.root IS NULL OR argus.is_letter_key(l.root, topics[l.slice]))) IS NOT TRUE
        LIMIT 1;
    END IF;
    IF replays <> '[]' AND wrong IS NULL THEN
        SELECT to_jsonb(r) INTO wrong
        FROM (
            SELECT *, count(*) OVER (PARTITION BY slice, "offset") AS claims
            FROM jsonb_to_recordset(replays)
                AS r (slice integer, "offset" bigint, root text, attempt integer)
        ) r
        LEFT JOIN (
            SELECT slice, source_offset AS "offset", count(*) AS staged
            FROM pg_temp.staged
            GROUP BY 1, 2
        ) s USING (slice, "offset")
        WHERE (r.claims = 1 AND s.staged = 1 AND r.attempt >= 1
               AND argus.is_letter_key(r.root, topics[r.slice])) IS NOT TRUE
        LIMIT 1;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR002',
            MESSAGE = 'this is no letter or replay of the batch', DETAIL = wrong::text;
    END IF;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION USING
        ERRCODE = 'AR002', MESSAGE = format('letters or replays are malformed: %s', SQLERRM);
END
$$;

-- The replays among the rows of the batch, and how they ended: `stored` where the table now holds
-- the row of this very record, else the event was there before.
CREATE OR REPLACE FUNCTION argus.replayed_rows(
    topics text[], partitions integer[], replays jsonb
) RETURNS SETOF argus.replays
LANGUAGE plpgsql
AS $$
DECLARE
    target record;
BEGIN
    FOR target IN
        SELECT p.topic, p.relation, t.schema_name, array_agg(DISTINCT s.slice::integer) AS slices,
               min(row.time) AS earliest, max(row.time) AS latest
        FROM jsonb_to_recordset(replays) AS r (slice integer, "offset" bigint)
        JOIN unnest(topics) WITH ORDINALITY AS s (topic, slice) USING (slice)
        JOIN argus.pipelines p USING (topic)
        JOIN argus.tenants t USING (tenant_id)
        LEFT JOIN pg_temp.staged row ON row.slice = r.slice AND row.source_offset = r."offset"
        GROUP BY p.topic, p.relation, t.schema_name
    LOOP
        -- What is not staged any more was taken out as a known id.
        RETURN QUERY EXECUTE format(
            $statement$
            SELECT r.root, $1, r.attempt, CASE WHEN e.here THEN 'stored' ELSE 'duplicate' END,
                   ($2)[r.slice], r."offset", now()
            FROM jsonb_to_recordset($3)
                AS r (slice integer, "offset" bigint, root text, attempt integer)
            LEFT JOIN pg_temp.staged s ON s.slice = r.slice AND s.source_offset = r."offset"
            LEFT JOIN LATERAL (
                SELECT e.source_partition = ($2)[s.slice] AND e.source_offset = s.source_offset AS here
                FROM %1$I.%2$I e
                WHERE e.time = s.time AND e.id = s.id AND e.time BETWEEN $5 AND $6
                OFFSET 0 -- by the index, row by row: the table may be far larger than the batch
            ) e ON true
            WHERE r.slice = ANY ($4)
            $statement$, target.schema_name, 'events_' || target.relation)
        USING target.topic, partitions, replays, target.slices, target.earliest, target.latest;
    END LOOP;
END
$$;

-- Invariant: argus.replays says of every root in the batch how its best try ended: an event that is
-- stored stays so whatever a later copy comes to, else the latest attempt counts. One statement
-- for all roots, in one order by everybody: two partitions may hold copies of the same replays.
CREATE OR REPLACE FUNCTION argus.settle_replays(
    topics text[], partitions integer[], letters jsonb, replays jsonb
) RETURNS void
LANGUAGE sql
AS $$
    INSERT INTO argus.replays AS known (
        root, topic, attempt, outcome, partition, source_offset, settled_at
    )
    SELECT DISTINCT ON (root) *
    FROM (
        SELECT * FROM argus.replayed_rows(topics, partitions, replays)
        UNION ALL
        SELECT l.root, topics[l.slice], coalesce(l.attempt, 1), 'dead_lettered',
               partitions[l.slice], l."offset", now()
        FROM jsonb_to_recordset(letters)
            AS l (slice integer, "offset" bigint, root text, attempt integer)
        WHERE l.root IS NOT NULL
    ) settled
    ORDER BY root, array_position('{stored,duplicate,dead_lettered}', outcome), attempt DESC
    ON CONFLICT (root) DO UPDATE SET
        attempt = excluded.attempt, outcome = excluded.outcome, partition = excluded.partition,
        source_offset = excluded.source_offset, settled_at = excluded.settled_at
    WHERE known.outcome = 'dead_lettered'
      AND (excluded.outcome <> 'dead_lettered' OR excluded.attempt >= known.attempt)
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
        last_event_at = greatest(o.last_event_at, (
            SELECT to_timestamp(max(second::bigint)) FROM jsonb_object_keys(t.deltas) second
        )),
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
-- their id was known, skipped were nobody's and lost are gone. Of the rows, replays are those that
-- try a dead letter again; a letter that does has a root too. Returns one row per slice; deltas are
-- its new rows per second of receipt and event.
--
-- Invariants: at most one caller moves a partition from a given offset (fence); every offset of a
-- slice is in one term of the ledger; rows, rollups, deltas and `stored` describe the same set;
-- letters by reason add up to the term, and argus.replays knows how each replay ended.
-- Raises AR001 (fence), AR002 (does not add up). Generic plans, because planning the fixed
-- statements anew would cost as much as running them.
CREATE OR REPLACE FUNCTION argus.store(
    topics text[], partitions integer[], from_offsets bigint[], to_offsets bigint[],
    skipped bigint[], lost bigint[], duplicate_letters bigint[], letters jsonb,
    replays jsonb DEFAULT '[]'
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
    IF letters <> '[]' OR replays <> '[]' THEN
        PERFORM argus.require_attempts(topics, letters, replays);
    END IF;

    WITH moved AS MATERIALIZED (
        SELECT slice, sum(stored)::bigint AS stored, sum(duplicate)::bigint AS duplicate,
               (array_agg(deltas) FILTER (WHERE deltas IS NOT NULL))[1] AS deltas
        FROM argus.store_staged(topics, partitions)
        GROUP BY slice
    )
    SELECT array_agg(ROW(
        s.slice, s.topic, s.partition, s.from_offset, s.to_offset,
        coalesce(m.stored, 0), coalesce(m.duplicate, 0) + s.duplicate_letters,
        0, s.skipped, s.lost, coalesce(m.deltas, '{}')
    )::argus.slice_terms) INTO terms
    FROM unnest(topics, partitions, from_offsets, to_offsets, skipped, lost, duplicate_letters)
        WITH ORDINALITY
        AS s (topic, partition, from_offset, to_offset, skipped, lost, duplicate_letters, slice)
    LEFT JOIN moved m USING (slice);

    IF letters <> '[]' THEN
        SELECT array_agg(ROW(
            t.slice, t.topic, t.partition, t.from_offset, t.to_offset,
            t.stored, t.duplicate + l.known, l.recorded, t.skipped, t.lost, t.deltas
        )::argus.slice_terms) INTO terms
        FROM unnest(terms) t
        JOIN argus.record_letters(topics, partitions, from_offsets, to_offsets, letters) l
            USING (slice);
    END IF;
    IF replays <> '[]' OR jsonb_path_exists(letters, '$[*].root ? (@ != null)') THEN
        PERFORM argus.settle_replays(topics, partitions, letters, replays);
    END IF;
    PERFORM argus.settle(terms);
    PERFORM argus.clear_staging();
    RETURN QUERY SELECT t.slice, t.stored, t.duplicate, t.deltas FROM unnest(terms) t ORDER BY t.slice;
END
$$;
