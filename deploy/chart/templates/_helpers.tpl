{{- define "labels" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{- /* The most pods that there may be at once, but for a rollout. */ -}}
{{- define "pods" -}}
{{ max (int .Values.replicas) (int .Values.autoscaling.maxReplicas) }}
{{- end }}

{{- /* Before anything is rendered: what several pods must have in common. */ -}}
{{- define "check" -}}
{{- $most := int .Values.autoscaling.maxReplicas -}}
{{- if and $most (lt $most (int .Values.replicas)) -}}
{{- fail (printf "autoscaling.maxReplicas is %d and replicas, the fewest pods, is %d" $most (int .Values.replicas)) -}}
{{- end -}}
{{- if and (gt (int (include "pods" .)) 1) (not .Values.gate.redis.address) -}}
{{- fail (printf "%s is %s and gate.redis.address is empty: several pods share sign-outs, refreshes and used sign-ins through Redis; give its address, or set %[1]s to 1" (ternary "autoscaling.maxReplicas" "replicas" (gt $most 0)) (include "pods" .)) -}}
{{- end -}}
{{- if and .Values.gate.redis.address (not .Values.gate.redis.prefix) -}}
{{- fail "gate.redis.prefix is empty: applications that use one Redis each need a prefix of their own" -}}
{{- end -}}
{{- end }}
