{{/* Where Kafka, Redis and the database are, and the credentials: the built-in engines' or those of
     the values. Everything that connects takes its environment from here. */}}

{{- define "argus.enginesSecret" -}}
{{ .Values.engines.existingSecret | default (printf "%s-engines" (include "argus.fullname" .)) }}
{{- end }}

{{/* A variable from a Secret. Argument: (list variable secret key). */}}
{{- define "argus.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}
{{- end }}

{{- define "argus.kafka" -}}
{{- $engine := dict
  "bootstrap" (printf "%s-kafka.%s.svc:9092" (include "argus.fullname" .) .Release.Namespace)
  "security" "sasl_plaintext" "mechanism" "PLAIN" "existingSecret" (include "argus.enginesSecret" .)
  "caSecret" "" "replicationFactor" 1 "minInsync" 1 "disk" .Values.engines.kafka.storage.size
  "overcommit" .Values.kafka.overcommit -}}
{{ ternary $engine .Values.kafka .Values.engines.enabled | toJson }}
{{- end }}

{{- define "argus.redis" -}}
{{- $engine := dict
  "url" (printf "redis://%s-valkey.%s.svc:6379/0" (include "argus.fullname" .) .Release.Namespace)
  "existingSecret" (include "argus.enginesSecret" .) "caSecret" "" -}}
{{ ternary $engine .Values.redis .Values.engines.enabled | toJson }}
{{- end }}

{{- define "argus.database" -}}
{{- $engine := dict
  "host" (printf "%s-postgres.%s.svc" (include "argus.fullname" .) .Release.Namespace)
  "port" 5432 "name" "argus" "user" "argus" "tls" "disable"
  "existingSecret" (include "argus.enginesSecret" .) "caSecret" "" -}}
{{ ternary $engine .Values.database .Values.engines.enabled | toJson }}
{{- end }}

{{- define "argus.env.common" -}}
- name: ARGUS_LOG__LEVEL
  value: {{ .Values.log.level }}
- name: ARGUS_LOG__FORMAT
  value: {{ .Values.log.format }}
- name: ARGUS_OPS__PORT
  value: "9090"
{{- end }}

{{- define "argus.env.kafka" -}}
{{- $kafka := include "argus.kafka" . | fromJson -}}
- name: ARGUS_KAFKA__BOOTSTRAP
  value: {{ $kafka.bootstrap | quote }}
- name: ARGUS_KAFKA__SECURITY
  value: {{ $kafka.security }}
{{- if hasPrefix "sasl_" $kafka.security }}
- name: ARGUS_KAFKA__MECHANISM
  value: {{ $kafka.mechanism }}
{{ include "argus.secretVariable" (list "ARGUS_KAFKA__USERNAME" $kafka.existingSecret "kafka-username") }}
{{ include "argus.secretVariable" (list "ARGUS_KAFKA__PASSWORD" $kafka.existingSecret "kafka-password") }}
{{- end }}
{{- if $kafka.caSecret }}
- name: ARGUS_KAFKA__CA_FILE
  value: /etc/argus/kafka/ca.crt
{{- end }}
{{- end }}

{{- define "argus.env.redis" -}}
{{- $redis := include "argus.redis" . | fromJson -}}
- name: ARGUS_REDIS__URL
  value: {{ $redis.url | quote }}
{{- if $redis.existingSecret }}
{{ include "argus.secretVariable" (list "ARGUS_REDIS__PASSWORD" $redis.existingSecret "redis-password") }}
{{- end }}
{{- if $redis.caSecret }}
- name: ARGUS_REDIS__CA_FILE
  value: /etc/argus/redis/ca.crt
{{- end }}
{{- end }}

{{/* Argument: (list $ user key-of-the-password). */}}
{{- define "argus.env.database" -}}
{{- $database := include "argus.database" (index . 0) | fromJson -}}
- name: ARGUS_DATABASE__HOST
  value: {{ $database.host | quote }}
- name: ARGUS_DATABASE__PORT
  value: {{ $database.port | quote }}
- name: ARGUS_DATABASE__NAME
  value: {{ $database.name | quote }}
- name: ARGUS_DATABASE__USER
  value: {{ index . 1 | quote }}
{{ include "argus.secretVariable" (list "ARGUS_DATABASE__PASSWORD" $database.existingSecret (index . 2)) }}
- name: ARGUS_DATABASE__TLS
  value: {{ $database.tls }}
{{- if $database.caSecret }}
- name: ARGUS_DATABASE__CA_FILE
  value: /etc/argus/database/ca.crt
{{- end }}
{{- end }}

{{/* Volumes with the authorities of external servers, and their mounts: YAML lists, empty where none
     is set. Argument: (list $ name...), the names of kafka, redis, database. */}}
{{- define "argus.caVolumes" -}}
{{- $ := index . 0 -}}
{{- range $name := rest . }}
{{- with (include (printf "argus.%s" $name) $ | fromJson).caSecret }}
- name: {{ $name }}-ca
  secret: {secretName: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "argus.caMounts" -}}
{{- $ := index . 0 -}}
{{- range $name := rest . }}
{{- with (include (printf "argus.%s" $name) $ | fromJson).caSecret }}
- name: {{ $name }}-ca
  mountPath: /etc/argus/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
