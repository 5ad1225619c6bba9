#!/usr/bin/env bash
# Kafka, Valkey and PostgreSQL with TimescaleDB as plain containers on 127.0.0.1, for tests/integration. They are the
# images that the cluster runs, with passwords and ports of their own. Usage:
#   engines.sh up|down|status
#   engines.sh running         whether all three run
#   Kafka       127.0.0.1:29092  PLAINTEXT
#   Valkey      127.0.0.1:26379  password argus-test
#   PostgreSQL  127.0.0.1:25432  user argus, password argus-test, database argus
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly KAFKA=argus-test-kafka VALKEY=argus-test-valkey POSTGRES=argus-test-postgres
readonly KAFKA_PORT=29092 VALKEY_PORT=26379 POSTGRES_PORT=25432 PASSWORD=argus-test

running_image() { docker inspect -f '{{if .State.Running}}{{.Config.Image}}{{end}}' "$1" 2>/dev/null || true; }

# start NAME IMAGE DOCKER_ARGUMENT... [-- COMMAND...]: runs the container, unless it already runs that very image.
start() {
  local name=$1 image=$2 arguments=()
  shift 2
  while (($#)) && [[ $1 != -- ]]; do
    arguments+=("$1")
    shift
  done
  [[ $(running_image "$name") != "$image" ]] || return 0
  docker rm -fv "$name" >/dev/null 2>&1 || true
  docker run -d --name "$name" "${arguments[@]}" "$image" "${@:2}" >/dev/null
}

start_kafka() {
  local listeners=PLAINTEXT://0.0.0.0:$KAFKA_PORT,CONTROLLER://127.0.0.1:9093
  start "$KAFKA" "$1" --memory 1200m -p "127.0.0.1:$KAFKA_PORT:$KAFKA_PORT" \
    -e KAFKA_HEAP_OPTS='-Xms384m -Xmx384m' \
    -e KAFKA_NODE_ID=1 \
    -e KAFKA_PROCESS_ROLES=broker,controller \
    -e KAFKA_CONTROLLER_QUORUM_VOTERS=1@127.0.0.1:9093 \
    -e KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER \
    -e KAFKA_LISTENERS="$listeners" \
    -e KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT \
    -e KAFKA_ADVERTISED_LISTENERS="PLAINTEXT://127.0.0.1:$KAFKA_PORT" \
    -e KAFKA_LOG_DIRS=/var/lib/kafka/data \
    -e KAFKA_AUTO_CREATE_TOPICS_ENABLE=false \
    -e KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1 \
    -e KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS=4 \
    -e KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1 \
    -e KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1 \
    -e KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0
}

start_valkey() {
  start "$VALKEY" "$1" --memory 512m -p "127.0.0.1:$VALKEY_PORT:6379" -- \
    valkey-server --requirepass "$PASSWORD" --save '' --appendonly no --maxmemory-policy noeviction
}

start_postgres() {
  start "$POSTGRES" "$1" --memory 1200m --shm-size 256m -p "127.0.0.1:$POSTGRES_PORT:5432" \
    -e POSTGRES_USER=argus -e POSTGRES_PASSWORD="$PASSWORD" -e POSTGRES_DB=argus -- \
    postgres -c timescaledb.license=apache -c timescaledb.telemetry_level=off \
    -c shared_buffers=256MB -c max_connections=200 -c max_wal_size=2GB
}

# A Kafka ApiVersions request (version 0, no client id), answered: the broker serves clients. An open port alone would
# not say that, where Docker's proxy holds it.
kafka_answers() {
  local size
  exec 3<>"/dev/tcp/127.0.0.1/$KAFKA_PORT" || return 1
  printf '\0\0\0\012\0\022\0\0\0\0\0\001\377\377' >&3
  size=$(timeout 2 head -c 4 <&3 | wc -c)
  exec 3>&-
  ((size == 4))
}
valkey_answers() { [[ $(docker exec -e REDISCLI_AUTH="$PASSWORD" "$VALKEY" valkey-cli ping) == PONG ]]; }
postgres_answers() { docker exec -e PGPASSWORD="$PASSWORD" "$POSTGRES" psql -h 127.0.0.1 -U argus -d argus -qAtc 'select 1'; }

await() {
  wait_for 60 "$2" && return
  docker logs --tail 30 "$1" >&2 || true
  die "$1 does not answer; its last lines are above"
}

up() {
  local printed images
  printed=$("$ROOT/hack/images.sh" --print kafka valkey timescaledb)
  mapfile -t images <<<"$printed"
  start_kafka "${images[0]}"
  start_valkey "${images[1]}"
  start_postgres "${images[2]}"
  await "$VALKEY" valkey_answers
  await "$POSTGRES" postgres_answers
  await "$KAFKA" kafka_answers
}

status() {
  docker ps -a --filter 'name=^argus-test-(kafka|valkey|postgres)$' --format 'table {{.Names}}\t{{.Image}}\t{{.Status}}'
}

running() { (($(docker ps -q --filter 'name=^argus-test-(kafka|valkey|postgres)$' | wc -l) == 3)); }

case ${1:-} in
  up) up ;;
  down) docker rm -fv "$KAFKA" "$VALKEY" "$POSTGRES" >/dev/null 2>&1 || true ;;
  status) status ;;
  running) running ;;
  *) die "usage: engines.sh up|down|status|running" ;;
esac
