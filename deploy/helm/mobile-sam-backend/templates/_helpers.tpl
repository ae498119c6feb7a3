{{- define "backend.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "backend.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "backend.labels" -}}
{{ include "backend.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* "true" where more than one pod mounts the folder of embeddings. */}}
{{- define "backend.manyPods" -}}
{{- or .Values.autoscaling.enabled (gt (add (int .Values.replicas) (int .Values.workers.replicas)) 1) -}}
{{- end -}}

{{/* The pod but its containers: who it is, where it runs, and its volumes. */}}
{{- define "backend.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: data
    {{- if .Values.cache.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ .Values.cache.persistence.existingClaim | default (include "backend.name" .) }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- if .Values.labelStudios.existingSecret }}
  - name: label-studio
    secret:
      secretName: {{ .Values.labelStudios.existingSecret }}
      items:
        - key: {{ .Values.labelStudios.key }}
          path: label-studios.toml
  {{- else if .Values.labelStudio.token.existingSecret }}
  - name: label-studio
    secret:
      secretName: {{ .Values.labelStudio.token.existingSecret }}
      items:
        - key: {{ .Values.labelStudio.token.key }}
          path: token
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A container but its command: image, rights, settings and mounts. */}}
{{- define "backend.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  {{- if .Values.labelStudios.existingSecret }}
  - name: LABEL_STUDIOS
    value: /run/secrets/label-studio/label-studios.toml
  {{- else }}
  - name: LABEL_STUDIO_URL
    value: {{ .Values.labelStudio.url | quote }}
  {{- if .Values.labelStudio.token.existingSecret }}
  - name: LABEL_STUDIO_API_KEY_FILE
    value: /run/secrets/label-studio/token
  {{- end }}
  {{- end }}
  - name: CACHE_DISK_GB
    value: {{ .Values.cache.diskGB | quote }}
  {{- with .Values.basicAuth.existingSecret }}
  - name: BASIC_AUTH_USER
    valueFrom:
      secretKeyRef:
        name: {{ . }}
        key: {{ $.Values.basicAuth.userKey }}
  - name: BASIC_AUTH_PASS
    valueFrom:
      secretKeyRef:
        name: {{ . }}
        key: {{ $.Values.basicAuth.passwordKey }}
  {{- end }}
  {{- if .Values.redis.existingSecret }}
  - name: REDIS_URL
    valueFrom:
      secretKeyRef:
        name: {{ .Values.redis.existingSecret }}
        key: {{ .Values.redis.key }}
  {{- else if .Values.redis.url }}
  - name: REDIS_URL
    value: {{ .Values.redis.url | quote }}
  {{- end }}
  {{- range $name, $value := .Values.settings }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: data
    mountPath: /data
  {{- if or .Values.labelStudios.existingSecret .Values.labelStudio.token.existingSecret }}
  - name: label-studio
    mountPath: /run/secrets/label-studio
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
