{{- /*
What the operator may do, one entry per need. No wildcard, no exec, nothing on RBAC objects; specs of the four
kinds are never written. Each entry becomes a ClusterRole, or a Role in each watched namespace.
*/}}
{{- define "mso.needs" -}}
# The four kinds: read them, report in their status. Finalizers: what owner references that block deletion ask for.
resources:
- apiGroups: [modelsafety.dev]
  resources: {{ include "mso.kinds" . }}
  verbs: [get, list, watch]
- apiGroups: [modelsafety.dev]
  resources: {{ include "mso.kinds.status" . }}
  verbs: [patch]
- apiGroups: [modelsafety.dev]
  resources: {{ include "mso.kinds.finalizers" . }}
  verbs: [update]
# What carries out a run.
children:
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# How a guarded endpoint is reached from outside, how many pods it has, and how many may go at a time.
exposure:
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.rbac.httpRoutes }}
# expose.httpRoute. Without Gateway API in the cluster these rights are for nothing.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rbac.scaledObjects }}
# autoscaling.queue. Without KEDA in the cluster these rights are for nothing.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rbac.rayJobs }}
# compute.launcher: kuberay. Without KubeRay in the cluster these rights are for nothing.
rayjobs:
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# How a run goes on: results in termination messages, progress in logs. Delete: pods whose worker failed while
# a container that something injected runs on.
pods:
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Whether the claims that resources name exist.
claims:
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch]
events:
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Why a pod does not come up: a quota, an admission policy and a volume say so in events only.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- if .Values.rbac.secrets }}
# API keys between guardrails and model are made, and Secrets that resources name are looked for by name.
secrets:
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
{{- end }}
{{- end }}
