{{- define "plimsoll.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "plimsoll.fullname" -}}
{{- $name := include "plimsoll.name" . -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ default $whole .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "plimsoll.selectorLabels" -}}
app.kubernetes.io/name: {{ include "plimsoll.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
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
name: {{ include "plimsoll.fullname" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "plimsoll.labels" . | nindent 2 }}
{{- end }}

{{- define "plimsoll.serviceAccount" -}}
{{ default (ternary (include "plimsoll.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "plimsoll.registry" -}}
{{ default .Values.image.registry (default dict .Values.global).imageRegistry }}
{{- end }}

{{- define "plimsoll.image" -}}
{{- with .Values.image -}}
{{ with include "plimsoll.registry" $ }}{{ . }}/{{ end }}{{ .repository }}
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
Not empty when a policy writes to the kernel. Evicting is a matter of the API server alone.
*/}}
{{- define "plimsoll.enforces" -}}
{{- range $name, $section := .Values.config }}{{ if and (kindIs "map" $section) (ne $name "eviction") }}{{ if eq (toString $section.mode) "enforce" }}true{{ end }}{{ end }}{{ end }}
{{- end }}

{{/* Not empty when pods are evicted. */}}
{{- define "plimsoll.evicts" -}}
{{- with .Values.config.eviction }}{{ if eq (toString .mode) "enforce" }}true{{ end }}{{ end }}
{{- end }}

{{- define "plimsoll.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "plimsoll.serviceAccount" . }}
{{- end }}

{{/*
The mode of the frequency policy where the configuration says one: what it needs depends on the nodes, and the policy
observes by default, also where it can see nothing.
*/}}
{{- define "plimsoll.frequencyMode" -}}
{{- if hasKey .Values.config "frequency" }}{{ $section := default dict .Values.config.frequency }}{{ $mode := ternary (toString $section.mode) "observe" (hasKey $section "mode") }}{{ if has $mode (list "observe" "enforce") }}{{ $mode }}{{ end }}{{ end }}
{{- end }}

{{- define "plimsoll.speedSelect" -}}
{{- if include "plimsoll.frequencyMode" . }}{{ .Values.frequency.speedSelectResource }}{{ end }}
{{- end }}

{{- define "plimsoll.packageEnergy" -}}
{{- if and .Values.frequency.packageEnergy (include "plimsoll.frequencyMode" .) }}true{{ end }}
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

{{/* Not empty when memory is brought back from the swap device in the end. */}}
{{- define "plimsoll.drains" -}}
{{- if and (include "plimsoll.swaps" .) (eq (dig "onExit" "leave" .Values.config.overcommit) "drain") }}true{{ end }}
{{- end }}

{{/* Seconds that this takes before anything else that the agent does in the end. */}}
{{- define "plimsoll.drainSeconds" -}}
{{- $drain := 0 -}}
{{- if include "plimsoll.drains" . -}}
{{- $text := toString (dig "drainTimeout" "60s" .Values.config.overcommit) -}}
{{- range $unit, $seconds := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $found := regexFind (printf "[0-9]+%s" $unit) (regexReplaceAll "[0-9]+ms" $text "") | trimSuffix $unit -}}
{{- $drain = add $drain (mul $seconds (int $found)) -}}
{{- end -}}
{{- if regexMatch "^[0-9.]+$" $text }}{{ $drain = ceil (float64 $text) }}{{ end -}}
{{- end -}}
{{- int $drain -}}
{{- end }}

{{- define "plimsoll.gracePeriod" -}}
{{- add .Values.terminationGracePeriodSeconds (include "plimsoll.drainSeconds" . | int) -}}
{{- end }}

{{/* The agent may use up its time and be killed, and then what cleans up behind it begins anew. */}}
{{- define "plimsoll.cleanupSeconds" -}}
{{- add .Values.postDeleteCleanup.timeoutSeconds (include "plimsoll.drainSeconds" . | int | mul 2) -}}
{{- end }}

{{/* When Kubernetes ends the hook's Job, for which Helm waits. */}}
{{- define "plimsoll.cleanupDeadline" -}}
{{- add (include "plimsoll.cleanupSeconds" . | int) 30 -}}
{{- end }}

{{/*
Of the volumes that the administrator adds, those of the node itself: what they name of the namespace may be gone after an
uninstall, and pods would wait for it.
*/}}
{{- define "plimsoll.extraNodeVolumes" -}}
{{- $found := list }}
{{- range .Values.extraVolumes }}{{ if hasKey . "hostPath" }}{{ $found = append $found . }}{{ end }}{{ end }}
{{- toJson $found }}
{{- end }}

{{- define "plimsoll.extraNodeVolumeMounts" -}}
{{- $names := list }}
{{- range include "plimsoll.extraNodeVolumes" . | fromJsonArray }}{{ $names = append $names .name }}{{ end }}
{{- $found := list }}
{{- range .Values.extraVolumeMounts }}{{ if has .name $names }}{{ $found = append $found . }}{{ end }}{{ end }}
{{- toJson $found }}
{{- end }}

{{- define "plimsoll.podSecurityContext" -}}
{{- include "plimsoll.user" (or (include "plimsoll.enforces" .) (include "plimsoll.speedSelect" .) (include "plimsoll.packageEnergy" .)) }}
{{- end }}

{{/*
The argument of this one: whether there is anything to write, or that only root reads.
*/}}
{{- define "plimsoll.user" -}}
seccompProfile:
  type: RuntimeDefault
{{- if . }}
# The kernel's control files belong to root. No capability is needed to write them, but for registers.
runAsUser: 0
runAsGroup: 0
{{- else }}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- end }}
{{- end }}

{{- define "plimsoll.securityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
Of the containers that read and write the node. The driver of Speed Select wants a capability of whoever changes a
register, and none of whoever reads one. swapon and swapoff open the device for writing: Kubernetes has no lesser way to
let a container open a disk.
*/}}
{{- define "plimsoll.hostSecurityContext" -}}
{{- if include "plimsoll.swaps" . -}}
privileged: true
readOnlyRootFilesystem: true
{{- else -}}
{{ include "plimsoll.securityContext" . }}
  {{- if and (include "plimsoll.speedSelect" .) (eq (include "plimsoll.frequencyMode" .) "enforce") }}
  add: [SYS_ADMIN]
  {{- end }}
{{- end }}
{{- end }}

{{- define "plimsoll.hostResources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- with include "plimsoll.speedSelect" . }}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict . "1")) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/*
The argument of this one and of hostVolumes: the root, and whether there is anything to write.
*/}}
{{- define "plimsoll.hostVolumeMounts" -}}
- name: cgroup
  mountPath: /sys/fs/cgroup
  {{- if not .write }}
  readOnly: true
  {{- /* On cgroup v1 the controllers are mounts below this one, which a plain read-only mount does not cover. */}}
  {{- if semverCompare ">=1.31-0" .root.Capabilities.KubeVersion.Version }}
  recursiveReadOnly: IfPossible
  {{- end }}
  {{- end }}
- name: state
  mountPath: /run/plimsoll
{{- if eq (include "plimsoll.frequencyMode" .root) "enforce" }}
- name: cpu
  mountPath: /sys/devices/system/cpu
{{- end }}
{{- if include "plimsoll.packageEnergy" .root }}
- name: package-energy
  {{- /* Runtimes mask the place it really is in. */}}
  mountPath: /sys/class/powercap
  readOnly: true
{{- end }}
{{- with include "plimsoll.swapDevice" .root }}
- name: swap-device
  mountPath: {{ . }}
  readOnly: {{ empty (include "plimsoll.swaps" $.root) }}
{{- end }}
{{- if include "plimsoll.damon" .root }}
- name: damon
  mountPath: /sys/kernel/mm
{{- end }}
{{- end }}

{{- define "plimsoll.volumeMounts" -}}
{{ include "plimsoll.hostVolumeMounts" (dict "root" . "write" (include "plimsoll.enforces" .)) }}
- name: config
  mountPath: /etc/plimsoll
  readOnly: true
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/*
The path of the swap device of low-priority pods, if there is one; which device it is can only be told by looking at it.
Of a file that the agent makes it is the folder: there is nothing else to mount yet.
*/}}
{{- define "plimsoll.swapDevice" -}}
{{- with .Values.config.overcommit }}{{ if and (ne (toString .mode) "off") (ne (toString .mode) "false") (hasPrefix "/" (toString .swapDevice)) }}{{ ternary (dir .swapDevice) .swapDevice (not (empty .swapFileSize)) }}{{ end }}{{ end }}
{{- end }}

{{/*
Not empty where DAMON may find the cold memory: it is told to through sysfs, which is read-only in a container.
*/}}
{{- define "plimsoll.damon" -}}
{{- with .Values.config.overcommit }}{{ if and (eq (toString .mode) "enforce") (has (toString (default "auto" .selector)) (list "auto" "damon")) }}true{{ end }}{{ end }}
{{- end }}

{{- define "plimsoll.hostVolumes" -}}
- name: cgroup
  hostPath:
    path: /sys/fs/cgroup
    type: Directory
{{- if eq (include "plimsoll.frequencyMode" .root) "enforce" }}
- name: cpu
  hostPath:
    path: /sys/devices/system/cpu
    type: Directory
{{- end }}
{{- if include "plimsoll.packageEnergy" .root }}
- name: package-energy
  hostPath:
    path: /sys/devices/virtual/powercap/intel-rapl
    type: Directory
{{- end }}
{{- with include "plimsoll.swapDevice" .root }}
- name: swap-device
  hostPath:
    path: {{ . }}
    {{- /* Without a type, a device that is not there becomes a folder on the node. Links are followed. */}}
    type: {{ if $.root.Values.config.overcommit.swapFileSize }}Directory{{ else }}{{ ternary "BlockDevice" "File" (hasPrefix "/dev/" .) }}{{ end }}
{{- end }}
{{- if include "plimsoll.damon" .root }}
# Not the folder damon in it, which not every kernel has: the pod would not start there.
- name: damon
  hostPath:
    path: /sys/kernel/mm
    type: Directory
{{- end }}
- name: state
  {{- if .write }}
  # What stood in the kernel's files before: it must outlive the pod.
  hostPath:
    path: /run/plimsoll
    type: DirectoryOrCreate
  {{- else }}
  emptyDir:
    sizeLimit: 1Mi
  {{- end }}
{{- end }}

{{- define "plimsoll.volumes" -}}
{{ include "plimsoll.hostVolumes" (dict "root" . "write" (include "plimsoll.enforces" .)) }}
- name: config
  configMap:
    name: {{ include "plimsoll.fullname" . | quote }}
{{ include "plimsoll.tokenVolume" . }}
{{- end }}

{{- define "plimsoll.tokenVolume" -}}
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

{{/*
What all pods have: where they run, and that no token is in them by itself. It is mounted where it is needed: one that
lasts an hour, in that container only.
*/}}
{{- define "plimsoll.podPlace" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with concat (default list (default dict .Values.global).imagePullSecrets) .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name") | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the agents' account may. */}}
{{- define "plimsoll.agentRules" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- if dig "notices" "events" false .Values.config }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- if dig "notices" "podConditions" false .Values.config }}
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
{{- if include "plimsoll.publishes" . }}
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
{{- end }}
{{- if include "plimsoll.evicts" . }}
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
{{- end }}

{{/* What is seen to after an uninstall: not empty where there may be something. */}}
{{- define "plimsoll.cleansNodes" -}}
{{- include "plimsoll.cleans" (list . (include "plimsoll.enforces" .)) }}
{{- end }}

{{- define "plimsoll.cleansConditions" -}}
{{- include "plimsoll.cleans" (list . (dig "notices" "podConditions" false .Values.config)) }}
{{- end }}

{{- define "plimsoll.cleansResources" -}}
{{- include "plimsoll.cleans" (list . (include "plimsoll.publishes" .)) }}
{{- end }}

{{- define "plimsoll.cleans" -}}
{{- $mode := (index . 0).Values.postDeleteCleanup.mode }}
{{- if or (eq $mode "always") (and (eq $mode "auto") (index . 1)) }}true{{ end }}
{{- end }}

{{- define "plimsoll.cleanupName" -}}
{{ printf "%s-cleanup" (include "plimsoll.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end }}

{{- define "plimsoll.cleanupAccount" -}}
{{ ternary (include "plimsoll.cleanupName" .) (include "plimsoll.serviceAccount" .) .Values.serviceAccount.create }}
{{- end }}

{{/* What its account may: of the namespace, where nodes are seen to, and of the cluster. */}}
{{- define "plimsoll.cleanupRules" -}}
- apiGroups: [apps]
  resources: [daemonsets]
  resourceNames: [{{ include "plimsoll.cleanupName" . }}]
  verbs: [get]
{{- end }}

{{- define "plimsoll.cleanupClusterRules" -}}
{{- if include "plimsoll.cleansConditions" . }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
{{- if include "plimsoll.cleansResources" . }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
{{- end }}
{{- end }}

{{/*
The argument: the weight, by which hooks come one after the other.
*/}}
{{- define "plimsoll.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/*
OpenShift's own judgement of pods: what those of one account may ask for, which is what the chart asks for.
*/}}
{{- define "plimsoll.constraints" -}}
apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata:
  name: {{ .name | quote }}
  labels:
    {{- include "plimsoll.labels" .root | nindent 4 }}
  annotations:
    kubernetes.io/description: Plimsoll's pods read, or write, the node's cgroups, and nothing else of it.
    {{- with .hook }}
    {{- include "plimsoll.cleanupHook" . | nindent 4 }}
    {{- end }}
users:
  - system:serviceaccount:{{ .root.Release.Namespace }}:{{ .account }}
groups: []
# Before others that the account may happen to have: what they would add is not wanted.
priority: 10
allowHostDirVolumePlugin: true
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
{{- $security := include "plimsoll.hostSecurityContext" .root | fromYaml }}
allowPrivilegeEscalation: {{ $security.privileged }}
allowPrivilegedContainer: {{ $security.privileged }}
allowedCapabilities: {{ ternary (list "*") (dig "capabilities" "add" list $security) $security.privileged | toJson }}
defaultAddCapabilities: []
requiredDropCapabilities: {{ dig "capabilities" "drop" list $security | toJson }}
readOnlyRootFilesystem: true
runAsUser:
  {{- toYaml .user | nindent 2 }}
# securityContext.seLinuxOptions says which, where the hosts' default does not do.
seLinuxContext: {type: RunAsAny}
fsGroup: {type: RunAsAny}
supplementalGroups: {type: RunAsAny}
seccompProfiles: [runtime/default]
volumes: [configMap, emptyDir, hostPath, projected, secret]
{{- end }}
