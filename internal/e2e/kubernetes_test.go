package e2e_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-auth/gatehouse/internal/redistest"
	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// What runs in the pods of deploy/sidecar, as processes: the very Caddyfile of its ConfigMap, with other addresses.

// manifest is what is read of a file of deploy/sidecar.
type manifest struct {
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
}

func readManifest(t *testing.T, name string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "sidecar", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func sidecarCaddyfile(t *testing.T) string {
	t.Helper()
	return readManifest(t, "configmap.yaml").Data["Caddyfile"]
}

// noPlace is a folder that nobody makes, not even root: a read-only file system.
const noPlace = "/proc/gatehouse"

// front stands before the pods as an Ingress and a Service do: it ends TLS, speaks plain http to one pod after the
// other, and asks another one only if a connection was refused.
type front struct {
	Origin string

	mu        sync.Mutex
	ready     []string // host:port
	turn      atomic.Uint64
	transport *http.Transport
}

// toPod makes the front ask this one alone.
const toPod = "X-To-Pod"

func startFront(t *testing.T) *front {
	t.Helper()
	f := &front{transport: &http.Transport{}}
	certificate, err := tls.LoadX509KeyPair(writeCertificate(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: f,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "pod" // and the Host stays
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			t.Errorf("the front and %s: %v", r.URL, err)
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	server.TLS, server.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{certificate}}, true
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(f.transport.CloseIdleConnections)
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	f.Origin = "https://app.example.test:" + port
	return f
}

// RoundTrip implements [http.RoundTripper].
func (f *front) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	first := f.turn.Add(1)
	var pods []string
	for i := range f.ready {
		pods = append(pods, f.ready[(int(first)+i)%len(f.ready)])
	}
	f.mu.Unlock()
	if only := r.Header.Get(toPod); only != "" {
		pods = []string{only}
	}
	err := errors.New("no pod is ready")
	for _, pod := range pods {
		r.URL.Host = pod
		var res *http.Response
		if res, err = f.transport.RoundTrip(r); !errors.Is(err, syscall.ECONNREFUSED) {
			return res, err
		}
	}
	return nil, err
}

// serve makes a pod one of the Service, or takes it out.
func (f *front) serve(pod string, ready bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var others []string
	for _, other := range f.ready {
		if other != pod {
			others = append(others, other)
		}
	}
	if f.ready = others; ready {
		f.ready = append(others, pod)
	}
}

// cluster is one application in several pods.
type cluster struct {
	*front
	op      *testop.Provider
	app     *httptest.Server
	release chan struct{} // lets the answers of /slow go
	slow    atomic.Int64  // how many wait for it
	secrets string        // the folder of the Secret
	redis   *redistest.Server
	t       *testing.T
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{front: startFront(t), op: testop.Start(t), release: make(chan struct{}), secrets: t.TempDir(), redis: redistest.Start(t), t: t}
	plain := StartApplication(t)
	c.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			c.slow.Add(1)
			<-c.release
		}
		plain.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(c.app.Close)
	t.Cleanup(func() { close(c.release) }) // or Close waits for it
	password := rand.Text()
	c.mountSecret(newSessionKey(), password)
	c.redis.CLI(c.redisUser(password)...)
	return c
}

// newSessionKey is openssl rand -base64 32.
func newSessionKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// mountSecret brings the Secret's files as the kubelet does, and replaces them as it does: each is a link into a folder, and
// the link to that folder changes in one step.
func (c *cluster) mountSecret(sessionKeys, redisPassword string) {
	c.t.Helper()
	do := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	folder, err := os.MkdirTemp(c.secrets, "..2026_")
	do(err)
	data := filepath.Join(c.secrets, "..data")
	_, err = os.Lstat(data)
	first := err != nil
	for name, value := range map[string]string{"client-secret": c.op.ClientSecret, "session-keys": sessionKeys, "redis-password": redisPassword} {
		do(os.WriteFile(filepath.Join(folder, name), []byte(value), 0o400))
		if first {
			do(os.Symlink(filepath.Join("..data", name), filepath.Join(c.secrets, name)))
		}
	}
	do(os.Symlink(filepath.Base(folder), data+"_tmp"))
	do(os.Rename(data+"_tmp", data))
}

// redisUser is the command that docs/replicas.md gives for a user of Redis with no more rights than it needs, for the
// user and the prefix of the manifests.
func (c *cluster) redisUser(password string) []string {
	c.t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "replicas.md"))
	if err != nil {
		c.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^redis-cli (ACL SETUSER gate .*)$`).FindSubmatch(page)
	if found == nil {
		c.t.Fatal("docs/replicas.md shows no user")
	}
	command := strings.NewReplacer("'", "", "SETUSER gate", "SETUSER app", ">password", ">"+password, "gatehouse:", "app:").Replace(string(found[1]))
	return strings.Fields(command)
}

// caddyfile is that of the manifests for a pod at a port. What it replaces must be there.
func (c *cluster) caddyfile(port string) string {
	c.t.Helper()
	text := sidecarCaddyfile(c.t)
	for _, address := range [][2]string{
		{"issuer https://id.example.com", "issuer " + c.op.Issuer()},
		{"client_id app", "client_id " + c.op.ClientID},
		{"{file./run/secrets/gatehouse/", "{file." + c.secrets + "/"},
		{"redis:6379", c.redis.Addr},
		{"https://app.example.com", c.Origin},
		{"http://:8080", "http://:" + port},
		{"127.0.0.1:3000", strings.TrimPrefix(c.app.URL, "http://")},
		{"shutdown_delay 10s", "shutdown_delay 4s"}, // or the test waits
	} {
		if !strings.Contains(text, address[0]) {
			c.t.Fatalf("the Caddyfile of the manifests lacks %q", address[0])
		}
		text = strings.ReplaceAll(text, address[0], address[1])
	}
	return text
}

// pod is one of them: a gate that can write to nothing but its data folder, if to that.
type pod struct {
	*Caddy
	in *cluster
}

// start runs a pod; when it returns, the front knows it.
func (c *cluster) start(env ...string) *pod {
	c.t.Helper()
	p := &pod{newCaddy(c.t, append([]string{"HOME=" + noPlace, "XDG_CONFIG_HOME=" + noPlace}, env...)), c}
	p.begin()
	return p
}

func (p *pod) address() string { return "127.0.0.1:" + p.Port }

func (p *pod) begin() {
	p.t.Helper()
	p.run(p.in.caddyfile(p.Port))
	answers := func() bool { // as the kubelet asks: by the pod's address
		res, err := http.Get("http://" + p.address() + "/oauth2/ping")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
	if !eventually(60*time.Second, answers) {
		p.t.Fatal("the gate does not start")
	}
	p.in.serve(p.address(), true)
}

// end is what happens to a pod that a rollout replaces: SIGTERM, and meanwhile it leaves the Service.
func (p *pod) end() {
	p.t.Helper()
	_ = p.process.Process.Signal(syscall.SIGTERM)
	p.WaitLog("shutdown scheduled")
	p.in.serve(p.address(), false)
}

// ended waits until the process is over, as it should.
func (p *pod) ended() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.t.Fatal("the gate does not end")
	}
	if !p.process.ProcessState.Success() {
		p.t.Errorf("the gate ended with %s", p.process.ProcessState)
	}
	p.stdin.Close()
	p.process = nil
}

// at is a script's request that a pod gets.
func (p *pod) at(b *Browser, path string) *Page {
	return b.Fetch(p.in.Origin, http.MethodGet, p.in.Origin+path, http.Header{toPod: {p.address()}}, "")
}

// errors are the lines of the log that say so.
func (p *pod) errors() (lines []string) {
	for line := range strings.Lines(p.Logs()) {
		var entry struct{ Level string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Level == "error" || entry.Level == "panic" || entry.Level == "fatal" {
			lines = append(lines, line)
		}
	}
	return lines
}

// checkLog holds a pod to a log without errors.
func (p *pod) checkLog() {
	p.t.Helper()
	for _, line := range p.errors() {
		p.t.Errorf("the log says %s", line)
	}
}

// The Caddyfile of the manifests, and what the chart makes of every value that enters it.
func TestSidecarCaddyfileAdapts(t *testing.T) {
	chart, err := os.ReadFile(filepath.Join("..", "..", "deploy", "testdata", "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"manifests": sidecarCaddyfile(t), "chart": string(chart)} {
		_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", name, err, warnings)
		}
	}
}

// The Secret as it stands in the repository starts nothing: nobody has a key that everybody can read.
func TestSidecarSecretIsNone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, value := range readManifest(t, "secret.yaml.example").StringData {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(value), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	said := CaddyFails(t, strings.ReplaceAll(sidecarCaddyfile(t), "/run/secrets/gatehouse", folder))
	if !strings.Contains(said, "keys: each is 32 bytes or more in base64") || !strings.Contains(said, "session-keys") {
		t.Errorf("it said %s", said)
	}
	if strings.Contains(said, "openssl") {
		t.Error("it said what stands in the file")
	}
}

// Two pods are replaced one after the other while people work: nobody is signed out, no request fails, and what is under
// way is finished (SIGTERM drains). Who signs out is out at both.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	pods := []*pod{c.start(), c.start()}

	b := NewBrowser(t)
	page := b.Navigate(c.Origin + "/deep?x=1")
	got := seen(t, page)
	user := got.Header.Get("X-Forwarded-User")
	if user == "" || page.URL.String() != c.Origin+"/deep?x=1" || b.Jar.Cookie("__Host-gatehouse") == nil {
		t.Fatalf("at %s as %q with %v", page.URL, user, b.Jar.Names("app.example.test"))
	}
	if proto, host := got.Header.Get("X-Forwarded-Proto"), got.Header.Get("X-Forwarded-Host"); proto != "https" || "https://"+host != c.Origin {
		t.Errorf("the application is told %s and %s of the browser's address", proto, host)
	}
	for _, p := range pods {
		seen(t, p.at(b, "/x"))
		if _, err := os.Stat(filepath.Join(p.Dir, "admin.sock")); err == nil {
			t.Error("the application can configure the gate")
		}
		probe := call(t, http.MethodGet, "http://"+p.address()+"/healthz", nil) // as the kubelet asks, by the pod's address
		if probe.Status != http.StatusOK || seen(t, probe).Header.Get("X-Forwarded-User") != "" {
			t.Errorf("the application's probe: %d", probe.Status)
		}
	}

	stop := make(chan struct{})
	var served atomic.Int64
	var load sync.WaitGroup
	rest := sync.OnceFunc(func() {
		close(stop)
		load.Wait()
	})
	t.Cleanup(rest)
	for range 4 {
		twin := b.Twin()
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				page := twin.Fetch(c.Origin, http.MethodGet, c.Origin+"/x", nil, "")
				if page.Status != http.StatusOK || page.Header.Get("Set-Cookie") != "" {
					t.Errorf("%d %s: %s", page.Status, reason(page), brief(page))
					return
				}
				served.Add(1)
			}
		})
	}
	for round, p := range pods {
		twin, finished := b.Twin(), make(chan *Page, 1)
		go func() { finished <- p.at(twin, "/slow") }()
		if !eventually(30*time.Second, func() bool { return c.slow.Load() == int64(round+1) }) {
			t.Fatal("the application does not get the slow request")
		}
		before := served.Load()
		p.end()
		// It is away for whoever comes new; what is under way is waited for.
		refused := func() bool {
			_, err := http.Get("http://" + p.address() + "/oauth2/ping")
			return errors.Is(err, syscall.ECONNREFUSED)
		}
		if !eventually(60*time.Second, refused) {
			t.Fatal("it takes connections still")
		}
		select {
		case <-p.done:
			t.Fatal("it ended while a request was under way")
		default:
		}
		c.release <- struct{}{}
		if page := <-finished; seen(t, page).URI != "/slow" {
			t.Errorf("what was under way: %d", page.Status)
		}
		p.ended()
		if served.Load() == before {
			t.Error("nothing was served meanwhile")
		}
		if err := os.RemoveAll(p.Storage()); err != nil { // the emptyDir of a pod that is gone
			t.Fatal(err)
		}
		p.begin()
		seen(t, p.at(b, "/x"))
	}
	rest()
	t.Logf("%d requests", served.Load())

	page = b.Navigate(c.Origin + "/")
	seen(t, page)
	copied := b.Twin()
	if page := b.Follow(page, "/oauth2/logout"); !strings.Contains(page.Body, "Signed out") {
		t.Fatalf("sign-out: %d %s", page.Status, brief(page))
	}
	for _, p := range pods {
		if !eventually(10*time.Second, func() bool { return p.at(copied, "/x").Status == http.StatusUnauthorized }) {
			t.Error("a copy of the cookie outlives the sign-out")
		}
		p.checkLog()
	}
	if calls := c.op.Calls(testop.Token); calls != 1 {
		t.Errorf("somebody signed in again: %d calls at the token endpoint", calls)
	}
}

// A Secret that changes is followed without a restart: new keys in front of the old ones sign nobody out, keys that are gone
// do, and Redis' new password is that of the next connection.
func TestSidecarSecretIsFollowed(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	p := c.start()
	signIn := func() (b *Browser, key string) {
		t.Helper()
		b = NewBrowser(t)
		seen(t, b.Navigate(c.Origin+"/"))
		return b, strings.Split(b.Jar.Cookie("__Host-gatehouse").Value, ".")[1]
	}
	old, oldKey := signIn()
	before, err := os.ReadFile(filepath.Join(c.secrets, "session-keys"))
	if err != nil {
		t.Fatal(err)
	}
	key, password := newSessionKey(), rand.Text()
	c.mountSecret(key+string(before), password)
	c.redis.CLI("ACL", "SETUSER", "app", "resetpass", ">"+password)
	c.redis.CLI("CLIENT", "KILL", "USER", "app")
	if !eventually(30*time.Second, func() bool { _, key := signIn(); return key != oldKey }) {
		t.Fatal("it seals with the old key still")
	}
	seen(t, p.at(old, "/x"))
	young, _ := signIn()
	copied := young.Twin()
	if page := young.Follow(young.Navigate(c.Origin+"/"), "/oauth2/logout"); !strings.Contains(page.Body, "Signed out") { // which Redis has to know
		t.Fatalf("sign-out: %d %s", page.Status, brief(page))
	}
	wantReason(t, p.at(copied, "/x"), http.StatusUnauthorized, "session_ended")

	young, _ = signIn()
	c.mountSecret(key, password)
	if !eventually(30*time.Second, func() bool { return p.at(old, "/x").Status == http.StatusUnauthorized }) {
		t.Error("a key that is gone opens still")
	}
	seen(t, p.at(young, "/x"))
}

// Without the data folder, too: keys come from a file, and sign-outs are in Redis.
func TestSidecarWithoutAPlaceToWrite(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	p := c.start("XDG_DATA_HOME=" + noPlace)
	b := NewBrowser(t)
	page := b.Navigate(c.Origin + "/")
	seen(t, page)
	copied := b.Twin()
	if page = b.Follow(page, "/oauth2/logout"); !strings.Contains(page.Body, "Signed out") {
		t.Fatalf("sign-out: %d %s", page.Status, brief(page))
	}
	if page := p.at(copied, "/x"); page.Status != http.StatusUnauthorized {
		t.Errorf("a copy of the cookie: %d", page.Status)
	}
	p.end()
	p.ended()
	p.begin()
	if !eventually(10*time.Second, func() bool { return p.at(copied, "/x").Status != http.StatusServiceUnavailable }) {
		t.Error("it does not hear of Redis")
	}
	wantReason(t, p.at(copied, "/x"), http.StatusUnauthorized, "session_ended")
	p.checkLog()
}

// A provider that is away ends no pod, and nobody's session.
func TestSidecarWithoutItsProvider(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	p := c.start()
	b := NewBrowser(t)
	seen(t, b.Navigate(c.Origin+"/"))
	c.op.Down()
	seen(t, p.at(b, "/x"))
	page := p.at(NewBrowser(t), "/oauth2/ping")
	if page.Status != http.StatusOK {
		t.Errorf("ping: %d", page.Status)
	}
	p.end()
	p.ended()
	p.begin() // although nobody answers at the issuer
	seen(t, p.at(b, "/x"))
}
