package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseClientKey reads `client_key <file> [<kid>]`.
func parseClientKey(d *caddyfile.Dispenser, p *ProviderConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 1 && len(args) != 2 {
		return d.Err("client_key: write client_key <file> [<kid>]")
	}
	key := ClientKeyConfig{File: args[0]}
	if len(args) == 2 {
		key.KeyID = args[1]
	}
	if slices.ContainsFunc(p.ClientKey, func(k ClientKeyConfig) bool { return k.File == key.File }) {
		return d.Errf("client_key %s is already given", key.File)
	}
	p.ClientKey = append(p.ClientKey, key)
	return nil
}

// parseClientCertificate reads `client_certificate <cert> <key>`.
func parseClientCertificate(d *caddyfile.Dispenser, p *ProviderConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 2 {
		return d.Err("client_certificate: write client_certificate <cert> <key>")
	}
	p.ClientCertificate = &ClientCertificateConfig{Certificate: args[0], Key: args[1]}
	return nil
}

// parseParam reads `param <name> <value>`.
func parseParam(d *caddyfile.Dispenser, p *ProviderConfig) error {
	args, err := values(d)
	if err != nil {
		return err
	}
	if len(args) != 2 {
		return d.Err("param: write param <name> <value>")
	}
	if _, twice := p.Param[args[0]]; twice {
		return d.Errf("param %s is already given", args[0])
	}
	if p.Param == nil {
		p.Param = make(map[string]string)
	}
	p.Param[args[0]] = args[1]
	return nil
}
