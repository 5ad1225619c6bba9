{{- define "argus.env.replay" -}}
{{ include "argus.env.kafka" . }}
{{ include "argus.env.database" (list . "argus_reader" "reader-password") }}
{{- end }}

{{/* The Job, without its name and arguments. It reads SQL as argus_reader and has no rights in
     Kubernetes. */}}
{{- define "argus.replayJob" -}}
apiVersion: batch/v1
kind: Job
metadata:
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "argus.selectorLabels" (list . "replay") | nindent 4 }}
spec:
  # a run that was cut off goes on where it ended, so trying again costs nothing
  backoffLimit: 3
  ttlSecondsAfterFinished: 3600
  template:
    metadata:
      labels:
        {{- include "argus.selectorLabels" (list . "replay") | nindent 8 }}
      {{- with .Values.replay.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "argus.podDefaults" (dict "root" . "component" "replay" "uid" 10001) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: replay
          image: {{ include "argus.appImage" . }}
          imagePullPolicy: {{ .Values.images.pullPolicy }}
          command: [argus]
          env:
            {{- include "argus.containerEnv" (dict "root" . "component" "replay" "env" (include "argus.env.replay" .)) | nindent 12 }}
          # the report is a file; without one, the end of the log says what went wrong
          terminationMessagePolicy: FallbackToLogsOnError
          resources:
            {{- toYaml .Values.replay.resources | nindent 12 }}
          securityContext:
            {{- include "argus.containerSecurity" . | nindent 12 }}
          {{- with include "argus.caMounts" (list . "kafka" "database") | fromYamlArray }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with include "argus.caVolumes" (list . "kafka" "database") | fromYamlArray }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
