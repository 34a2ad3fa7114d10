package authflow

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// maxForm bounds a form that a request brings, in its query or its body, in bytes.
const maxForm = 16 << 10

// readQueryAndForm returns the parameters of a GET, or those of a POST, query and body
// together.
func readQueryAndForm(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxForm {
		return nil, fmt.Errorf("a query of more than %d bytes", maxForm)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	switch r.Method {
	case http.MethodGet:
		return values, nil
	case http.MethodPost:
		form, err := readForm(r)
		if err != nil {
			return nil, err
		}
		for name, more := range form {
			values[name] = append(values[name], more...)
		}
		return values, nil
	}
	return nil, fmt.Errorf("method %.16q", r.Method)
}

// readForm reads the body of a POST, which has to be a form.
func readForm(r *http.Request) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, errors.New("the body is no form")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if len(body) > maxForm {
		return nil, fmt.Errorf("a body of more than %d bytes", maxForm)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return form, nil
}
