package authflow

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
)

const (
	// maxNonce bounds a server's nonce in bytes. Some are encrypted timestamps.
	maxNonce = 1024
	// maxNonceOrigins bounds the servers whose nonces are remembered. One that is
	// forgotten costs one more request.
	maxNonceOrigins = 64
)

// errorUseNonce is the error of a server that wants its nonce in the proof (RFC
// 9449 8, 9).
const errorUseNonce = "use_dpop_nonce"

// Nonces are the newest nonces that servers gave, by origin: those of one server
// mean nothing to another (RFC 9449 8.2). A server that is an authorization server
// and a resource server in one has two kinds (RFC 9449 9), which take a value of
// this type each. The zero value is empty and ready; it is safe for concurrent use
// and remembers at most 64 origins.
type Nonces struct {
	mu       sync.RWMutex
	byOrigin map[string]string
}

// Get returns the nonce for a request to an absolute URL, "" if the server gave
// none yet.
func (n *Nonces) Get(rawURL string) string {
	origin := originOfText(rawURL)
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byOrigin[origin]
}

// Put remembers the nonce in the header of a server's answer, whatever its status
// (RFC 9449 8.2), and returns it. Without one, or with one that is there twice, has
// more than 1024 bytes or other characters than a nonce may have (RFC 9449 8.1),
// it returns "", and the nonce before stays.
func (n *Nonces) Put(rawURL string, header http.Header) string {
	values := header.Values("DPoP-Nonce")
	if len(values) != 1 || !isNonce(values[0]) {
		return ""
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return ""
	}
	nonce, origin := values[0], originOf(u)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byOrigin == nil {
		n.byOrigin = make(map[string]string)
	}
	if _, known := n.byOrigin[origin]; !known && len(n.byOrigin) >= maxNonceOrigins {
		for other := range n.byOrigin { // any: none is worth more than another
			delete(n.byOrigin, other)
			break
		}
	}
	n.byOrigin[origin] = nonce
	return nonce
}

// challengeError returns the error of the first challenge of a scheme in
// WWW-Authenticate headers (RFC 9110 11.6.1), "" if there is none. Scheme and name
// are compared without regard to case (RFC 9110 11.1, 11.2).
func challengeError(headers []string, scheme string) string {
	for _, header := range headers {
		of := ""
		for rest := header; rest != ""; {
			var word, value string
			word, rest = cutToken(strings.TrimLeft(rest, " \t,"))
			after := strings.TrimLeft(rest, " \t")
			if !strings.HasPrefix(after, "=") {
				of = word
				if word == "" && rest != "" {
					rest = rest[1:] // no token: what this is we need not know
				}
				continue
			}
			value, rest = cutValue(strings.TrimLeft(after[1:], " \t"))
			if strings.EqualFold(of, scheme) && strings.EqualFold(word, "error") {
				return value
			}
		}
	}
	return ""
}

// cutToken cuts a token from the front (RFC 9110 5.6.2), "" if there is none.
func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// cutValue cuts a token or a quoted string from the front (RFC 9110 5.6.4); one
// that does not end has no value.
func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return cutToken(s)
	}
	var text strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return "", ""
			}
		}
		text.WriteByte(s[i])
	}
	return "", ""
}
