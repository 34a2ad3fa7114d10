package deploy_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

// render is `helm template app deploy/chart -f example-values.yaml` with changes by dotted path, by Helm's own code:
// what the chart makes, by file name.
func render(t *testing.T, changes map[string]any) (map[string][]byte, error) {
	t.Helper()
	chart, err := loader.Load("chart")
	if err != nil {
		t.Fatal(err)
	}
	if err := chart.Validate(); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(read(t, "chart/example-values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	for path, value := range changes {
		block, names := values, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			block = block[name].(map[string]any)
		}
		block[names[len(names)-1]] = value
	}
	release := chartutil.ReleaseOptions{Name: "app", Namespace: "default", Revision: 1, IsInstall: true}
	final, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{Strict: true}.Render(chart, final)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, text := range rendered {
		name = name[strings.LastIndex(name, "/")+1:]
		if strings.TrimSpace(text) != "" && strings.HasSuffix(name, ".yaml") {
			files[name] = []byte(text)
		}
	}
	return files, nil
}

// The chart renders the manifests of deploy/sidecar, but for the Secret, which is nobody's value, and the checksum that
// rolls pods when the Caddyfile changes.
func TestChartRendersTheManifests(t *testing.T) {
	rendered, err := render(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := sidecarFiles(t)
	delete(want, "secret.yaml.example")
	if got := slices.Sorted(maps.Keys(rendered)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Fatalf("the chart renders %q", got)
	}
	made := sortObjects(t, rendered)
	if annotations := made.deployment.Spec.Template.Annotations; len(annotations) != 1 || len(annotations["checksum/config"]) != 64 {
		t.Errorf("annotations %v", annotations)
	}
	made.deployment.Spec.Template.Annotations = nil
	written := sortObjects(t, want)
	for what, pair := range map[string][2]any{
		"ConfigMap":           {made.config, written.config},
		"Deployment":          {made.deployment, written.deployment},
		"Service":             {made.service, written.service},
		"Ingress":             {made.ingress, written.ingress},
		"NetworkPolicy":       {made.network, written.network},
		"PodDisruptionBudget": {made.disruption, written.disruption},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			got, _ := yaml.Marshal(pair[0])
			want, _ := yaml.Marshal(pair[1])
			t.Errorf("%s: the chart renders\n%s\nand not\n%s", what, got, want)
		}
	}
}

// Other values, and the promises hold still.
func TestChartWithOtherValues(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"one pod that shares nothing": {"replicas": 1, "gate.redis": map[string]any{}},
		"Redis without a user":        {"gate.redis.username": "", "gate.redis.tls": true},
		"no rules and no environment": {"gate.rules": []any{}, "application.env": []any{}},
		"authorities of one's own":    {"gate.authorities": "company", "gate.redis.tls": true, "gate.provider": []any{"prompt login"}, "gate.session": []any{"lifetime 8h"}},
		"another Ingress":             {"ingress.tlsSecret": "", "ingress.annotations": map[string]any{"a/b": "c"}, "gate.publicURL": "https://app.example.com:8443"},
		"no Ingress":                  {"ingress": map[string]any{}, "ingressFrom": []any{map[string]any{"ipBlock": map[string]any{"cidr": "130.211.0.0/22"}}}},
		"images of elsewhere":         {"imagePullSecrets": []any{map[string]any{"name": "registry"}}, "application.runAsUser": 1000, "gate.trustedProxies": []any{"private_ranges", "100.64.0.0/10"}},
		"as many as are needed":       {"autoscaling": map[string]any{"maxReplicas": 6, "cpu": 80}},
		"from one pod on":             {"replicas": 1, "autoscaling": map[string]any{"maxReplicas": 3}},
		"metrics":                     {"metricsFrom": []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "monitoring"}}}}},
		"another port and path":       {"application.port": 9000, "application.healthPath": "/up", "application.endsWithin": 300},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, changes)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range check(sortObjects(t, files)) {
				t.Error(problem)
			}
		})
	}
}

// testdata/Caddyfile is what the chart makes of every value that enters it; internal/e2e has the gate read it.
func TestChartCaddyfile(t *testing.T) {
	rendered, err := render(t, map[string]any{
		"gate.authorities": "company", "gate.redis.tls": true, "gate.scopes": []any{"openid", "groups"}, "gate.trustedProxies": []any{"private_ranges", "100.64.0.0/10"},
		"gate.rules": []any{"allow groups staff", "header X-Name name"}, "gate.provider": []any{"user_claim email"}, "gate.session": []any{"lifetime 8h", "idle_timeout 1h"},
		"metricsFrom": []any{map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"app": "prometheus"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sortObjects(t, rendered).config.Data["Caddyfile"], string(read(t, "testdata/Caddyfile")); got != want {
		t.Errorf("the chart renders\n%s\nand not\n%s", got, want)
	}
}

func TestChartRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes map[string]any
		want    string
	}{
		{"two pods without Redis", map[string]any{"gate.redis.address": ""}, "several pods share sign-outs, refreshes and used sign-ins through Redis; give its address, or set replicas to 1"},
		{"two pods, and no word of Redis", map[string]any{"gate.redis": map[string]any{}}, "replicas is 2 and gate.redis.address is empty"},
		{"more pods in time, without Redis", map[string]any{"replicas": 1, "autoscaling": map[string]any{"maxReplicas": 3}, "gate.redis.address": ""}, "autoscaling.maxReplicas is 3 and gate.redis.address is empty: several pods share sign-outs, refreshes and used sign-ins through Redis; give its address, or set autoscaling.maxReplicas to 1"},
		{"fewer than the fewest", map[string]any{"autoscaling": map[string]any{"maxReplicas": 1}}, "autoscaling.maxReplicas is 1 and replicas, the fewest pods, is 2"},
		{"the application at the metrics' port", map[string]any{"application.port": 9180}, "port"},
		{"everybody may measure", map[string]any{"metricsFrom": []any{map[string]any{}}}, "metricsFrom"},
		{"one Redis, and no prefix", map[string]any{"gate.redis.prefix": ""}, "gate.redis.prefix is empty"},
		{"no pod", map[string]any{"replicas": 0}, "replicas"},
		{"a word that there is not", map[string]any{"gate.replicas": 2}, "replicas"},
		{"plain http in the browser", map[string]any{"gate.publicURL": "http://app.example.com"}, "publicURL"},
		{"a path behind the origin", map[string]any{"gate.publicURL": "https://app.example.com/x"}, "publicURL"},
		{"no issuer", map[string]any{"gate.issuer": ""}, "issuer"},
		{"a block of Caddyfile in the issuer", map[string]any{"gate.issuer": "https://id.example.com\n}\n"}, "issuer"},
		{"a secret of the Caddyfile's", map[string]any{"gate.clientID": "{env.X}"}, "clientID"},
		{"no client", map[string]any{"gate.clientID": ""}, "clientID"},
		{"no image", map[string]any{"gate.image": ""}, "image"},
		{"no application", map[string]any{"application.image": ""}, "image"},
		{"no Secret", map[string]any{"gate.secretName": ""}, "secretName"},
		{"a secret as a value", map[string]any{"gate.clientSecret": "x"}, "clientSecret"},
		{"a rule of two lines", map[string]any{"gate.rules": []any{"allow any\npublic /*"}}, "rules"},
		{"a block in a line of the session's", map[string]any{"gate.session": []any{"shared memory {"}}, "session"},
		{"a secret in a line of the provider's", map[string]any{"gate.provider": []any{"client_secret {env.X}"}}, "provider"},
		{"the probes' path elsewhere", map[string]any{"gate.rules": []any{"base_path /auth"}}, "rules"},
		{"nobody may ask", map[string]any{"ingressFrom": []any{}}, "ingressFrom"},
		{"everybody may ask", map[string]any{"ingressFrom": []any{map[string]any{}}}, "ingressFrom"},
		{"nobody's word counts", map[string]any{"gate.trustedProxies": []any{}}, "trustedProxies"},
		{"root", map[string]any{"application.runAsUser": -1}, "runAsUser"},
		{"the application at the gate's port", map[string]any{"application.port": 8080}, "port"},
		{"a path with a wildcard", map[string]any{"application.healthPath": "/*"}, "healthPath"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := render(t, tt.changes)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
