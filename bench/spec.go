package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// spec describes another server, so that it is measured like the gate: signed in
// at the same provider, in front of the same application. Its texts are
// text/template over [setting].
type spec struct {
	Name    string              `json:"name"`
	Command []string            `json:"command"` // stays in the foreground
	Needs   []string            `json:"needs"`   // programs that have to be installed; the command's own if empty
	Redis   bool                `json:"redis"`   // it keeps sessions in the Redis of -redis
	Files   map[string][]string `json:"files"`   // to be written into its folder first: name to lines
	Env     []string            `json:"env"`
	URL     string              `json:"url"`    // what is loaded: a whole site
	Header  string              `json:"header"` // in which the upstream finds the user
}

// setting is what the texts of a spec may name.
type setting struct {
	Issuer, Discovery, ClientID, ClientSecret string
	Upstream                                  string // host:port
	Port, Dir                                 string // its own
	Caddy                                     string // a program that is plain Caddy: this one
	Redis                                     string // host:port, if there is one
}

// other is a server from a spec that runs.
type other struct {
	spec spec
	port string
}

// startSpec starts another server, to sign in at a provider.
func startSpec(ctx context.Context, s spec, provider *testop.Provider, upstream, redis string) (*process, error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in := setting{
		Issuer: provider.Issuer(), Discovery: provider.URL(testop.Discovery), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret,
		Upstream: upstream, Port: port, Dir: dir, Caddy: self, Redis: redis,
	}
	if err := s.fill(in); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	for name, lines := range s.Files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			return nil, err
		}
	}
	p, err := startProcess(s.Name, dir, append(s.Env, asCaddy+"=unprofiled"), s.Command)
	if err != nil {
		return nil, err
	}
	p.other = &other{s, port}
	return p, p.listening(ctx, "127.0.0.1:"+port)
}

// readSpecs reads what is described in the files that options name; one that lacks what
// it needs is left out, and it is said.
func readSpecs(o options) (all []spec, err error) {
	for _, file := range o.specs {
		s, err := readSpec(file)
		if err != nil {
			return nil, err
		}
		if err := s.lacks(o); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s is left out: %v\n", s.Name, err)
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

// lacks says what is missing on this machine.
func (s *spec) lacks(o options) error {
	if s.Redis && o.redis == "" {
		return errors.New("it needs -redis")
	}
	needs := s.Needs
	if len(needs) == 0 {
		needs = s.Command[:1]
	}
	for _, program := range needs {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	return nil
}

func readSpec(file string) (s spec, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return s, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	if len(s.Command) == 0 {
		return s, fmt.Errorf("%s: no command", file)
	}
	return s, nil
}

// fill puts the setting into every text, in a copy.
func (s *spec) fill(in setting) error {
	s.Command, s.Env, s.Files = slices.Clone(s.Command), slices.Clone(s.Env), maps.Clone(s.Files)
	for name, lines := range s.Files {
		s.Files[name] = slices.Clone(lines)
	}
	fill := func(text *string) error {
		parsed, err := template.New(s.Name).Option("missingkey=error").Parse(*text)
		if err != nil {
			return err
		}
		var filled strings.Builder
		if err := parsed.Execute(&filled, in); err != nil {
			return err
		}
		*text = filled.String()
		return nil
	}
	texts := []*string{&s.URL}
	for i := range s.Command {
		texts = append(texts, &s.Command[i])
	}
	for i := range s.Env {
		texts = append(texts, &s.Env[i])
	}
	for _, lines := range s.Files {
		for i := range lines {
			texts = append(texts, &lines[i])
		}
	}
	for _, text := range texts {
		if err := fill(text); err != nil {
			return err
		}
	}
	return nil
}

// otherRow signs in at another server and opens the connections to it.
func (b *bench) otherRow(ctx context.Context, p *process) (*row, error) {
	site := strings.TrimSuffix(p.other.spec.URL, "/")
	b.provider.Set(func(behaviour *testop.Behaviour) {
		*behaviour = testop.Behaviour{IDToken: testop.Edit{"groups": groups(1)}}
	})
	cookie, err := signIn(ctx, site, "/seen", p.other.spec.Header, b.provider.User.Subject)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	_, host, _ := strings.Cut(site, "://")
	senders, err := newSenders(b.options.connections, "127.0.0.1:"+p.other.port, host, "/", b.header(credential{"Cookie", cookie}))
	if err != nil {
		return nil, err
	}
	pids, err := p.tree()
	return &row{name: p.name, process: p, pids: pids, senders: senders, carries: len(cookie)}, err
}
