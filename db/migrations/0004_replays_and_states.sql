-- Replays of dead letters, dead letters by reason, what stands still and why, how old the oldest
-- unread record is.

-- Readers of the views take these tables in one order, batches in another, whoever opens a partition
-- in a third. So the views go first, which stops their readers at the door (the routines make them
-- anew); then all tables are taken at once or none, and nobody waits for us longer than a second at
-- a time.
DO $$
DECLARE
    patience CONSTANT text := current_setting('lock_timeout');
BEGIN
    IF to_regclass('argus.ledger') IS NULL THEN
        RETURN; -- an empty database: the views come with the routines
    END IF;
    FOR attempt IN 1..30 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            DROP VIEW IF EXISTS argus.ledger, argus.audit;
            LOCK TABLE argus.offsets;
            PERFORM set_config('lock_timeout', '100ms', true);
            LOCK TABLE argus.pipelines, argus.dead_letters;
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(least(attempt * 0.02, 0.5));
        END;
    END LOOP;
    RAISE lock_not_available USING MESSAGE = 'the tables of the ledger were never free at once';
END
$$;

-- The routines make them anew with one argument more, which has a default, or with one column more,
-- so that a call of before finds what it knows. Everything else that a call which is under way uses
-- stays.
DROP FUNCTION IF EXISTS
    argus.store(text[], integer[], bigint[], bigint[], bigint[], bigint[], bigint[], jsonb),
    argus.record_letters(text[], integer[], bigint[], bigint[], jsonb),
    argus.known_ids(text, uuid[], timestamptz[]),
    argus.ensure_pipeline(text, text, text, text, text, integer, interval, interval, interval);

ALTER TABLE argus.offsets
    ADD COLUMN last_event_at        timestamptz,
    ADD COLUMN oldest_unread_at     timestamptz,
    ADD COLUMN oldest_unread_offset bigint,
    ADD COLUMN sampled_at           timestamptz;
COMMENT ON COLUMN argus.offsets.last_event_at IS
    'The greatest receipt time of a stored row, to the second.';
COMMENT ON COLUMN argus.offsets.oldest_unread_at IS
    'When the oldest record that is not stored was received, as last sampled; null where all is.';
COMMENT ON COLUMN argus.offsets.oldest_unread_offset IS
    'Where the partition stood when oldest_unread_at was sampled.';
COMMENT ON COLUMN argus.offsets.sampled_at IS 'When log_end was last sampled, to some seconds.';

-- The default is the most that a pipeline may ask for: it holds until the operator says better.
ALTER TABLE argus.pipelines
    ADD COLUMN dead_letter_retention interval NOT NULL DEFAULT interval '365 days';

ALTER TABLE argus.dead_letters
    ADD COLUMN step    text,
    ADD COLUMN root    text,
    ADD COLUMN attempt integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN argus.dead_letters.root IS
    'Key (topic/partition/offset) of the first letter of the same event; null where this is it.';
COMMENT ON COLUMN argus.dead_letters.attempt IS '1, and one more for each replay.';

-- How the last try to store a dead letter ended, by the key of its first letter.
CREATE TABLE argus.replays (
    root          text        PRIMARY KEY,
    topic         text        NOT NULL,
    attempt       integer     NOT NULL,
    outcome       text        NOT NULL CHECK (outcome IN ('stored', 'duplicate', 'dead_lettered')),
    partition     integer     NOT NULL,
    source_offset bigint      NOT NULL,
    settled_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX replays_settled_at ON argus.replays (topic, settled_at);
COMMENT ON COLUMN argus.replays.attempt IS 'The try that ended so; partition and offset are its.';

-- Of the dead-lettered records of a partition, how many there were for each reason; unlike the
-- rows of argus.dead_letters these never expire.
CREATE TABLE argus.letter_counts (
    topic     text    NOT NULL,
    partition integer NOT NULL,
    code      text    NOT NULL,
    n         bigint  NOT NULL CHECK (n > 0),
    PRIMARY KEY (topic, partition, code),
    FOREIGN KEY (topic, partition) REFERENCES argus.offsets ON DELETE CASCADE
) WITH (fillfactor = 50);

-- Letters that have expired, and ledgers that a hand has been in, have no reason any more.
INSERT INTO argus.letter_counts (topic, partition, code, n)
WITH recorded AS (
    SELECT d.topic, d.partition, d.code, count(*) AS n,
           sum(count(*)) OVER (PARTITION BY d.topic, d.partition) AS of_partition
    FROM argus.dead_letters d
    GROUP BY 1, 2, 3
), known AS (
    SELECT r.topic, r.partition, r.code, r.n
    FROM recorded r
    JOIN argus.offsets o USING (topic, partition)
    WHERE r.of_partition <= o.dead_lettered
)
SELECT * FROM known
UNION ALL
SELECT o.topic, o.partition, 'unknown', o.dead_lettered - coalesce(sum(k.n), 0)
FROM argus.offsets o
LEFT JOIN known k USING (topic, partition)
GROUP BY o.topic, o.partition
HAVING o.dead_lettered > coalesce(sum(k.n), 0);

-- What each partition does, as the process that reads it said last.
CREATE TABLE argus.partition_states (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    state       text        NOT NULL CHECK (state IN ('open', 'paused', 'guarded', 'stopped')),
    reason      text,
    since       timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition),
    FOREIGN KEY (topic, partition) REFERENCES argus.offsets ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON COLUMN argus.partition_states.since IS 'When it was first reported in this state.';
