-- Invariant: argus_stream and argus_reader exist, may log in with these passwords and connect to
-- this database. What they may do is in 90_privileges.sql. Roles belong to the whole server:
-- another database of it may be creating them at the same moment.
CREATE OR REPLACE FUNCTION argus.ensure_roles(stream_password text, reader_password text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM argus.grant_privileges();
    EXECUTE format('ALTER ROLE argus_stream LOGIN PASSWORD %L', stream_password);
    EXECUTE format('ALTER ROLE argus_reader LOGIN PASSWORD %L', reader_password);
END
$$;

-- Invariant: the role exists and may connect to this database.
CREATE OR REPLACE FUNCTION argus.ensure_role(role_name text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            RAISE DEBUG 'role % was created by another session', role_name;
        END;
    END IF;
    IF NOT has_database_privilege(role_name, current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END IF;
END
$$;
