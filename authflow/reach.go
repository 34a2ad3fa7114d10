package authflow

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// reachTransport sends what is for the issuer's origin to another one: the
// provider's back channel, where its public address cannot be reached from here
// (P16). Since it is the transport of all calls, none escapes, whoever makes it.
// Scheme, host, port, Host header, SNI and the verified name are those of the
// other origin; path and query stay.
type reachTransport struct {
	base          http.RoundTripper
	issuer, reach string // origins
}

// RoundTrip implements http.RoundTripper.
func (t reachTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if originOf(req.URL) == t.issuer {
		scheme, host, _ := strings.Cut(t.reach, "://")
		req = req.Clone(req.Context())
		req.URL.Scheme, req.URL.Host, req.Host = scheme, host, ""
	}
	return t.base.RoundTrip(req)
}

// originOf returns the origin of an absolute URL, so that it can be compared: in
// lower case, without the scheme's own port.
func originOf(u *url.URL) string {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// originOfText is originOf for a URL that was checked, or "" if there is none.
func originOfText(raw string) string {
	u, err := url.Parse(raw)
	if raw == "" || err != nil {
		return ""
	}
	return originOf(u)
}

// validateReach holds Config.Reach to an origin that is https, or http on
// loopback: client secrets and codes travel on it (RFC 6749 3.2).
func (cfg Config) validateReach() error {
	if cfg.Reach == "" {
		return nil
	}
	if err := checkURL(cfg.Reach, true); err != nil {
		return fmt.Errorf("reach: %w", err)
	}
	if u, err := url.Parse(cfg.Reach); err != nil || strings.TrimSuffix(u.Path, "/") != "" || strings.Contains(cfg.Reach, "?") {
		return errors.New("reach: is no origin, but has a path or a query")
	}
	return nil
}
