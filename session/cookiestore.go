package session

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"sync"
)

// CookieStore returns the store that keeps sessions in the browser: the handle
// is the data, compressed if that makes it smaller, since every byte of it comes
// back with each request. It costs no memory; and it cannot delete, nor tell
// generations apart, which is what revocations and superseded generations in a
// [State] are for.
func CookieStore() Store {
	c := new(cookieStore)
	c.writers.New = func() any {
		w, _ := flate.NewWriterDict(nil, flate.BestCompression, []byte(common)) // fails for other levels alone
		return w
	}
	c.readers.New = func() any { return flate.NewReader(bytes.NewReader(nil)) }
	return c
}

// cookieStore keeps what deflating allocates, most of a megabyte.
type cookieStore struct{ writers, readers sync.Pool }

// deflated is the first byte of a compressed handle, and of no encoding. A DEFLATE
// stream (RFC 1951) follows, with the dictionary of common.
const deflated = 0xd1

// common is what many sessions hold. It is part of the format: another one takes
// another first byte. What is met most stands last, where references are shortest.
const common = "https://login.microsoftonline.com//v2.0https://accounts.google.comhttps://sts.windows.net/" +
	"openid profile email offline_access userinfo realm_access resource_access \x05roles manage-account" +
	"default-roles-uma_authorization@gmail.com.onmicrosoft.com department-cn=,ou=,dc=CN=,OU=,DC=" +
	"given_name\x03family_name\x03locale\x03picture\x03https://zoneinfo\x03tenant\x03tid\x03oid\x03upn\x03hd\x03" +
	"https://auth./realms/https://id..comdefault-0000\x05email\x03@example.com\x0eemail_verified\x02" +
	"\x06groups\x05\x04name\x03\x12preferred_username\x03"

// Save implements [Store].
func (c *cookieStore) Save(_ context.Context, r Record, _ []byte) ([]byte, error) {
	small := bytes.NewBuffer([]byte{deflated})
	w := c.writers.Get().(*flate.Writer)
	defer c.writers.Put(w)
	w.Reset(small)
	if _, err := w.Write(r.Data); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if small.Len() < len(r.Data) {
		return small.Bytes(), nil
	}
	return bytes.Clone(r.Data), nil
}

// Load implements [Store]. A handle is found only if it is sealed, so nobody else
// chooses what is inflated; it is bounded all the same.
func (c *cookieStore) Load(_ context.Context, handle []byte) ([]byte, error) {
	if len(handle) == 0 || handle[0] != deflated {
		return handle, nil
	}
	r := c.readers.Get().(io.ReadCloser)
	defer c.readers.Put(r)
	stream := bytes.NewReader(handle[1:])
	if err := r.(flate.Resetter).Reset(stream, []byte(common)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxEncoded+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	case len(data) > maxEncoded || stream.Len() > 0:
		return nil, fmt.Errorf("%w: more than a session", ErrNotFound)
	}
	return data, nil
}

// Delete implements [Store].
func (*cookieStore) Delete(context.Context, []byte) error { return nil }
