package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/internal/testop"
)

// row is one kind of request to one server, and what was measured of it in each round.
type row struct {
	name     string
	process  *process
	pids     []int
	senders  []*sender
	carries  int  // bytes of what says whose the request is: the Cookie or Authorization header
	own      *row // an unprotected route of the same process
	carrying *row // plain Caddy that carries as many bytes of it to the upstream

	cpu, rate, p50, p99 []float64 // microseconds a request, requests a second, microseconds
	rss                 int64     // bytes, after the last round
}

// kind is a row of the gate's before anybody has signed in.
type kind struct {
	name, site string
	cookie     int // about so many bytes; 0: as many as it takes
	groups     int
	token      *testop.AccessToken // instead of a cookie
}

// kinds are what is measured of the gate.
func (b *bench) kinds() []kind {
	all := []kind{
		{name: "gate, smallest cookie", site: "cookie", cookie: 300, groups: 1},
		{name: "gate, cookie of 1 KB", site: "cookie", cookie: 1024, groups: 1},
		{name: "gate, cookie of 3 KB", site: "cookie", cookie: 3072, groups: 1},
		{name: "gate, cookie, idle_timeout", site: "idle", groups: 1},
		{name: "gate, cookie, 100 groups", site: "cookie", groups: 100},
		{name: "gate, memory", site: "memory", groups: 1},
		{name: "gate, memory, 100 groups", site: "memory", groups: 100},
		{name: "gate, bearer, JWT", site: "bearer", groups: 1, token: &testop.AccessToken{}},
		{name: "gate, bearer, introspected", site: "bearer", groups: 1, token: &testop.AccessToken{Opaque: true}},
	}
	if b.options.redis != "" {
		all = append(all,
			kind{name: "gate, redis", site: "redis", groups: 1},
			kind{name: "gate, redis, 100 groups", site: "redis", groups: 100})
	}
	return all
}

// credential is what a request shows to say whose it is: nothing, a header Cookie or
// a header Authorization.
type credential struct{ header, value string }

// sameBytes is the name of each row of plain Caddy that carries as many bytes as the
// gate's row after it.
const sameBytes = "plain Caddy, same bytes"

// alike is as many bytes in the same header, of no meaning to anybody.
func (c credential) alike() credential {
	start := "other="
	if c.header == "Authorization" {
		start = "Bearer "
	}
	return credential{c.header, start + strings.Repeat("x", len(c.value)-len(start))}
}

// rows signs in everybody, and opens the connections. The first row is what all
// others are compared with.
func (b *bench) rows(ctx context.Context) ([]*row, error) {
	plain, err := b.row("plain Caddy", b.plain, "plain", "/", credential{})
	if err != nil {
		return nil, err
	}
	headers, err := b.row("plain Caddy, sets the same headers", b.plain, "headers", "/", credential{})
	if err != nil {
		return nil, err
	}
	open, err := b.row("gate's process, unprotected", b.gate, "unprotected", "/", credential{})
	if err != nil {
		return nil, err
	}
	public, err := b.row("gate, public path", b.gate, "cookie", "/public/", credential{})
	if err != nil {
		return nil, err
	}
	public.own = open
	rows := []*row{plain, headers, open}
	if b.wants(public.name) {
		rows = append(rows, public)
	}
	for _, k := range b.kinds() {
		if !b.wants(k.name) {
			continue
		}
		shown, err := b.credential(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		r, err := b.row(k.name, b.gate, k.site, "/", shown)
		if err != nil {
			return nil, err
		}
		r.own = open
		if r.carrying, err = b.row(sameBytes, b.plain, "plain", "/", shown.alike()); err != nil {
			return nil, err
		}
		rows = append(rows, r.carrying, r)
	}
	for _, p := range b.others {
		r, err := b.otherRow(ctx, p)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *bench) wants(name string) bool { return strings.Contains(name, b.options.only) }

// row opens the connections of a row.
func (b *bench) row(name string, p *process, site, path string, shown credential) (*row, error) {
	address := "127.0.0.1:" + b.ports[site]
	senders, err := newSenders(b.options.connections, address, "localhost:"+b.ports[site], path, b.header(shown))
	if err != nil {
		return nil, err
	}
	pids, err := p.tree()
	return &row{name: name, process: p, pids: pids, senders: senders, carries: len(shown.value)}, err
}

// header is what Chromium sends with a navigation, and the credential.
func header(shown credential) http.Header {
	header := http.Header{
		"Connection":                {"keep-alive"},
		"Sec-Ch-Ua":                 {`"Chromium";v="140", "Not=A?Brand";v="24"`},
		"Sec-Ch-Ua-Mobile":          {"?0"},
		"Sec-Ch-Ua-Platform":        {`"Linux"`},
		"Upgrade-Insecure-Requests": {"1"},
		"User-Agent":                {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
		"Accept":                    {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
		"Sec-Fetch-Site":            {"same-origin"},
		"Sec-Fetch-Mode":            {"navigate"},
		"Sec-Fetch-User":            {"?1"},
		"Sec-Fetch-Dest":            {"document"},
		"Referer":                   {"http://localhost/page"},
		"Accept-Encoding":           {"gzip, deflate, br, zstd"},
		"Accept-Language":           {"en-US,en;q=0.9"},
	}
	if shown.header != "" {
		header.Set(shown.header, shown.value)
	}
	return header
}

// header is what the requests of a row send: as [header], or nothing beside the credential.
func (b *bench) header(shown credential) http.Header {
	if !b.options.bare {
		return header(shown)
	}
	bare := http.Header{}
	if shown.header != "" {
		bare.Set(shown.header, shown.value)
	}
	return bare
}

// credential gets what the requests of a row show.
func (b *bench) credential(ctx context.Context, k kind) (credential, error) {
	if k.token == nil {
		cookie, err := b.signIn(ctx, k)
		return credential{"Cookie", cookie}, err
	}
	token := *k.token
	token.Audience = audience
	token.Claims = testop.Edit{
		"email": b.provider.User.Email, "email_verified": true, "preferred_username": b.provider.User.Name, "groups": groups(k.groups), "filler": "-",
	}
	shown := credential{"Authorization", "Bearer " + b.provider.Issue(token)}
	return shown, passes(ctx, "http://localhost:"+b.ports[k.site], shown, "X-Forwarded-User", b.provider.User.Subject)
}

// signIn signs somebody in whose Cookie header has the size that is wanted. What
// fills it is found by trying: of each letter that is drawn at random about 4/3 stand
// in the cookie, since it is compressed, and encoded in base64 twice.
func (b *bench) signIn(ctx context.Context, k kind) (string, error) {
	filler := 0
	for range 4 {
		claims := testop.Edit{"groups": groups(k.groups)}
		if filler > 0 {
			claims["filler"] = randomText(filler)
		}
		b.provider.Set(func(behaviour *testop.Behaviour) {
			behaviour.IDToken = claims
			behaviour.NoRefreshToken = k.cookie > 0 && k.cookie < 512
		})
		cookie, err := signIn(ctx, "http://localhost:"+b.ports[k.site], "/seen", "X-Forwarded-User", b.provider.User.Subject)
		if err != nil {
			return "", err
		}
		missing := k.cookie - len(cookie)
		if k.cookie == 0 || missing <= 0 || missing < k.cookie/20 {
			return cookie, nil
		}
		filler += max(1, missing*3/4)
	}
	return "", errors.New("the cookie does not become as large as it should")
}

// groups are so many groups, staff among them.
func groups(count int) []string {
	names := []string{"staff"}
	for i := 1; i < count; i++ {
		names = append(names, fmt.Sprintf("department-%03d", i))
	}
	return names
}

// measure loads every row once in each round, each time in another order, so that
// what else the machine does and what stands in its caches falls on all of them
// alike. What comes before the first round counts for nothing: it fills pools.
func measure(ctx context.Context, rows []*row, o options) error {
	for round := -1; round < o.rounds; round++ {
		order := slices.Clone(rows)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, r := range order {
			if err := r.measure(ctx, o.round, round >= 0); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	for _, r := range rows {
		var err error
		if r.rss, err = rss(r.pids); err != nil {
			return err
		}
	}
	return nil
}

// measure is one round of one row.
func (r *row) measure(ctx context.Context, duration time.Duration, counts bool) error {
	before, err := cpu(r.pids)
	if err != nil {
		return err
	}
	begun := time.Now()
	took, err := load(ctx, r.senders, duration)
	if err != nil {
		return err
	}
	elapsed := time.Since(begun)
	after, err := cpu(r.pids)
	if err != nil || !counts {
		return err
	}
	slices.Sort(took)
	count := float64(len(took))
	r.cpu = append(r.cpu, microseconds(after-before)/count)
	r.rate = append(r.rate, count/elapsed.Seconds())
	r.p50 = append(r.p50, microseconds(took[len(took)/2]))
	r.p99 = append(r.p99, microseconds(took[len(took)*99/100]))
	return nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// quartiles are the values below which a quarter, half and three quarters of all lie.
type quartiles struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

func quartilesOf(values []float64) quartiles {
	sorted := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 {
		place := part * float64(len(sorted)-1)
		low := int(math.Floor(place))
		high := min(low+1, len(sorted)-1)
		return sorted[low] + (sorted[high]-sorted[low])*(place-float64(low))
	}
	return quartiles{at(0.25), at(0.5), at(0.75)}
}

// ratios divides what was measured in each round by what the other had in that round.
func ratios(values, by []float64) []float64 {
	result := make([]float64, len(values))
	for i := range values {
		result[i] = values[i] / by[i]
	}
	return result
}
