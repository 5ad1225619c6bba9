#!/bin/sh
# Makes the database cluster once, whole or not at all, then runs the server: the same for
# timescale/timescaledb and for the image that hack/images/timescaledb builds.
set -eu
umask 077
if [ ! -d "$PGDATA" ]; then
  new=$PGDATA.new
  rm -rf "$new"
  printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --pgdata="$new" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
  rm /tmp/password
  printf 'CREATE DATABASE "%s";\n' "$POSTGRES_DB" |
    postgres --single -j -D "$new" -c config_file=/etc/argus/postgresql.conf postgres >/dev/null
  mv "$new" "$PGDATA"
fi
unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c config_file=/etc/argus/postgresql.conf
