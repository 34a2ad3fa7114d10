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
	delete(want, "secret.yaml")
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
		"another port and path":       {"application.port": 9000, "application.healthPath": "/up", "application.endsWithin": 300},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, changes)
			if err != nil {
				t.Fatal(err)
			}
			all := sortObjects(t, files)
			for _, problem := range check(all) {
				t.Error(problem)
			}
			if (all.disruption == nil) != (*all.deployment.Spec.Replicas == 1) {
				t.Error("a budget that keeps a node from being emptied, or none")
			}
		})
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
