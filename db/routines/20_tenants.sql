-- A tenant: its row, its schema, and the role that reads this schema and nothing else.

CREATE OR REPLACE FUNCTION argus.read_only_role(schema_name text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN schema_name || '_ro';

-- Invariant: the tenant's row, schema and read-only role exist, and argus_reader is a member of
-- that role. Raises AR409 where the schema belongs to another tenant, or the tenant was retained.
CREATE OR REPLACE FUNCTION argus.ensure_tenant(
    tenant_id text, namespace text, name text, schema_name text
) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    role_name CONSTANT text := argus.read_only_role(schema_name);
BEGIN
    INSERT INTO argus.tenants AS t (tenant_id, namespace, name, schema_name)
    VALUES (tenant_id, namespace, name, schema_name)
    ON CONFLICT DO NOTHING;
    PERFORM FROM argus.tenants t
    WHERE t.tenant_id = ensure_tenant.tenant_id
      AND t.schema_name = ensure_tenant.schema_name
      AND t.retained_at IS NULL
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'AR409',
            MESSAGE = format('schema %s belongs to another tenant than %s, or to one that was retained',
                             schema_name, tenant_id);
    END IF;

    PERFORM argus.ensure_role(role_name);
    IF NOT pg_has_role('argus_reader', role_name, 'USAGE') THEN
        EXECUTE format('GRANT %I TO argus_reader', role_name);
    END IF;
    IF to_regnamespace(quote_ident(schema_name)) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', schema_name);
    END IF;
    IF NOT has_schema_privilege(role_name, schema_name, 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, role_name);
    END IF;
END
$$;

-- Invariant: nothing of the tenant is dropped; its pipelines are retained too. Absent or retained
-- already is fine.
CREATE OR REPLACE FUNCTION argus.retain_tenant(tenant_id text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.retain_pipeline(p.pipeline_uid)
    FROM argus.pipelines p
    WHERE p.tenant_id = retain_tenant.tenant_id AND p.retained_at IS NULL;
    UPDATE argus.tenants t SET retained_at = now()
    WHERE t.tenant_id = retain_tenant.tenant_id AND t.retained_at IS NULL;
END
$$;

-- Invariant: everything of the tenant is gone, but for pipelines that were retained: while there
-- are such, the schema and its role stay with them, and the tenant counts as retained. Absent is
-- fine.
CREATE OR REPLACE FUNCTION argus.drop_tenant(tenant_id text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    tenant argus.tenants;
    reader text;
BEGIN
    SELECT * INTO tenant FROM argus.tenants t WHERE t.tenant_id = drop_tenant.tenant_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM argus.drop_pipeline(p.pipeline_uid)
    FROM argus.pipelines p
    WHERE p.tenant_id = tenant.tenant_id AND p.retained_at IS NULL;
    IF EXISTS (SELECT FROM argus.pipelines p WHERE p.tenant_id = tenant.tenant_id) THEN
        PERFORM argus.retain_tenant(tenant.tenant_id);
        RETURN;
    END IF;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', tenant.schema_name);
    reader := argus.read_only_role(tenant.schema_name);
    IF to_regrole(quote_ident(reader)) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), reader);
        EXECUTE format('DROP ROLE %I', reader);
    END IF;
    DELETE FROM argus.tenants t WHERE t.tenant_id = tenant.tenant_id;
END
$$;
