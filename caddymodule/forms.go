package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-auth/gatehouse/authflow"
	"github.com/gatehouse-auth/gatehouse/internal/seal"
	"github.com/gatehouse-auth/gatehouse/session"
)

// A form that is sent when its session is over need not be lost (`preserve_post`):
// its body waits, sealed, until the same person has signed in again, and is then
// sent on once, byte for byte, by the request that comes back to its address.

// The times that a form waits.
const (
	formWait   = 10 * time.Minute // for the sign-in, as long as an attempt
	formReturn = time.Minute      // from there to its address
	// formLinger is how long after its end a session's cookie is kept, so that a
	// form that was opened before is known to be somebody's.
	formLinger = 12 * time.Hour
)

// The sizes in bytes that a form may have, by default and at most.
const (
	preservedPost    = 64 << 10
	maxPreservedPost = 1 << 20
)

// formsOfOne is how many forms of one session may begin to wait within formWait: the
// cookie of a session that is over lets nobody fill the memory.
const formsOfOne = 8

// forms is where they wait: where all servers of the site find them, if they share
// a memory.
func (g *Gate) forms() session.Blobs {
	if shared := g.state.Shared(); shared != nil {
		return shared
	}
	return g.app.durable.forms
}

// heldForm is a form that waits, with whose it is and where it goes.
type heldForm struct {
	Provider, Issuer, ClientID, Subject string
	Origin, Target                      string
	ContentType, Referer                string
	Body                                []byte
}

// isOf reports that a session is of the person who sent the form.
func (f *heldForm) isOf(s *session.Session) bool {
	return f.Provider == s.Provider && f.Issuer == s.Issuer && f.ClientID == s.ClientID && f.Subject == s.Subject
}

// formHandle leads to a form: a name, and the key that it is sealed with. Both are
// in the browser alone.
type formHandle struct {
	name   [16]byte
	secret [32]byte
}

const formHandleBytes = len(formHandle{}.name) + len(formHandle{}.secret)

func (h formHandle) bytes() []byte { return append(h.name[:], h.secret[:]...) }

func (h formHandle) key() string { return "form " + base64.RawURLEncoding.EncodeToString(h.name[:]) }

func parseFormHandle(from []byte) (h formHandle) {
	copy(h.secret[:], from[copy(h.name[:], from):])
	return h
}

// keepForm lets a form wait, under a handle of its own.
func (g *Gate) keepForm(r *http.Request, v *visit, form *heldForm, wait time.Duration) (formHandle, error) {
	var h formHandle
	rand.Read(h.name[:])
	rand.Read(h.secret[:])
	encoded, err := json.Marshal(form)
	if err != nil {
		return h, err
	}
	blob, err := seal.SealBlob(h.secret[:], v.purpose(purposeForm), encoded)
	if err != nil {
		return h, err
	}
	return h, g.formError(g.forms().Put(r.Context(), h.key(), blob, wait))
}

// formError tells what the shared memory cannot do now from what it does not have:
// then the form is not lost, and its sender is asked to come again.
func (g *Gate) formError(err error) error {
	if err == nil || errors.Is(err, session.ErrNotFound) || g.state.Shared() == nil {
		return err
	}
	return retrySoon(problem(authflow.Unavailable, ReasonStoreUnavailable, "The form that you have sent cannot be kept or read at the moment. Please try again shortly.", err))
}

// takeForm ends a form's wait: it is there for whoever asks first.
func (g *Gate) takeForm(r *http.Request, v *visit, h formHandle) (*heldForm, error) {
	blob, err := g.forms().Take(r.Context(), h.key())
	if err != nil {
		return nil, g.formError(err)
	}
	encoded, err := seal.OpenBlob(h.secret[:], v.purpose(purposeForm), blob)
	if err != nil {
		return nil, err
	}
	form := new(heldForm)
	return form, json.Unmarshal(encoded, form)
}

// errNotHeld says that a request is no form that may wait.
var errNotHeld = errors.New("not a form that waits")

// isUnavailable reports that something works again in a while.
func isUnavailable(err error) bool { return err != nil && asProblem(err).Kind == authflow.Unavailable }

// holdForm lets a form wait that was refused since its session is over. It comes
// from a page of this site, in a browser that still has the session's cookie: so
// it is known whose it is, and nobody else's sign-in will send it.
func (g *Gate) holdForm(r *http.Request, v *visit, refusal error) (*provider, []byte, error) {
	if !v.gate.mayHold(r, v, refusal) {
		return nil, nil, errNotHeld
	}
	past, err := v.gate.sessions.Past(r.Context(), v.cookies, v.scope())
	if err != nil {
		return nil, nil, sessionProblem(err)
	}
	var of *provider
	for _, p := range v.demanded {
		if p.isOf(past) {
			of = p
		}
	}
	if of == nil {
		return nil, nil, fmt.Errorf("%w: of a provider that does not count here", errNotHeld)
	}
	body, err := readForm(r, v.gate.PreservePost)
	if err != nil {
		return nil, nil, err
	}
	if err := g.placeForm(r, past.ID); err != nil {
		return nil, nil, err
	}
	h, err := g.keepForm(r, v, &heldForm{
		Provider: past.Provider, Issuer: past.Issuer, ClientID: past.ClientID, Subject: past.Subject,
		Origin: v.origin.String(), Target: originalTarget(r),
		ContentType: r.Header.Get("Content-Type"), Referer: r.Header.Get("Referer"), Body: body,
	}, formWait)
	return of, h.bytes(), err
}

// placeForm finds a place for a form of a session.
func (g *Gate) placeForm(r *http.Request, id session.ID) error {
	end := g.now().Truncate(formWait).Add(formWait)
	for place := range formsOfOne {
		err := g.state.UseOnce(r.Context(), usedForm, fmt.Sprintf("%v %d %d", id, end.Unix(), place), end)
		if !errors.Is(err, session.ErrUsed) {
			return g.formError(err)
		}
	}
	return fmt.Errorf("%w: too many of one session", errNotHeld)
}

// mayHold judges what can be judged without the body. Fetch Metadata and Origin
// both have to say that a page of ours sent it.
func (g *Gate) mayHold(r *http.Request, v *visit, refusal error) bool {
	over := errors.Is(refusal, session.ErrExpired) || errors.Is(refusal, session.ErrIdle)
	return over && g.PreservePost > 0 && !v.asked && r.Method == http.MethodPost && !isEarly(r) && isLoginNavigation(r) &&
		len(r.Header["Origin"]) == 1 && r.Header.Get("Origin") == v.origin.String() &&
		r.Header.Get("Sec-Fetch-Site") == "same-origin" &&
		len(r.Header["Content-Type"]) == 1 && len(r.Header["Content-Encoding"]) == 0 && len(r.Trailer) == 0
}

// readForm reads the body of a form of text: urlencoded, or multipart without files.
func readForm(r *http.Request, limit int64) ([]byte, error) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" && kind != "multipart/form-data" {
		return nil, fmt.Errorf("%w: %q", errNotHeld, r.Header.Get("Content-Type"))
	}
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes", errNotHeld, r.ContentLength)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", errNotHeld, limit)
	}
	if kind == "multipart/form-data" {
		return body, onlyText(body, parameters["boundary"])
	}
	return body, nil
}

// onlyText holds that no part of a multipart form is a file (RFC 7578 4.2, 4.4).
func onlyText(body []byte, boundary string) error {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF { // as it is: one that is wrapped says that the end is missing
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errNotHeld, err)
		}
		disposition, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		_, file := parameters["filename"]
		if err != nil || disposition != "form-data" || file || len(part.Header["Content-Disposition"]) != 1 || len(part.Header) != 1 {
			return fmt.Errorf("%w: a part that is no text", errNotHeld)
		}
	}
}

// releaseForm lets the browser that has signed in bring the form to its address,
// if it is the same person's: in a cookie that counts for the new session alone.
func (g *Gate) releaseForm(w http.ResponseWriter, r *http.Request, v *visit, s *session.Session) error {
	if v.carried.form == nil {
		return nil
	}
	form, err := g.takeForm(r, v, parseFormHandle(v.carried.form))
	if err != nil {
		return err
	}
	if !form.isOf(s) {
		return errors.New("somebody else has signed in")
	}
	h, err := g.keepForm(r, v, form, formReturn)
	if err != nil {
		return err
	}
	target := sha256.Sum256([]byte(form.Target))
	sealed, err := g.seal(r, v.purpose(purposeFormReturn), bytes.Join([][]byte{s.ID[:], target[:], h.bytes()}, nil))
	if err != nil {
		return err
	}
	return g.cookies.SetSmall(w, v.scope(), session.Form, sealed, formReturn)
}

// returnedForm makes of a request that comes back from the sign-in the one that
// was sent before it. Any other request stays what it is.
func (g *Gate) returnedForm(w http.ResponseWriter, r *http.Request, v *visit) (*http.Request, error) {
	if g.PreservePost == 0 || v.asked || v.brought != nil || !isNavigation(r) {
		return r, nil
	}
	sealed, err := v.cookies.Small(v.scope(), session.Form)
	if err != nil {
		return r, nil
	}
	if isEarly(r) {
		return r, tooEarly()
	}
	opened, err := g.unseal(r, v.purpose(purposeFormReturn), sealed)
	live, notSignedIn := v.load(r)
	if err != nil || notSignedIn != nil || len(opened) != len(session.ID{})+sha256.Size+formHandleBytes {
		return r, nil
	}
	s, target := live.Session(), sha256.Sum256([]byte(originalTarget(r)))
	handle, ours := bytes.CutPrefix(opened, append(s.ID[:], target[:]...))
	if !ours {
		return r, nil // another tab was faster; it waits for its own
	}
	form, err := g.takeForm(r, v, parseFormHandle(handle))
	if isUnavailable(err) {
		return r, err // it waits on
	}
	if err := g.cookies.ClearSmall(w, v.scope(), session.Form); err != nil {
		return r, err
	}
	if err != nil || !form.isOf(s) || form.Origin != v.origin.String() {
		g.logger.Info("a form is not sent again", zap.Error(err))
		return r, nil
	}
	g.logger.Info("a form is sent again after the sign-in", zap.String("subject", s.Subject), zap.String("path", originalURL(r).Path))
	v.answer.ofForm = true
	return form.request(r), nil
}

// request is the form as it was sent, on the connection of the request that came
// back for it.
func (f *heldForm) request(r *http.Request) *http.Request {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		original.Method = http.MethodPost
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
	}
	r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(f.Body)), int64(len(f.Body))
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range", "Referer"} {
		r.Header.Del(name)
	}
	r.Header.Set("Content-Type", f.ContentType)
	r.Header.Set("Content-Length", strconv.Itoa(len(f.Body)))
	r.Header.Set("Origin", f.Origin)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if f.Referer != "" {
		r.Header.Set("Referer", f.Referer)
	}
	return r
}

// loginWithForm signs in whoever sent a form that may wait. It reports whether it
// answered the request.
func (g *Gate) loginWithForm(w http.ResponseWriter, r *http.Request, v *visit, refusal error) (bool, error) {
	if asProblem(refusal).Kind != authflow.NoLogin || g.Unauthenticated == "reject" {
		return false, nil
	}
	p, handle, err := g.holdForm(r, v, refusal)
	if isUnavailable(err) {
		return true, g.fail(w, r, v, err) // to send it again, the browser asks
	}
	if err != nil {
		if !errors.Is(err, errNotHeld) {
			g.logger.Warn("a form could not be kept for after the sign-in", zap.Error(err))
		}
		return false, nil
	}
	target := v.policy().OwnTarget(originalTarget(r))
	return true, g.login(w, r, v, loginOptions{returnTo: target, providers: []*provider{p}, form: handle})
}
