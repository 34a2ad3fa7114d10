{{- define "labels" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{- /* Before anything is rendered: what several pods must have in common. */ -}}
{{- define "check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.gate.redis.address) -}}
{{- fail (printf "replicas is %d and gate.redis.address is empty: several pods share sign-outs, refreshes and used sign-ins through Redis; give its address, or set replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- if and .Values.gate.redis.address (not .Values.gate.redis.prefix) -}}
{{- fail "gate.redis.prefix is empty: applications that use one Redis each need a prefix of their own" -}}
{{- end -}}
{{- end }}
