-- What there is of all tenants and pipelines, for an operator that asks whether anything changed.

-- One row for each that is not retained: of a tenant under its id, of a pipeline under its uid.
-- `seen` says the same as long as its schema, role and tables are the very same ones and its row
-- and its next chunks' interval are as they were; it is null where one of them is absent. A string
-- body, as argus.chunk_interval has.
CREATE OR REPLACE FUNCTION argus.sightings() RETURNS TABLE (subject text, seen text)
LANGUAGE sql STABLE
AS $$
    SELECT t.tenant_id,
           t::text || ' '
           || to_regnamespace(quote_ident(t.schema_name))::oid || ' '
           || to_regrole(quote_ident(argus.read_only_role(t.schema_name)))::oid
    FROM argus.tenants t
    WHERE t.retained_at IS NULL
    UNION ALL
    SELECT p.pipeline_uid,
           p::text || ' '
           || to_regclass(format('%I.%I', t.schema_name, 'events_' || p.relation))::oid || ' '
           || to_regclass(format('%I.%I', t.schema_name, 'rollup_' || p.relation))::oid || ' '
           || to_regclass(format('%I.%I', t.schema_name, 'ids_' || p.relation))::oid || ' '
           || d.time_interval
    FROM argus.pipelines p
    JOIN argus.tenants t USING (tenant_id)
    LEFT JOIN timescaledb_information.dimensions d
        ON d.hypertable_schema = t.schema_name
       AND d.hypertable_name = 'events_' || p.relation
       AND d.dimension_number = 1
    WHERE p.retained_at IS NULL
$$;
