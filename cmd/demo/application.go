package main

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// newApplication is what the gate protects: it trusts the headers that a proxy
// sets, and has never heard of OpenID.
func newApplication() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/me", usersMe)
	mux.HandleFunc("/", showRequest)
	return mux
}

// usersMe says who is calling, as JSON: 401 if no header says it.
func usersMe(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get("X-Forwarded-User")
	if user == "" {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "no X-Forwarded-User"})
		return
	}
	var groups []string
	if joined := r.Header.Get("X-Forwarded-Groups"); joined != "" {
		groups = strings.Split(joined, ",")
	}
	writeJSON(w, http.StatusOK, map[string]any{"user": user, "email": r.Header.Get("X-Forwarded-Email"), "groups": groups})
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(document); err != nil {
		slog.Debug("answer", "error", err)
	}
}

// headerLine is a row of the page.
type headerLine struct{ Name, Value string }

// showRequest shows who the application takes the caller for, and why.
func showRequest(w http.ResponseWriter, r *http.Request) {
	var lines []headerLine
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			lines = append(lines, headerLine{name, value})
		}
	}
	show(w, http.StatusOK, "application.html", map[string]any{
		"User": r.Header.Get("X-Forwarded-User"), "Method": r.Method, "Target": r.RequestURI, "Headers": lines,
	})
}
