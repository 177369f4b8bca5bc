{{- /* The gate, as the parameter of the admission policies has it. */ -}}
{{- define "weightseal.gate" -}}
- name: weightseal
  image: {{ .Values.gate.image | quote }}
  imagePullPolicy: IfNotPresent
  args:
    - --models-under=/weightseal/models
    - --policy=/etc/weightseal/policy.yaml
    - --policy-sha256={{ .Values.policy | sha256sum }}
    - --deadline={{ .Values.gate.deadline }}
  resources: {{- toYaml .Values.gate.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    privileged: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - { name: weightseal-policy, mountPath: /etc/weightseal, readOnly: true }
    - { name: model-cache, mountPath: {{ printf "/weightseal/models/%s" .Values.model.claim | quote }}, readOnly: true }
{{- end }}
{{- define "weightseal.labels" -}}
app.kubernetes.io/part-of: inference
{{- end }}
