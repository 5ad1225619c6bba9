-- The stream processes that are alive; each derives from this list which partitions it owns.
CREATE TABLE argus.members (
    id           uuid        PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL
) WITH (fillfactor = 50);
