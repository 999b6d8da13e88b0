{{- define "plimsoll.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "plimsoll.fullname" -}}
{{- $name := include "plimsoll.name" . -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ default $whole .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "plimsoll.selectorLabels" -}}
app.kubernetes.io/name: {{ include "plimsoll.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "plimsoll.labels" -}}
{{ include "plimsoll.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "plimsoll.metadata" -}}
name: {{ include "plimsoll.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "plimsoll.labels" . | nindent 2 }}
{{- end }}

{{- define "plimsoll.serviceAccount" -}}
{{ default (ternary (include "plimsoll.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "plimsoll.image" -}}
{{- with .Values.image -}}
{{ with .registry }}{{ . }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end -}}
{{- end }}

{{- define "plimsoll.port" -}}
{{ dig "http" "listen" ":9470" .Values.config | regexFind "[0-9]+$" }}
{{- end }}

{{- define "plimsoll.scheme" -}}
{{ ternary "HTTPS" "HTTP" (not (empty (dig "http" "tls" nil .Values.config))) }}
{{- end }}

{{/*
What the features in use need and no more; docs/security.md has the table and tests/deploy/test_privileges.py holds it.
Not empty when a policy writes.
*/}}
{{- define "plimsoll.enforces" -}}
{{- range .Values.config }}{{ if kindIs "map" . }}{{ if eq (toString .mode) "enforce" }}true{{ end }}{{ end }}{{ end }}
{{- end }}

{{/*
Not empty when the agent turns the swap device on or off itself.
*/}}
{{- define "plimsoll.swaps" -}}
{{- with .Values.config.overcommit }}{{ if and (eq (toString .mode) "enforce") (or (eq (toString .onExit) "drain") (eq (toString .activate) "true")) }}true{{ end }}{{ end }}
{{- end }}

{{/*
Not empty when what overcommit makes available is published on the node.
*/}}
{{- define "plimsoll.publishes" -}}
{{- with .Values.config.overcommit }}{{ if and (eq (toString .mode) "enforce") (eq (toString .publish) "true") }}true{{ end }}{{ end }}
{{- end }}

{{/*
Bringing memory back takes its time before anything else that the agent does in the end.
*/}}
{{- define "plimsoll.gracePeriod" -}}
{{- $drain := 0 -}}
{{- if and (include "plimsoll.swaps" .) (eq (dig "onExit" "leave" .Values.config.overcommit) "drain") -}}
{{- $text := toString (dig "drainTimeout" "60s" .Values.config.overcommit) -}}
{{- range $unit, $seconds := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $found := regexFind (printf "[0-9]+%s" $unit) (regexReplaceAll "[0-9]+ms" $text "") | trimSuffix $unit -}}
{{- $drain = add $drain (mul $seconds (int $found)) -}}
{{- end -}}
{{- if regexMatch "^[0-9.]+$" $text }}{{ $drain = ceil (float64 $text) }}{{ end -}}
{{- end -}}
{{- add .Values.terminationGracePeriodSeconds (int $drain) -}}
{{- end }}

{{- define "plimsoll.podSecurityContext" -}}
seccompProfile:
  type: RuntimeDefault
{{- if include "plimsoll.enforces" . }}
# The kernel's control files belong to root. No capability is needed to write them.
runAsUser: 0
runAsGroup: 0
{{- else }}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- end }}
{{- end }}

{{- define "plimsoll.securityContext" -}}
{{- if include "plimsoll.swaps" . }}
# swapon and swapoff open the device for writing: Kubernetes has no lesser way to let a container open a disk.
privileged: true
{{- else }}
privileged: false
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}
readOnlyRootFilesystem: true
{{- end }}

{{- define "plimsoll.volumeMounts" -}}
- name: cgroup
  mountPath: /sys/fs/cgroup
  {{- if not (include "plimsoll.enforces" .) }}
  readOnly: true
  {{- /* On cgroup v1 the controllers are mounts below this one, which a plain read-only mount does not cover. */}}
  {{- if semverCompare ">=1.31-0" .Capabilities.KubeVersion.Version }}
  recursiveReadOnly: IfPossible
  {{- end }}
  {{- end }}
- name: state
  mountPath: /run/plimsoll
- name: config
  mountPath: /etc/plimsoll
  readOnly: true
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- with include "plimsoll.swapDevice" . }}
- name: swap-device
  mountPath: {{ . }}
  readOnly: {{ empty (include "plimsoll.swaps" $) }}
{{- end }}
{{- end }}

{{/*
The path of the swap device of low-priority pods, if there is one; which device it is can only be told by looking at it.
*/}}
{{- define "plimsoll.swapDevice" -}}
{{- with .Values.config.overcommit }}{{ if and (ne (toString .mode) "off") (ne (toString .mode) "false") (hasPrefix "/" (toString .swapDevice)) }}{{ .swapDevice }}{{ end }}{{ end }}
{{- end }}

{{- define "plimsoll.volumes" -}}
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- with include "plimsoll.swapDevice" . }}
- name: swap-device
  hostPath:
    path: {{ . }}
{{- end }}
- name: state
  {{- if include "plimsoll.enforces" . }}
  # What stood in the kernel's files before: it must outlive the pod.
  hostPath:
    path: /run/plimsoll
    type: DirectoryOrCreate
  {{- else }}
  emptyDir:
    sizeLimit: 1Mi
  {{- end }}
- name: config
  configMap:
    name: {{ include "plimsoll.fullname" . }}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end }}
