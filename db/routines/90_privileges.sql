-- Who may do what in schema argus. The last of the routines: PostgreSQL lets everybody execute a
-- new function.
--
-- Invariant: argus_stream may call what it needs to store, and touch no table. argus_reader may
-- read, and call what the views call. Nobody else may do anything.
CREATE OR REPLACE FUNCTION argus.grant_privileges() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.ensure_role('argus_stream'), argus.ensure_role('argus_reader');
    REVOKE ALL ON ALL ROUTINES IN SCHEMA argus FROM PUBLIC, argus_stream, argus_reader;
    REVOKE ALL ON ALL TABLES IN SCHEMA argus FROM PUBLIC, argus_stream, argus_reader;
    GRANT USAGE ON SCHEMA argus TO argus_stream, argus_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA argus TO argus_reader;
    GRANT EXECUTE ON FUNCTION argus.count_rows(text, text) TO argus_reader;
    GRANT EXECUTE ON FUNCTION
        argus.create_staging(),
        argus.store(text[], integer[], bigint[], bigint[], bigint[], bigint[], bigint[], jsonb,
                    jsonb),
        argus.rehearse(text, integer, bigint, bigint, bigint),
        argus.known_ids(text, uuid[], timestamptz[], boolean),
        argus.open_partition(text, integer, bigint),
        argus.halt_partition(text, integer, text),
        argus.settled_replays(text[], integer[]),
        argus.sample_log_end(text[], integer[], bigint[]),
        argus.sample(text[], integer[], bigint[], timestamptz[]),
        argus.report_states(text[], integer[], text[], text[]),
        argus.outbox_after(text, integer, bigint),
        argus.outbox_page(text, integer, bigint, integer),
        argus.live_window(text),
        argus.heartbeat(uuid, interval),
        argus.leave(uuid)
    TO argus_stream;
END
$$;

SELECT argus.grant_privileges();
