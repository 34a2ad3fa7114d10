package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// NodeProvider is a running `oidc-provider`, the OpenID provider of the Node.js world.
type NodeProvider struct {
	Issuer string

	logs testop.Output
}

// NodeConfig says who may sign in where.
type NodeConfig struct {
	Clients []NodeClient `json:"clients"`
	Users   []NodeUser   `json:"users"`
	// AccessTokenSeconds is how long an access token lasts; 3600 by default.
	AccessTokenSeconds int `json:"access_token_seconds,omitempty"`
	// IDTokenClaims puts the claims of the scopes into the ID token too; by default only userinfo has them.
	IDTokenClaims bool `json:"id_token_claims,omitempty"`
	// FAPI holds requests to FAPI 2.0, with ID tokens by ES256.
	FAPI bool `json:"fapi,omitempty"`
	// DPoPNonces wants the provider's nonce in every proof.
	DPoPNonces bool `json:"dpop_nonces,omitempty"`
	// Resources are the resource servers that tokens can be asked for, by what their tokens are: "jwt" or "opaque".
	Resources map[string]string `json:"resources,omitempty"`
	// Certificate and Key are files with which the provider speaks https; it then asks clients for a certificate.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
}

// NodeClient is a client's registration, in the names of OpenID Connect Dynamic Client Registration.
type NodeClient struct {
	ID                     string   `json:"client_id"`
	Secret                 string   `json:"client_secret,omitempty"`
	RedirectURIs           []string `json:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI   string   `json:"backchannel_logout_uri,omitempty"`
	// BackchannelLogoutSession has the provider put sid into its logout tokens.
	BackchannelLogoutSession bool   `json:"backchannel_logout_session_required,omitempty"`
	TokenEndpointAuth        string `json:"token_endpoint_auth_method,omitempty"`
	// JWKS are the client's keys.
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// JWKSURI is where the client publishes its keys.
	JWKSURI string `json:"jwks_uri,omitempty"`
	// RequirePAR refuses what was not pushed, RequireSigned what is not signed.
	RequirePAR    bool `json:"require_pushed_authorization_requests,omitempty"`
	RequireSigned bool `json:"require_signed_request_object,omitempty"`
	// BindCertificate binds access tokens to the client's certificate (RFC 8705 3).
	BindCertificate bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	// DPoP refuses to give tokens that are bound to no key.
	DPoP bool `json:"dpop_bound_access_tokens,omitempty"`
	// GrantTypes are authorization_code and refresh_token by default.
	GrantTypes []string `json:"grant_types,omitempty"`
	// IntrospectionAlg signs what it is told of tokens.
	IntrospectionAlg string `json:"introspection_signed_response_alg,omitempty"`
}

// NodeUser is somebody who signs in with the subject as login name; there is no password.
type NodeUser struct {
	Subject       string   `json:"sub"`
	Name          string   `json:"name,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups,omitempty"`
}

// StartNodeProvider starts a provider on a free port of 127.0.0.1; the test's end stops it. It rotates refresh tokens
// and revokes their family on reuse, supports RP-initiated and back-channel logout and RFC 9207, and asks by two
// forms: #login with the field `login`, then #consent. The test is skipped where there is no node or npm.
func StartNodeProvider(t *testing.T, config NodeConfig) *NodeProvider {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			skipWithout(t, program, err)
		}
	}
	folder, err := nodeProvider.install()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &NodeProvider{}
	cmd := exec.Command("node", "server.js")
	cmd.Dir, cmd.Stderr = folder, &p.logs
	cmd.Env = append(os.Environ(), "E2E_CONFIG="+string(text), "NODE_ENV=production")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe() // the server ends when this closes, so that it never outlives the test
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		stuck := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		stuck.Stop()
		if t.Failed() {
			t.Logf("the Node provider said:\n%s", p.Logs())
		}
	})
	issuer := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if url, ok := strings.CutPrefix(lines.Text(), "issuer "); ok {
				issuer <- url
			} else {
				fmt.Fprintln(&p.logs, lines.Text())
			}
		}
	}()
	select {
	case p.Issuer = <-issuer:
	case <-time.After(30 * time.Second):
		t.Fatal("the Node provider does not start")
	}
	return p
}

// Logs is what the provider has written so far.
func (p *NodeProvider) Logs() string { return p.logs.String() }

// nodeProvider is the one installation that all tests of this run share.
var nodeProvider installation

type installation struct {
	once   sync.Once
	folder string
	err    error
}

// install copies the server out of testdata and gets what it needs by its lock file.
func (i *installation) install() (string, error) {
	i.once.Do(func() {
		if i.folder, i.err = os.MkdirTemp("", "gatehouse-node"); i.err != nil {
			return
		}
		source := filepath.Join("testdata", "node-oidc-provider")
		if i.err = os.CopyFS(i.folder, os.DirFS(source)); i.err != nil {
			return
		}
		cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
		cmd.Dir = i.folder
		if out, err := cmd.CombinedOutput(); err != nil {
			i.err = fmt.Errorf("npm ci: %w\n%s", err, out)
		}
	})
	return i.folder, i.err
}

// removeNodeProvider is for the end of the run.
func removeNodeProvider() {
	if nodeProvider.folder != "" {
		os.RemoveAll(nodeProvider.folder)
	}
}
