package caddymodule

import (
	"html/template"
	"testing"
)

// TestTextOnTheAccentColor: whatever color a site has, its buttons can be read (WCAG
// 2.2, 1.4.3).
func TestTextOnTheAccentColor(t *testing.T) {
	for color, want := range map[string]template.CSS{
		"":        "#fff", // ours
		"1f5fae":  "#fff",
		"#7a1f5c": "#fff",
		"fc0":     "#000",
		"FFCC00":  "#000",
		"000":     "#fff",
		"fff":     "#000",
	} {
		p, err := newPages(&PagesConfig{Color: color})
		if err != nil {
			t.Fatal(err)
		}
		if p.ink != want {
			t.Errorf("on %q: %s, want %s", color, p.ink, want)
		}
	}
}
