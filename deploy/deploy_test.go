// Package deploy_test holds what deploy/ promises: the image, the manifests, the chart. It is a module of its own, so
// that Helm and Kubernetes enter nobody's build of the gate.
package deploy_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// objects are the parts of one application in its pod.
type objects struct {
	secret     *corev1.Secret
	config     *corev1.ConfigMap
	deployment *appsv1.Deployment
	service    *corev1.Service
	ingress    *networkingv1.Ingress
	network    *networkingv1.NetworkPolicy
	disruption *policyv1.PodDisruptionBudget
	scaler     *autoscalingv2.HorizontalPodAutoscaler
}

// sortObjects puts manifests, by file name, to their kinds; each fits the schema of its kind, which stands once, and one a file.
func sortObjects(t *testing.T, files map[string][]byte) objects {
	t.Helper()
	var all objects
	parts := map[string]any{
		"Secret": &all.secret, "ConfigMap": &all.config, "Deployment": &all.deployment, "Service": &all.service, "Ingress": &all.ingress, "NetworkPolicy": &all.network, "PodDisruptionBudget": &all.disruption,
		"HorizontalPodAutoscaler": &all.scaler,
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		kind, err := validate(files[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		part, known := parts[kind]
		if !known || strings.Contains(string(files[name]), "\n---") {
			t.Fatalf("%s: a second %s, or two in one file", name, kind)
		}
		delete(parts, kind)
		if err := yaml.UnmarshalStrict(files[name], part); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

func sidecarFiles(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("sidecar/*")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		files[filepath.Base(name)] = read(t, name)
	}
	return files
}

// What the parts call each other fits, and the pod is as closed as it can be.
func TestSidecar(t *testing.T) {
	all := sortObjects(t, sidecarFiles(t))
	if all.secret == nil || all.config == nil || all.deployment == nil || all.service == nil || all.ingress == nil || all.network == nil || all.disruption == nil {
		t.Fatal("a part is missing")
	}
	for name, text := range sidecarFiles(t) {
		if filepath.Ext(name) == ".yaml" && strings.Contains(string(text), "kind: Secret") {
			t.Errorf("%s: kubectl apply -f deploy/sidecar puts it over the Secret that was made", name)
		}
	}
	for _, problem := range check(all) {
		t.Error(problem)
	}
}

// Each promise is seen to be held: what breaks it is found.
func TestSidecarCheckCanFail(t *testing.T) {
	for name, breaks := range map[string]func(*objects){
		"the Service asks for other pods":      func(o *objects) { o.service.Spec.Selector = map[string]string{"a": "b"} },
		"the Service leads to the application": func(o *objects) { o.service.Spec.Ports[0].TargetPort.StrVal = "app" },
		"the Ingress asks another Service":     func(o *objects) { o.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name = "b" },
		"the Ingress asks another port":        func(o *objects) { o.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port.Name = "app" },
		"the Ingress is for another host":      func(o *objects) { o.ingress.Spec.Rules[0].Host = "other.example.com" },
		"the Ingress is for one path":          func(o *objects) { o.ingress.Spec.Rules[0].HTTP.Paths[0].Path = "/x" },
		"the Ingress ends no TLS":              func(o *objects) { o.ingress.Spec.TLS = nil },
		"the policy is for other pods":         func(o *objects) { o.network.Spec.PodSelector.MatchLabels = map[string]string{"a": "b"} },
		"the policy opens every port":          func(o *objects) { o.network.Spec.Ingress[0].Ports = nil },
		"the policy opens to everybody":        func(o *objects) { o.network.Spec.Ingress[0].From = nil },
		"the policy opens to each namespace":   func(o *objects) { o.network.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels = nil },
		"the policy opens the application":     func(o *objects) { o.network.Spec.Ingress[0].Ports[0].Port.IntVal = 3000 },
		"the policy is of egress":              func(o *objects) { o.network.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress"} },
		"the budget is for other pods":         func(o *objects) { o.disruption.Spec.Selector.MatchLabels = map[string]string{"a": "b"} },
		"the application has the secrets": func(o *objects) {
			o.app().VolumeMounts = append(o.app().VolumeMounts, corev1.VolumeMount{Name: "secrets", MountPath: "/x"})
		},
		"the application has a port":            func(o *objects) { o.app().Ports = []corev1.ContainerPort{{ContainerPort: 3000}} },
		"the application ends first":            func(o *objects) { o.app().Lifecycle = nil },
		"the application ends while it drains":  func(o *objects) { o.app().Lifecycle.PreStop.Sleep.Seconds = 29 },
		"the pod is killed while it drains":     func(o *objects) { *o.pod().TerminationGracePeriodSeconds = 30 },
		"containers see each other's processes": func(o *objects) { yes := true; o.pod().ShareProcessNamespace = &yes },
		"a token of the API server":             func(o *objects) { o.pod().AutomountServiceAccountToken = nil },
		"the host's network":                    func(o *objects) { o.pod().HostNetwork = true },
		"variables of Services":                 func(o *objects) { o.pod().EnableServiceLinks = nil },
		"root":                                  func(o *objects) { *o.gate().SecurityContext.RunAsUser = 0 },
		"the gate as somebody else":             func(o *objects) { o.gate().SecurityContext.RunAsUser = nil },
		"the application as root":               func(o *objects) { var root int64; o.app().SecurityContext.RunAsUser = &root },
		"a Secret of another group":             func(o *objects) { o.pod().SecurityContext.FSGroup = nil },
		"no word on root":                       func(o *objects) { o.pod().SecurityContext.RunAsNonRoot = nil },
		"no seccomp":                            func(o *objects) { o.pod().SecurityContext.SeccompProfile = nil },
		"a root file system to write to":        func(o *objects) { o.gate().SecurityContext.ReadOnlyRootFilesystem = nil },
		"capabilities":                          func(o *objects) { o.app().SecurityContext.Capabilities = nil },
		"more privileges":                       func(o *objects) { o.app().SecurityContext.AllowPrivilegeEscalation = nil },
		"no limit of memory":                    func(o *objects) { o.gate().Resources.Limits = nil },
		"no request":                            func(o *objects) { o.gate().Resources.Requests = nil },
		"liveness asks the application": func(o *objects) {
			o.gate().LivenessProbe.HTTPGet.Path = "/"
		},
		"liveness is as quick as readiness":                 func(o *objects) { o.gate().LivenessProbe.FailureThreshold = 1 },
		"no readiness":                                      func(o *objects) { o.gate().ReadinessProbe = nil },
		"the Caddyfile reads a key that the Secret has not": func(o *objects) { delete(o.secret.StringData, "session-keys") },
		"another Secret":                                    func(o *objects) { o.secret.Name = "x" },
		"another ConfigMap":                                 func(o *objects) { o.config.Name = "x" },
		"a ConfigMap without it":                            func(o *objects) { o.config.Data = map[string]string{"caddyfile": ""} },
		"nowhere to write":                                  func(o *objects) { o.pod().Volumes[2].EmptyDir = nil },
		"a secret for everybody":                            func(o *objects) { *o.pod().Volumes[1].Secret.DefaultMode = 0o444 },
		"an admin endpoint":                                 func(o *objects) { o.caddyfile("admin off", "admin localhost:2019") },
		"an upstream elsewhere":                             func(o *objects) { o.caddyfile("127.0.0.1:3000", "app:3000") },
		"a site of another port":                            func(o *objects) { o.caddyfile("http://:8080", "http://:8081") },
		"a secret that works":                               func(o *objects) { o.secret.StringData["session-keys"] = strings.Repeat("QUJD", 11) },
		"a rollout that cuts":                               func(o *objects) { o.deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntVal = 1 },
		"a scaler that is undone":                           func(o *objects) { o.scaler = newScaler() },
		"a scaler of something else":                        func(o *objects) { o.scaler, o.deployment.Spec.Replicas, o.deployment.Name = newScaler(), nil, "b" },
		"several pods, and no budget":                       func(o *objects) { o.disruption = nil },
		"a port that nobody listens at": func(o *objects) {
			o.gate().Ports = append(o.gate().Ports, corev1.ContainerPort{Name: "metrics", ContainerPort: 9180})
		},
		"metrics at no port": func(o *objects) {
			o.caddyfile("\n}\n\nhttp", "\n\tmetrics\n}\n\nhttp")
			o.config.Data["Caddyfile"] += "\nhttp://:9180 {\n\tmetrics /metrics\n}\n"
		},
		"replicas without Redis":            func(o *objects) { o.caddyfile("shared redis", "# shared redis") },
		"a budget for pods that work alone": func(o *objects) { o.disruption.Spec.UnhealthyPodEvictionPolicy = nil },
		"the application's probe":           func(o *objects) { o.app().ReadinessProbe.HTTPGet.Path = "/other" },
	} {
		all := sortObjects(t, sidecarFiles(t))
		breaks(&all)
		if len(check(all)) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// newScaler is one of the Deployment app.
func newScaler() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "app"}, MaxReplicas: 5,
	}}
}

func (o *objects) pod() *corev1.PodSpec    { return &o.deployment.Spec.Template.Spec }
func (o *objects) gate() *corev1.Container { return &o.pod().Containers[0] }
func (o *objects) app() *corev1.Container  { return &o.pod().Containers[1] }

// selects says whether it leaves anything out.
func selects(s *metav1.LabelSelector) bool {
	return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0
}

func (o *objects) several() bool {
	return o.scaler != nil && o.scaler.Spec.MaxReplicas > 1 || o.deployment.Spec.Replicas != nil && *o.deployment.Spec.Replicas > 1
}

func (o *objects) caddyfile(old, by string) {
	o.config.Data["Caddyfile"] = strings.Replace(o.config.Data["Caddyfile"], old, by, 1)
}

// secretFile is a file of the Secret as the Caddyfile names it.
var secretFile = regexp.MustCompile(`\{file\.(/[^}]*)/([a-z-]+)\}`)

// duration is a global option of so many seconds.
func seconds(caddyfile, option string) int64 {
	found := regexp.MustCompile(`(?m)^\s*` + option + ` (\d+)s$`).FindStringSubmatch(caddyfile)
	if found == nil {
		return -1
	}
	var n int64
	for _, digit := range found[1] {
		n = 10*n + int64(digit-'0')
	}
	return n
}

// check says what of the promises does not hold.
func check(o objects) (problems []string) {
	want := func(holds bool, problem string) {
		if !holds {
			problems = append(problems, problem)
		}
	}
	pod, gate, app, caddyfile := o.pod(), o.gate(), o.app(), o.config.Data["Caddyfile"]
	labels := o.deployment.Spec.Template.Labels
	covers := func(selector map[string]string) bool {
		for name, value := range selector {
			if labels[name] != value {
				return false
			}
		}
		return len(selector) > 0
	}

	// The names.
	want(covers(o.deployment.Spec.Selector.MatchLabels), "the Deployment does not select its pods")
	want(covers(o.service.Spec.Selector), "the Service does not select the pods")
	want(covers(o.network.Spec.PodSelector.MatchLabels), "the NetworkPolicy does not select the pods")
	want(o.disruption == nil || covers(o.disruption.Spec.Selector.MatchLabels), "the PodDisruptionBudget does not select the pods")
	want(gate.Name == "gatehouse" && len(pod.Containers) == 2 && len(pod.InitContainers) == 0, "other containers")

	// The way in: the gate's port, and no other.
	want(len(gate.Ports) >= 1 && gate.Ports[0].Name == "http" && gate.Ports[0].ContainerPort == 8080, "the gate's port")
	measured := strings.Contains(caddyfile, "\nhttp://:9180 {\n\tmetrics /metrics\n}\n") && strings.Contains(caddyfile, "\n\tmetrics\n")
	ports := []int{8080}
	if measured {
		ports = append(ports, 9180)
		want(len(gate.Ports) == 2 && gate.Ports[1].Name == "metrics" && gate.Ports[1].ContainerPort == 9180, "the port of the metrics")
	}
	want(len(gate.Ports) == len(ports), "the gate has ports that nobody listens at")
	want(len(app.Ports) == 0, "the application has a port")
	if o.ingress != nil {
		host := regexp.MustCompile(`\n\t\tpublic_url https://([^:\n]+)`).FindStringSubmatch(caddyfile)
		rules, tls := o.ingress.Spec.Rules, o.ingress.Spec.TLS
		want(host != nil && len(rules) == 1 && rules[0].Host == host[1] && len(tls) == 1 && slices.Equal(tls[0].Hosts, host[1:]), "the Ingress is not for public_url")
		for _, rule := range rules {
			path := rule.HTTP.Paths[0]
			to := path.Backend.Service
			want(len(rule.HTTP.Paths) == 1 && path.Path == "/" && *path.PathType == networkingv1.PathTypePrefix, "the Ingress is not for every path")
			want(to.Name == o.service.Name && to.Port.Name == o.service.Spec.Ports[0].Name, "the Ingress does not lead to the Service")
		}
	}
	want(len(o.service.Spec.Ports) == 1 && o.service.Spec.Ports[0].TargetPort.StrVal == "http", "the Service does not lead to the gate")
	want(slices.Equal(o.network.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress"}) && len(o.network.Spec.Ingress) == len(ports), "the NetworkPolicy is not of ingress alone")
	for i, rule := range o.network.Spec.Ingress {
		want(i < len(ports) && len(rule.Ports) == 1 && rule.Ports[0].Port.IntValue() == ports[i] && len(rule.From) > 0, "the NetworkPolicy opens more than the gate to the Ingress")
		for _, from := range rule.From {
			want(from.IPBlock != nil || selects(from.NamespaceSelector) || selects(from.PodSelector), "the NetworkPolicy opens to everybody")
		}
	}
	want(pod.ShareProcessNamespace == nil || !*pod.ShareProcessNamespace, "the application may read the gate's memory")

	// What each may do.
	problems = append(problems, restricted(&o.deployment.Spec.Template)...)
	user := gate.SecurityContext.RunAsUser
	want(user != nil && *user == 65532, "the gate is not who the image says")
	want(pod.SecurityContext.FSGroup != nil && *pod.SecurityContext.FSGroup == 65532, "the gate cannot read the Secret")
	want(pod.EnableServiceLinks != nil && !*pod.EnableServiceLinks, "Services enter the environment")
	want(pod.AutomountServiceAccountToken != nil && !*pod.AutomountServiceAccountToken, "a token for the API server")
	for _, container := range pod.Containers {
		r := container.Resources
		want(!r.Limits.Memory().IsZero() && !r.Requests.Memory().IsZero() && !r.Requests.Cpu().IsZero(), container.Name+": resources")
	}
	want(gate.SecurityContext.ReadOnlyRootFilesystem != nil && *gate.SecurityContext.ReadOnlyRootFilesystem, "the gate's root file system can be written to")

	// What each has: the secrets are the gate's alone.
	mounts := map[string]string{}
	for _, mount := range gate.VolumeMounts {
		mounts[mount.Name] = mount.MountPath
		want(mount.Name == "data" || mount.ReadOnly, mount.Name+" can be written to")
	}
	want(len(app.VolumeMounts) == 0 && len(app.EnvFrom) == 0, "the application has what is the gate's")
	for _, volume := range pod.Volumes {
		switch volume.Name {
		case "config":
			want(volume.ConfigMap != nil && volume.ConfigMap.Name == o.config.Name && mounts["config"] == "/etc/gatehouse", "the Caddyfile is not where the image looks")
		case "secrets":
			want(volume.Secret != nil && (o.secret == nil || volume.Secret.SecretName == o.secret.Name), "another Secret")
			want(volume.Secret != nil && volume.Secret.DefaultMode != nil && *volume.Secret.DefaultMode&0o007 == 0, "everybody reads the Secret")
		case "authorities":
			want(volume.ConfigMap != nil && strings.Contains(caddyfile, "\t\t\ttls_trust_pool file "+mounts["authorities"]+"/ca.crt\n"), "nobody reads the authorities")
		case "data":
			want(volume.EmptyDir != nil && volume.EmptyDir.SizeLimit != nil && mounts["data"] == "/data", "nowhere to write")
		default:
			problems = append(problems, "volume "+volume.Name)
		}
	}
	files := secretFile.FindAllStringSubmatch(caddyfile, -1)
	want(len(files) >= 2, "the Caddyfile reads no secrets from files")
	for _, file := range files {
		want(file[1] == mounts["secrets"], file[0]+" is not where the Secret is")
		if o.secret != nil {
			value := o.secret.StringData[file[2]]
			want(strings.HasPrefix(value, "<") && strings.HasSuffix(value, ">"), "the Secret's "+file[2]+" is no placeholder")
		}
	}

	// The Caddyfile.
	for _, line := range []string{"admin off", "persist_config off", "auto_https off", "storage_clean_interval off"} {
		want(strings.Contains(caddyfile, "\t"+line+"\n"), "the Caddyfile lacks "+line)
	}
	want(strings.Contains(caddyfile, "\nhttp://:8080 {"), "the site is not at the gate's port")
	want(regexp.MustCompile(`\n\treverse_proxy 127\.0\.0\.1:\d+\n`).MatchString(caddyfile) && strings.Count(caddyfile, "reverse_proxy") == 1, "the upstream is not on loopback")
	want(strings.Contains(caddyfile, "\n\t\tpublic_url https://"), "no public_url")
	want(strings.Contains(caddyfile, "tls_trust_pool") == (mounts["authorities"] != ""), "authorities that are nowhere")
	want(!o.several() || strings.Contains(caddyfile, "\n\t\t\tshared redis "), "replicas that share nothing")
	want(o.several() == (o.disruption != nil), "a budget that keeps a node from being emptied, or none")
	if scaler := o.scaler; scaler != nil {
		to := scaler.Spec.ScaleTargetRef
		want(to.APIVersion == "apps/v1" && to.Kind == "Deployment" && to.Name == o.deployment.Name, "the HorizontalPodAutoscaler is for something else")
		want(o.deployment.Spec.Replicas == nil, "each upgrade undoes the HorizontalPodAutoscaler")
	}

	// Life and end.
	for _, probe := range []*corev1.Probe{gate.ReadinessProbe, gate.LivenessProbe} {
		want(probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Path == "/oauth2/ping" && probe.HTTPGet.Port.StrVal == "http", "a probe that asks for more than the gate")
	}
	if ready, live := gate.ReadinessProbe, gate.LivenessProbe; ready != nil && live != nil {
		want(live.PeriodSeconds*live.FailureThreshold > 2*ready.PeriodSeconds*ready.FailureThreshold, "liveness is not slower than readiness")
	}
	if probe := app.ReadinessProbe; probe != nil {
		want(probe.HTTPGet.Port.IntValue() == 8080 && strings.Contains(caddyfile, "\n\t\tpublic "+probe.HTTPGet.Path+"\n"), "the application's probe does not pass the gate")
	}
	want(app.LivenessProbe == nil, "a gate that is away kills the application")
	delay, grace := seconds(caddyfile, "shutdown_delay"), seconds(caddyfile, "grace_period")
	want(delay >= 5 && grace >= 5, "the gate does not drain")
	sleeps := app.Lifecycle != nil && app.Lifecycle.PreStop != nil && app.Lifecycle.PreStop.Sleep != nil
	want(sleeps && app.Lifecycle.PreStop.Sleep.Seconds >= delay+grace, "the application ends before the gate")
	want(sleeps && *pod.TerminationGracePeriodSeconds > app.Lifecycle.PreStop.Sleep.Seconds+5, "the pod is killed before it has ended")
	eviction := policyv1.AlwaysAllow
	want(o.disruption == nil || reflect.DeepEqual(o.disruption.Spec.UnhealthyPodEvictionPolicy, &eviction), "pods that do not work keep a node from being drained")
	rolling := o.deployment.Spec.Strategy.RollingUpdate
	want(rolling != nil && rolling.MaxUnavailable.IntValue() == 0 && rolling.MaxSurge.IntValue() == 1, "a rollout takes pods away first")
	return problems
}

// restricted says what keeps the pods out of a namespace that enforces the Pod Security Standard of that name.
func restricted(pods *corev1.PodTemplateSpec) (problems []string) {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range checks.EvaluatePod(level, &pods.ObjectMeta, &pods.Spec) {
		if !result.Allowed {
			problems = append(problems, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return problems
}

// instructions of a Dockerfile, one a line, continued lines joined.
func instructions(text []byte) (all []string) {
	for line := range bytes.Lines(bytes.ReplaceAll(text, []byte("\\\n"), []byte(" "))) {
		if line := strings.TrimSpace(string(line)); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

func TestDockerfile(t *testing.T) {
	text := string(read(t, "Dockerfile"))
	for _, problem := range checkImage(text) {
		t.Error(problem)
	}
	for name, broken := range map[string][2]string{
		"a named user":           {"USER 65532:65532", "USER nobody"},
		"root":                   {"USER 65532:65532", "USER 0:0"},
		"no user":                {"USER 65532:65532\n", ""},
		"a base image":           {"FROM scratch", "FROM alpine"},
		"a file of the network":  {"USER", "ADD https://example.com/x /x\nUSER"},
		"a program more":         {"USER", "COPY --from=build /bin/sh /bin/sh\nUSER"},
		"a file of the context":  {"USER", "COPY deploy/x /x\nUSER"},
		"cgo":                    {"CGO_ENABLED=0 ", ""},
		"paths of the builder":   {"-trimpath ", ""},
		"a registry":             {"golang:1.26", "registry.example.com/golang:1.26"},
		"a shell":                {`ENTRYPOINT ["/gatehouse"]`, "ENTRYPOINT /gatehouse"},
		"another Go":             {"golang:1.26", "golang:1.25"},
		"a secret of the image":  {"EXPOSE", "ENV CLIENT_SECRET=x\nEXPOSE"},
		"data in the root":       {"XDG_DATA_HOME=/data", "XDG_DATA_HOME=/"},
		"a Caddyfile elsewhere":  {"/etc/gatehouse/Caddyfile", "/etc/caddy/Caddyfile"},
		"data that is root's":    {"--chown=65532:65532 ", ""},
		"data of everybody":      {"mkdir -m 0700", "mkdir"},
		"modules with sources":   {"COPY go.mod go.sum ./", "COPY . ."},
		"a package of elsewhere": {"./cmd/gatehouse", "./cmd/demo"},
	} {
		changed := strings.Replace(text, broken[0], broken[1], 1)
		if changed == text {
			t.Fatalf("%s: nothing was broken", name)
		}
		if len(checkImage(changed)) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// .dockerignore lets into the build what the binary is made of, and nothing of a working tree besides.
func TestBuildContextHoldsTheSources(t *testing.T) {
	lines := strings.Fields(string(regexp.MustCompile(`(?m)^#.*$`).ReplaceAll(read(t, "../.dockerignore"), nil)))
	if lines[0] != "*" {
		t.Fatal("everything is let in that is not named")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, "./cmd/gatehouse")
	list.Dir, list.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := append(strings.Fields(string(out)), root+"/go.mod", root+"/go.sum")
	if len(files) < 50 {
		t.Fatalf("the binary is made of %q", files)
	}
	for _, file := range files {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(name, "/")
		if !slices.Contains(lines, "!"+first) || strings.Contains(name, "/testdata/") || strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s is not let in", name)
		}
	}
}

// checkImage says what of the image's promises does not hold: a static binary, the authorities' certificates and
// nothing else, from no registry in particular, as a user that is a number.
func checkImage(text string) (problems []string) {
	var stage []string
	var all, stages []string
	for _, line := range instructions([]byte(text)) {
		all = append(all, line)
		if strings.HasPrefix(line, "FROM ") {
			stages, stage = append(stages, line), nil
			continue
		}
		stage = append(stage, line)
	}
	want := func(holds bool, problem string) {
		if !holds {
			problems = append(problems, problem)
		}
	}
	goMod, err := os.ReadFile("../go.mod")
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(goMod)
	want(err == nil && version != nil && slices.Contains(all, "ARG GO_IMAGE=golang:"+string(version[1])), "the Go of the build is not that of go.mod, or of a registry by name")
	want(slices.Equal(stages, []string{"FROM ${GO_IMAGE} AS build", "FROM scratch"}), "the last stage is not from scratch")
	want(slices.Contains(all, `RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/gatehouse ./cmd/gatehouse`), "not a static binary of cmd/gatehouse")
	want(slices.Contains(all, "RUN mkdir -m 0700 /out/data"), "no /data that is the user's")
	sources := slices.Index(all, "COPY . .")
	want(sources > slices.Index(all, "RUN go mod download") && slices.Index(all, "COPY go.mod go.sum ./") == slices.Index(all, "RUN go mod download")-1, "each change of the sources downloads the modules again")
	want(slices.Equal(stage, []string{
		"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
		"COPY --from=build /out/gatehouse /gatehouse",
		"COPY --from=build --chown=65532:65532 /out/data /data",
		"ENV HOME=/data XDG_DATA_HOME=/data XDG_CONFIG_HOME=/data",
		"USER 65532:65532",
		"EXPOSE 8080",
		`ENTRYPOINT ["/gatehouse"]`,
		`CMD ["run", "--config", "/etc/gatehouse/Caddyfile", "--adapter", "caddyfile"]`,
	}), "the image holds something else")
	for _, line := range all {
		want(!strings.HasPrefix(line, "ADD "), "ADD fetches what it likes")
	}
	return problems
}
