{{/* An engine whole: ConfigMap, Services, StatefulSet with one pod and one volume. The command, the
     configuration and the user are the chart's, so that official images and our own run alike.
     Argument: a dict of
       root, engine   the chart's context; kafka, valkey or postgres
       image, uid     what runs, as whom
       port           clients in the cluster
       externalPort   the container's port for clients outside of it
       data           where the volume is mounted
       env, probe     YAML text
       shared         size of /dev/shm, counted against the memory limit; the runtime's 64Mi if absent
       grace          seconds to stop in */}}
{{- define "argus.engine" -}}
{{- $root := .root -}}
{{- $values := index $root.Values.engines .engine -}}
{{- $name := printf "%s-%s" (include "argus.fullname" $root) .engine -}}
{{- $files := dict -}}
{{- range $path, $_ := $root.Files.Glob (printf "files/%s/*" .engine) -}}
{{- $_ := set $files (base $path) (tpl ($root.Files.Get $path) $root) -}}
{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "argus.metadata" (list $root .engine) | nindent 2 }}
data:
  {{- toYaml $files | nindent 2 }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "argus.metadata" (list $root .engine) | nindent 2 }}
spec:
  selector:
    {{- include "argus.selectorLabels" (list $root .engine) | nindent 4 }}
  ports:
    - name: {{ .engine }}
      port: {{ .port }}
      targetPort: {{ .engine }}
{{- with $values.external.nodePort }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}-external
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "argus.labels" (list $root $.engine) | nindent 4 }}
spec:
  type: NodePort
  selector:
    {{- include "argus.selectorLabels" (list $root $.engine) | nindent 4 }}
  ports:
    - name: {{ $.engine }}
      port: {{ $.externalPort }}
      targetPort: {{ $.externalPort }}
      nodePort: {{ . }}
{{- end }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "argus.metadata" (list $root .engine) | nindent 2 }}
spec:
  serviceName: {{ $name }}
  replicas: 1
  # ordered roll-outs wait for a broken pod for ever, and a corrected template never reaches it
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "argus.selectorLabels" (list $root .engine) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "argus.selectorLabels" (list $root .engine) | nindent 8 }}
      annotations:
        checksum/config: {{ toJson $files | sha256sum }}
    spec:
      {{- include "argus.podDefaults" (dict "root" $root "component" .engine "uid" .uid) | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace }}
      containers:
        - name: {{ .engine }}
          image: {{ index $root.Values.images .engine }}
          imagePullPolicy: {{ $root.Values.images.pullPolicy }}
          command: [sh, /etc/argus/start.sh]
          env:
            {{- .env | nindent 12 }}
          ports:
            - name: {{ .engine }}
              containerPort: {{ .port }}
            {{- if ne .port .externalPort }}
            - name: external
              containerPort: {{ .externalPort }}
            {{- end }}
          # a first start makes the storage, one after a crash recovers it
          startupProbe:
            {{- .probe | nindent 12 }}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 150
          readinessProbe:
            {{- .probe | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          livenessProbe:
            {{- .probe | nindent 12 }}
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 6
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "argus.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: {{ .data }}}
            - {name: config, mountPath: /etc/argus, readOnly: true}
            - {name: tmp, mountPath: /tmp}
            {{- if .shared }}
            - {name: shared, mountPath: /dev/shm}
            {{- end }}
      volumes:
        - name: config
          configMap: {name: {{ $name }}}
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- with .shared }}
        - name: shared
          emptyDir: {medium: Memory, sizeLimit: {{ . }}}
        {{- end }}
  # volumes outlive the release; `kubectl delete pvc` is a person's decision
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "argus.selectorLabels" (list $root .engine) | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $values.storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: {storage: {{ $values.storage.size }}}
{{- end }}
