#!/usr/bin/env bash
# Prints `export` lines for the cluster $CLUSTER and the tenant of examples/demo.yaml: eval "$(make -s env)".
# They hold passwords and an API key.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ -r $KUBECONFIG ]] || die "there is no cluster $CLUSTER: make up"

# secret NAMESPACE NAME KEY
secret() {
  local value
  value=$(kubectl -n "$1" get secret "$2" -o "go-template={{index .data \"$3\" | base64decode}}" 2>&1) \
    || die "the Secret $1/$2 cannot be read; does the cluster run, and is the demo tenant there? ($value)"
  echo "$value"
}

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

engines=(argus argus-engines)
reader=$(secret "${engines[@]}" reader-password)
redis=$(secret "${engines[@]}" redis-password)
kafka_username=$(secret "${engines[@]}" kafka-username)
kafka_password=$(secret "${engines[@]}" kafka-password)
key=$(secret "$DEMO_NAMESPACE" "$DEMO_TENANT-argus-keys" default)

export_line ARGUS_URL "http://127.0.0.1:$ARGUS_HTTP_PORT"
export_line ARGUS_API_KEY "$key"
export_line ARGUS_DATABASE_URL "postgresql://argus_reader:$reader@127.0.0.1:$ARGUS_POSTGRES_PORT/argus"
export_line ARGUS_REDIS_URL "redis://:$redis@127.0.0.1:$ARGUS_REDIS_PORT/0"
export_line ARGUS_KAFKA "127.0.0.1:$ARGUS_KAFKA_PORT"
export_line ARGUS_KAFKA_USERNAME "$kafka_username"
export_line ARGUS_KAFKA_PASSWORD "$kafka_password"
export_line KUBECONFIG "$KUBECONFIG"
# kubectl and helm, for a shell that has none of its own
kubectl=$(dirname "$(command -v kubectl)")
[[ :$CALLER_PATH: == *:$kubectl:* ]] || export_line PATH "$kubectl:$(dirname "$(command -v helm)"):$CALLER_PATH"
