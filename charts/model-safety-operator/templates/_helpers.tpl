{{- define "mso.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name with the chart's, but not the same words twice: "model-safety" gives the chart's name. */}}
{{- define "mso.fullname" -}}
{{- $name := include "mso.name" . }}
{{- $full := printf "%s-%s" .Release.Name $name }}
{{- if contains $name .Release.Name }}{{ $full = .Release.Name }}{{ end }}
{{- if hasPrefix .Release.Name $name }}{{ $full = $name }}{{ end }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mso.selector" -}}
app.kubernetes.io/name: {{ include "mso.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mso.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mso.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "mso.serviceAccount" -}}
{{- default (.Values.serviceAccount.create | ternary (include "mso.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- /* An image without tag: dict "root" the root, "image" registry and repository. */}}
{{- define "mso.repository" -}}
{{- with default .image.registry .root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- .image.repository }}
{{- end }}

{{- /* An image reference: dict "root" the root, "image" registry, repository, tag and digest. */}}
{{- define "mso.image" -}}
{{- include "mso.repository" . }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end }}
{{- end }}

{{- /* The namespace from which guarded models are probed besides their own; empty: none. */}}
{{- define "mso.probeNamespace" -}}
{{- if .Values.proof.fromOtherNamespace }}{{ default .Release.Namespace .Values.proof.probeNamespace }}{{ end }}
{{- end }}
