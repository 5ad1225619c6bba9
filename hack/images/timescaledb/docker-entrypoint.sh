#!/bin/sh
# Makes the database cluster at $PGDATA when it is new, from POSTGRES_USER (postgres),
# POSTGRES_PASSWORD (required) and POSTGRES_DB (the user's name), then runs the command. The cluster
# is built beside its place and moved there whole: an interrupted start leaves nothing half made.
set -eu
umask 077
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD for a new database cluster}"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  new=$PGDATA/new.$$
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  rm -rf "$PGDATA"/new.*
  password=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
  initdb --pgdata="$new" --username="$user" --pwfile="$password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  rm "$password"
  {
    echo "listen_addresses = '*'"
    echo "shared_preload_libraries = 'timescaledb'"
    echo "timescaledb.telemetry_level = off"
  } >>"$new/postgresql.conf"
  echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
  [ "$database" = postgres ] ||
    printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -j -D "$new" postgres >/dev/null
  # PG_VERSION goes last: its presence says that the cluster is whole
  find "$new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv {} "$PGDATA/" \;
  mv "$new/PG_VERSION" "$PGDATA/"
  rmdir "$new"
fi
exec "$@"
