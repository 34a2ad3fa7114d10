package caddymodule

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// ofCaddy are words of Caddy's own that the pages for people who come from elsewhere name.
var ofCaddy = []string{
	"reverse_proxy", "header_up", "tls", "client_auth", "host", "path_regexp", "method", "client_ip", "query", "respond", "basic_auth", "request_header", "servers", "metrics", "log", "log_skip", "tracing", "flush_interval", "not", "gatehouse", "validate", "version", "transport",
}

// valuesNamed stand in backticks as words do, and are values, claims or fields.
var valuesNamed = []string{
	"provider", "none", "token", "userinfo", "jwks", "rd", "typ", "groups", "user", "email", "audience", "alg", "state", "reject", "user_id", "request_id", "preferredUsername", "return_url_refused", "allowed_groups", "allowed_emails", "allowed_email_domains", "end_session_endpoint",
}

var (
	lastCell = regexp.MustCompile(`\| ([^|]*) \|$`)
	codeSpan = regexp.MustCompile("`([^`]+)`")
	plain    = regexp.MustCompile(`^[a-z_]+$`)
)

// What the pages for people who come from other proxies call something here is a word that there is.
func TestPagesForOthersNameWordsThatThereAre(t *testing.T) {
	known := append(slices.Clone(ofCaddy), valuesNamed...)
	for _, words := range []vocabulary{
		providerWords(new(ProviderConfig)), sessionWords(new(SessionConfig)), redisWords(new(RedisConfig)),
		gateWords(httpcaddyfile.Helper{}, new(GateConfig)), pagesWords(new(PagesConfig)), bearerWords(new(BearerConfig)),
	} {
		known = slices.AppendSeq(known, maps.Keys(words))
	}
	for _, page := range []string{"from-oauth2-proxy.md", "from-others.md"} {
		found := 0
		for line := range strings.Lines(read(t, "../docs/"+page)) {
			cell := lastCell.FindStringSubmatch(strings.TrimSpace(line))
			if cell == nil {
				continue
			}
			for _, span := range codeSpan.FindAllStringSubmatch(cell[1], -1) {
				word, _, _ := strings.Cut(span[1], " ")
				if !plain.MatchString(word) {
					continue
				}
				if found++; !slices.Contains(known, word) {
					t.Errorf("%s: `%s` is no word, in\n%s", page, word, line)
				}
			}
		}
		if found < 50 {
			t.Errorf("%s: only %d words", page, found)
		}
	}
}
