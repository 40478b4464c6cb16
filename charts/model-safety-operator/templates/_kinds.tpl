{{- /* Generated from operator/safety_operator/api by `make generate`. Do not edit. */}}
{{- define "mso.kinds" }}["safetyevals", "safetyblends", "safetyfinetunes", "guardeddeployments"]{{ end }}
{{- define "mso.kinds.status" }}["safetyevals/status", "safetyblends/status", "safetyfinetunes/status", "guardeddeployments/status"]{{ end }}
{{- define "mso.kinds.finalizers" }}["safetyevals/finalizers", "safetyblends/finalizers", "safetyfinetunes/finalizers", "guardeddeployments/finalizers"]{{ end }}
{{- define "mso.kinds.scale" }}["guardeddeployments/scale"]{{ end }}
