{{/* What every pod has: no token, no environment of other services, restricted security. Argument:
     (dict "root" $ "component" name "uid" number); the gid is the uid. */}}
{{- define "argus.podDefaults" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "argus.fullname" .root }}-{{ .component }}
automountServiceAccountToken: {{ eq .component "operator" }}
enableServiceLinks: false
{{- with $values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "argus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A container's environment: its own, and the settings of the values. Argument: a dict of root,
     component, env (YAML text). */}}
{{- define "argus.containerEnv" -}}
{{- $own := .env -}}
{{- $own }}
{{- range $name, $value := merge (dict) (index .root.Values .component).settings .root.Values.settings }}
{{- if contains (printf "- name: %s\n" $name) $own }}
{{- fail (printf "settings: %s comes from a value or a Secret of its own: set that" $name) }}
{{- end }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A Deployment's pod template for one of ARGUS's processes. Argument: a dict of root, component,
     env (YAML text), configuration (text whose change rolls the pods), ports (YAML text), mounts
     and volumes (lists), grace (seconds to stop in), spread (over nodes). */}}
{{- define "argus.appPod" -}}
{{- $values := index .root.Values .component -}}
metadata:
  labels:
    {{- include "argus.selectorLabels" (list .root .component) | nindent 4 }}
  {{- $annotations := $values.podAnnotations }}
  {{- with .configuration }}
  {{- $annotations = merge (dict "checksum/config" (sha256sum .)) $annotations }}
  {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "argus.podDefaults" (dict "root" .root "component" .component "uid" 10001) | nindent 2 }}
  terminationGracePeriodSeconds: {{ .grace }}
  {{- if .spread }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "argus.selectorLabels" (list .root .component) | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "argus.appImage" .root }}
      imagePullPolicy: {{ .root.Values.images.pullPolicy }}
      command: [argus-{{ .component }}]
      env:
        {{- include "argus.containerEnv" . | nindent 8 }}
      ports:
        {{- with .ports }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: ops
          containerPort: 9090
      # starting includes waiting for a first complete registry, which readiness tells; a process
      # that does not even answer within this is stuck
      startupProbe:
        httpGet: {path: /healthz, port: ops}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /healthz, port: ops}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: ops}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "argus.containerSecurity" .root | nindent 8 }}
      {{- with .mounts }}
      volumeMounts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- with .volumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
