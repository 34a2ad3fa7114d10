package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

// resolve replaces the placeholders of the process in a value of the option that what
// names. A value that is empty afterwards is an error (SEC-11).
func resolve(what, raw string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	if strings.TrimSpace(value) == "" {
		return "", fmt.Errorf("%s is empty", what)
	}
	return value, nil
}

// resolveOptional is resolve for an option that may be left out.
func resolveOptional(what, raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	return resolve(what, raw)
}

// placeholderOf names the variable or file that a value consists of.
func placeholderOf(raw string) (string, bool) {
	name, isFile := strings.CutPrefix(raw, "{file.")
	variable, isVariable := strings.CutPrefix(raw, "{env.")
	switch {
	case isFile && strings.HasSuffix(name, "}"):
		return strings.TrimSuffix(name, "}"), true
	case isVariable && strings.HasSuffix(variable, "}"):
		return strings.TrimSuffix(variable, "}"), true
	}
	return "", false
}

// holdsPlaceholder reports a value that is not known before it is resolved.
func holdsPlaceholder(value string) bool { return strings.Contains(value, "{") }

// standIn is a value, or another one in its place if it holds a placeholder: a Caddyfile is
// checked before its files and variables have to be there.
func standIn(value, other string) string {
	if holdsPlaceholder(value) {
		return other
	}
	return value
}

// readSecret resolves a secret of the configuration; option is the word that it stands
// behind. The error names the variable or file, and nothing else of the text, which the
// replacer's own error may quote.
func readSecret(option, raw string) (secret.String, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err == nil && strings.TrimSpace(value) != "" {
		return secret.New(value), nil
	}
	source := ""
	if name, isPlaceholder := placeholderOf(raw); isPlaceholder {
		source = " (" + name + ")"
	}
	return secret.String{}, fmt.Errorf("%s cannot be read, or is empty; a brace that belongs to it is written as \\{%s", option, source)
}
