{{/* What every name begins with; short enough that the longest name made of it is a DNS label. */}}
{{- define "argus.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-argus" .Release.Name) (contains "argus" .Release.Name) -}}
{{ $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels that never change over a resource's life. Argument: (list $ component). */}}
{{- define "argus.selectorLabels" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: argus
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Argument: (list $ component). */}}
{{- define "argus.labels" -}}
{{- $ := index . 0 -}}
{{ include "argus.selectorLabels" . }}
app.kubernetes.io/part-of: argus
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ $.Chart.Name }}-{{ $.Chart.Version }}
{{- end }}

{{/* Argument: (list $ component). */}}
{{- define "argus.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "argus.fullname" $ }}-{{ index . 1 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "argus.labels" . | nindent 2 }}
{{- end }}

{{- define "argus.appImage" -}}
{{ .Values.images.app | default (printf "argus/app:%s" .Chart.AppVersion) }}
{{- end }}

{{/* Bytes of a quantity such as 8Gi; values.schema.json admits Mi, Gi and Ti only. */}}
{{- define "argus.bytes" -}}
{{- $units := dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul (regexFind "^[0-9]+" .) (index $units (regexFind "[MGT]i$" .)) -}}
{{- end }}
