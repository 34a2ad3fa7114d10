package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-auth/gatehouse/internal/secret"
)

const text = "s3cr3t-t0ken"

type holder struct {
	Exported   secret.String
	unexported secret.String
	nested     struct{ deep []secret.String }
}

func TestNothingShowsASecret(t *testing.T) {
	s := secret.New(text)
	h := holder{Exported: s, unexported: s}
	h.nested.deep = []secret.String{s}

	hexText := fmt.Sprintf("%x", text)
	check := func(t *testing.T, shown string) {
		t.Helper()
		if strings.Contains(shown, text) || strings.Contains(strings.ToLower(shown), hexText) ||
			strings.Contains(shown, fmt.Sprint([]byte(text))) {
			t.Errorf("shows the secret: %s", shown)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%t", "%T"} {
		for _, value := range []any{s, &s, h, &h, []any{h}, map[string]any{"k": h}} {
			t.Run(verb, func(t *testing.T) { check(t, fmt.Sprintf(verb, value)) })
		}
	}
	t.Run("json", func(t *testing.T) {
		out, err := json.Marshal(h)
		check(t, string(out))
		if want := `{"Exported":"[redacted]"}`; err != nil || string(out) != want {
			t.Errorf("got %s, %v; want %s", out, err, want)
		}
	})
	t.Run("json map key", func(t *testing.T) {
		out, _ := json.Marshal(map[secret.String]int{s: 1})
		check(t, string(out))
	})
	t.Run("xml", func(t *testing.T) {
		out, _ := xml.Marshal(struct{ S secret.String }{s})
		check(t, string(out))
	})
	t.Run("slog", func(t *testing.T) {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", s, "h", h)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", s, "h", h)
		check(t, out.String())
	})
	t.Run("zap", func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		zap.New(core).Info("m", zap.Any("s", s), zap.Any("h", h), zap.Stringer("r", s), zap.Reflect("x", h))
		out, err := json.Marshal(logs.All()[0].ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		check(t, string(out))
	})
	t.Run("error", func(t *testing.T) { check(t, fmt.Errorf("failed with %v: %+v", s, h).Error()) })
}

func TestReveal(t *testing.T) {
	if got := secret.New(text).Reveal(); got != text {
		t.Errorf("Reveal() = %q", got)
	}
	if !reflect.DeepEqual(secret.New(text), secret.New(text)) || reflect.DeepEqual(secret.New(text), secret.New("x")) {
		t.Error("reflect.DeepEqual does not compare the texts")
	}
	for name, s := range map[string]secret.String{"zero value": {}, `New("")`: secret.New("")} {
		if !s.Empty() || s.Reveal() != "" || s != (secret.String{}) || s.String() != "[redacted]" {
			t.Errorf("%s is not the empty secret", name)
		}
	}
	if secret.New(text).Empty() {
		t.Error("a secret with a text is Empty")
	}
}
