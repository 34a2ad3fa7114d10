package caddymodule

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/gatehouse-auth/gatehouse/authflow"
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

// provisionRequest reads how authorization requests are made.
func (c *ProviderConfig) provisionRequest(config *authflow.Config) error {
	switch c.ResponseMode {
	case "", "query":
	case authflow.FormPost, authflow.QueryJWT, authflow.FormPostJWT:
		config.ResponseMode = c.ResponseMode
	default:
		return fmt.Errorf("response_mode: %q is none of query, form_post, jwt, form_post.jwt", c.ResponseMode)
	}
	config.PAR, config.RequestObject, config.DPoP = c.PAR, c.JAR, c.DPoP
	config.ParametersFromRequest = c.ParamFromRequest
	config.Parameters = make(map[string]string, len(c.Param))
	for name, raw := range c.Param {
		value, err := resolve("param "+name, raw)
		if err != nil {
			return err
		}
		config.Parameters[name] = value
	}
	return nil
}
