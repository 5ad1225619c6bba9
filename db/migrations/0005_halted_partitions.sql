-- Partitions that are read no more until somebody says so: their logs are not the ones that were
-- read. Kept here, because every process and every later one has to know, and the log itself may
-- have grown beyond the evidence. No foreign key: it would lock argus.offsets under load.
CREATE TABLE argus.halted_partitions (
    topic     text        NOT NULL,
    partition integer     NOT NULL,
    reason    text        NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
