-- Storing that is undone, for a pipeline whose table refused so much that nothing more is
-- dead-lettered: would it take the next records?
--
-- Invariant: changes nothing. Ends with AR100 where argus.store would have taken the staged rows of
-- this one slice, else with its error. All of it is one statement, so that no lock outlives it.
CREATE OR REPLACE FUNCTION argus.rehearse(
    topic text, partition integer, from_offset bigint, to_offset bigint, skipped bigint
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM argus.store(
        ARRAY[topic], ARRAY[partition], ARRAY[from_offset], ARRAY[to_offset],
        ARRAY[skipped], ARRAY[0::bigint], ARRAY[0::bigint], '[]'
    );
    RAISE EXCEPTION USING
        ERRCODE = 'AR100',
        MESSAGE = format('records of %s/%s would be stored; undone', topic, partition);
END
$$;
