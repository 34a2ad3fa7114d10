package authflow

import "strings"

// The sets of characters that RFC 6749 A gives to the elements of OAuth 2.0.

// isNQChars tells whether a text is 1*NQCHAR: printable ASCII without space, quotation
// mark and backslash.
func isNQChars(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// IsScope tells whether a text can be a scope (RFC 6749 3.3): 1*NQCHAR.
func IsScope(text string) bool { return isNQChars(text) }

// isNonce tells whether a text can be a nonce of DPoP that is not too long (RFC 9449
// 8.1: 1*NQCHAR).
func isNonce(text string) bool { return len(text) <= maxNonce && isNQChars(text) }

// isPrintable tells whether a text has no control characters.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f })
}
