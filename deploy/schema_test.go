package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	_ "sigs.k8s.io/kubectl-validate/pkg/utils" // its module carries Kubernetes' OpenAPI documents; this has go.mod name and check it
	"sigs.k8s.io/yaml"
)

// oldest is the Kubernetes that docs/kubernetes.md wants at least.
const oldest = "1.30"

// documents are the OpenAPI documents of that Kubernetes, a file for each apiVersion.
var documents = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kubectl-validate").Output()
	return filepath.Join(strings.TrimSpace(string(dir)), "pkg", "openapiclient", "builtins", oldest), err
})

// object is what every manifest says of itself.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// schemas are those that have been read, by what they are of.
var schemas = map[object]*jsonschema.Schema{}

// schema is that of a kind. Kubernetes' documents leave its objects open; here they are closed, as the API server closes
// them with fieldValidation=Strict.
func schema(of object) (*jsonschema.Schema, error) {
	if known := schemas[of]; known != nil {
		return known, nil
	}
	folder, err := documents()
	if err != nil {
		return nil, err
	}
	group, version, named := strings.Cut(of.APIVersion, "/")
	file := filepath.Join(folder, "apis", group, version+".json")
	if !named {
		file = filepath.Join(folder, "api", of.APIVersion+".json")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("apiVersion %q: %w", of.APIVersion, err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	name := ""
	for candidate, schema := range document.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		schema := schema.(map[string]any)
		if schema["properties"] != nil && schema["additionalProperties"] == nil {
			schema["additionalProperties"] = false
		}
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		if slices.ContainsFunc(kinds, func(kind any) bool { return kind.(map[string]any)["kind"] == of.Kind }) {
			name = candidate
		}
	}
	if name == "" {
		return nil, fmt.Errorf("there is no %s in %s", of.Kind, of.APIVersion)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft4) // what OpenAPI 3.0 is made of
	if err := compiler.AddResource("kubernetes.json", document); err != nil {
		return nil, err
	}
	schemas[of], err = compiler.Compile("kubernetes.json#/components/schemas/" + name)
	return schemas[of], err
}

// validate holds a manifest to Kubernetes' schema of its kind, as an API server does with fieldValidation=Strict: what is
// unknown, given twice, of another type or missing is an error.
func validate(text []byte) (kind string, err error) {
	if text, err = yaml.YAMLToJSONStrict(text); err != nil {
		return "", err
	}
	var of object
	if err := json.Unmarshal(text, &of); err != nil {
		return "", err
	}
	schema, err := schema(of)
	if err != nil {
		return "", err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	return of.Kind, schema.Validate(value)
}

// Every manifest fits, and what would not is found; sortObjects holds what the chart renders to the same.
func TestManifestsFitKubernetesSchemas(t *testing.T) {
	if !strings.Contains(string(read(t, "chart/Chart.yaml")), `kubeVersion: ">=`+oldest+`.0-0"`) || !strings.Contains(string(read(t, "../docs/kubernetes.md")), "Kubernetes "+oldest+" or later") {
		t.Errorf("chart and page want another Kubernetes than %s", oldest)
	}
	files := sidecarFiles(t)
	for name, text := range files {
		if _, err := validate(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct{ name, file, old, by, want string }{
		{"unknown field", "deployment.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem", "additional properties 'readOnlyRootFileSystem' not allowed"},
		{"unknown field at the top", "service.yaml", "kind: Service", "kind: Service\nports: []", "additional properties 'ports' not allowed"},
		{"a field of another place", "networkpolicy.yaml", "  podSelector:\n    matchLabels:", "  podSelector:\n    labels:", "additional properties 'labels' not allowed"},
		{"field given twice", "deployment.yaml", "  replicas: 2", "  replicas: 2\n  replicas: 3", `key "replicas" already set`},
		{"text for a number", "deployment.yaml", "replicas: 2", "replicas: two", "got string, want integer"},
		{"a fraction", "deployment.yaml", "replicas: 2", "replicas: 2.5", "got number, want integer"},
		{"a number for text", "deployment.yaml", "value: 127.0.0.1:3000", "value: 3000", "got number, want string"},
		{"a truth for text", "configmap.yaml", "\ndata:\n", "\ndata:\n  verbose: true\n", "got boolean, want string"},
		{"one for many", "networkpolicy.yaml", "policyTypes:\n    - Ingress", "policyTypes: Ingress", "got string, want array"},
		{"neither number nor text", "networkpolicy.yaml", "port: 8080", "port: [8080]", "'oneOf' failed"},
		{"a name that is missing", "deployment.yaml", "        - name: app\n          image: app:1.0.0", "        - image: app:1.0.0", "missing property 'name'"},
		{"a selector that is missing", "deployment.yaml", "  selector:\n    matchLabels:\n      app.kubernetes.io/name: app\n  strategy", "  strategy", "missing property 'selector'"},
		{"a port that is missing", "service.yaml", "      port: 80\n", "", "missing property 'port'"},
		{"unknown kind", "deployment.yaml", "kind: Deployment", "kind: Deploiment", "there is no Deploiment in apps/v1"},
		{"no kind", "deployment.yaml", "kind: Deployment", "", "there is no  in apps/v1"},
		{"a kind of another group", "poddisruptionbudget.yaml", "policy/v1", "v1", "there is no PodDisruptionBudget in v1"},
		{"a version that is gone", "poddisruptionbudget.yaml", "policy/v1", "policy/v1beta1", `apiVersion "policy/v1beta1"`},
		{"a field of a newer Kubernetes", "deployment.yaml", "    spec:\n", "    spec:\n      resources: {}\n", "additional properties 'resources' not allowed"},
		{"a list", "service.yaml", "apiVersion: v1", "- apiVersion: v1", "did not find expected"},
	} {
		broken := strings.Replace(string(files[tt.file]), tt.old, tt.by, 1)
		if broken == string(files[tt.file]) {
			t.Fatalf("%s: nothing was broken", tt.name)
		}
		if _, err := validate([]byte(broken)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
