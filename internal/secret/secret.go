// Package secret holds text that must not reach a log, an error or a page:
// client secrets and tokens.
//
// A [String] prints, logs and marshals as [redacted], by itself and as a field
// of another value, exported or not. The only way to the text is
// [String.Reveal], so that every use of a secret can be found by that name.
package secret

const redacted = "[redacted]"

// String is a text that only [String.Reveal] shows. The zero value is the
// empty text. Two Strings with one text are not equal by ==.
type String struct {
	// text is a pointer because fmt calls no method of an unexported field, and
	// none for verbs like %d: it walks into the value instead, and prints an
	// address here.
	text *string
}

// New returns s as a secret. New("") is the zero value.
func New(s string) String {
	if s == "" {
		return String{}
	}
	return String{text: &s}
}

// Reveal returns the text itself.
func (s String) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells whether there is no text.
func (s String) Empty() bool { return s.text == nil }

// String returns "[redacted]", for the empty text too.
func (s String) String() string { return redacted }

// MarshalText returns "[redacted]"; encoding/json, encoding/xml, log/slog and zap use it.
func (s String) MarshalText() ([]byte, error) { return []byte(redacted), nil }
