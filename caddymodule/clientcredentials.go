package caddymodule

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// clientKeyFiles are the private keys of one client, in files that are read again at
// each use: a changed file is followed without a reload. What did not change is
// not parsed again.
type clientKeyFiles struct {
	files []ClientKeyConfig

	mu      sync.Mutex
	content [][]byte
	keys    []authflow.ClientKey
}

// read returns the keys of now. Its errors name the file.
func (k *clientKeyFiles) read() ([]authflow.ClientKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, file := range k.files {
		content, err := os.ReadFile(file.File)
		if err != nil {
			return nil, fmt.Errorf("client_key: %w", err)
		}
		if i < len(k.keys) && bytes.Equal(content, k.content[i]) {
			continue
		}
		key, err := authflow.ParseClientKey(content, file.KeyID)
		if err != nil {
			return nil, fmt.Errorf("client_key %s: %w", file.File, err)
		}
		if i == len(k.keys) {
			k.content, k.keys = append(k.content, content), append(k.keys, key)
			continue
		}
		// Those who hold the old list go on with it.
		k.content[i], k.keys = content, append(append(k.keys[:i:i], key), k.keys[i+1:]...)
	}
	return k.keys, nil
}

// provisionKeys reads the client's keys, so that what is wrong with them is an
// error now, and has them read again at each use.
func (c *ProviderConfig) provisionKeys(config *authflow.Config) error {
	if len(c.ClientKey) > 0 {
		files := new(clientKeyFiles)
		for _, key := range c.ClientKey {
			path, err := resolve("client_key", key.File)
			if err != nil {
				return err
			}
			kid, err := resolveOptional("client_key", key.KeyID)
			if err != nil {
				return err
			}
			files.files = append(files.files, ClientKeyConfig{File: path, KeyID: kid})
		}
		if _, err := files.read(); err != nil {
			return err
		}
		config.ClientKeys = files.read
	}
	config.MutualTLS = c.ClientCertificate != nil
	return nil
}

// provisionCertificate shows the client's certificate to the provider (RFC 8705
// 2). Its files are read now, so that what is wrong with them is an error, and
// again for each connection.
func (c *ProviderConfig) provisionCertificate(transport *http.Transport) error {
	if c.ClientCertificate == nil {
		return nil
	}
	certificate, err := resolve("client_certificate", c.ClientCertificate.Certificate)
	if err != nil {
		return err
	}
	key, err := resolve("client_certificate", c.ClientCertificate.Key)
	if err != nil {
		return err
	}
	if _, err := c.loadCertificate(certificate, key); err != nil {
		return err
	}
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.loadCertificate(certificate, key)
	}
	return nil
}

func (c *ProviderConfig) loadCertificate(certificate, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err == nil {
		err = c.checkCertificate(&pair)
	}
	if err != nil {
		return nil, fmt.Errorf("client_certificate %s, %s: %w", certificate, key, err)
	}
	return &pair, nil
}

// maxAssertion is how large the file of an assertion may be, in bytes.
const maxAssertion = 64 << 10

// assertionFile is the path of a file in which the platform keeps an assertion of who
// this client is, and renews it.
type assertionFile string

// read returns the assertion of now. Its errors name the file.
func (path assertionFile) read() (authflow.ClientAssertion, error) {
	file, err := os.Open(string(path))
	if err != nil {
		return authflow.ClientAssertion{}, fmt.Errorf("client_assertion: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxAssertion))
	if err != nil {
		return authflow.ClientAssertion{}, fmt.Errorf("client_assertion %s: %w", path, err)
	}
	assertion, err := authflow.ParseClientAssertion(content)
	if err != nil {
		return assertion, fmt.Errorf("client_assertion %s: %w", path, err)
	}
	return assertion, nil
}

// provisionAssertion reads the client's assertion, so that what is wrong with the file
// is an error now, and has it read again at each use. That it has expired is none: the
// platform may renew it before somebody signs in.
func (c *ProviderConfig) provisionAssertion(config *authflow.Config) error {
	if c.ClientAssertion == "" {
		return nil
	}
	path, err := resolve("client_assertion", c.ClientAssertion)
	if err != nil {
		return err
	}
	if _, err := assertionFile(path).read(); err != nil {
		return err
	}
	config.ClientAssertion = assertionFile(path).read
	return nil
}

// provisionSecret checks that the client secret can be read now, and has it read
// again at each use: a rotated secret file needs no reload.
func (c *ProviderConfig) provisionSecret(config *authflow.Config) error {
	if c.ClientAuth == authflow.ClientAuthNone {
		if c.ClientSecret != "" {
			return errors.New("client_auth none and client_secret contradict each other")
		}
		return nil
	}
	if c.ClientSecret == "" {
		if config.ClientKeys != nil || config.MutualTLS || config.ClientAssertion != nil {
			return nil
		}
		return errors.New("client_secret is needed (or client_key, client_certificate, client_assertion, or client_auth none, for a public client)")
	}
	raw := c.ClientSecret
	config.ClientSecret = func() (secret.String, error) { return readSecret("client_secret", raw) }
	_, err := config.ClientSecret()
	return err
}

// errNotRead says that a credential is there, and that nobody may ask for it yet.
var errNotRead = errors.New("the credentials of the client are not read while the configuration is checked")

// declareCredentials puts into config which credentials the client has and reads none of
// them: a Caddyfile is checked before its files and variables have to be there.
func (c *ProviderConfig) declareCredentials(config *authflow.Config) {
	config.ClientSecret, config.ClientKeys, config.ClientAssertion = nil, nil, nil
	config.MutualTLS = c.ClientCertificate != nil
	if c.ClientSecret != "" {
		config.ClientSecret = func() (secret.String, error) { return secret.String{}, errNotRead }
	}
	if len(c.ClientKey) > 0 {
		config.ClientKeys = new(clientKeyFiles).read // of no files
	}
	if c.ClientAssertion != "" {
		config.ClientAssertion = func() (authflow.ClientAssertion, error) { return authflow.ClientAssertion{}, errNotRead }
	}
}
