package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// What happened is counted by its own counter, under names that dashboards know. A gate without counters counts nothing.
func TestCounters(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, err := newCounters(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*counters{c, nil} {
		c.signedIn("main")
		c.signedIn("main")
		c.refuse(ReasonDenied)
		c.refresh("main", nil)
		c.refresh("main", authflow.NewError(authflow.ReasonRefreshRefused, nil))
		c.refresh("main", errors.New("of no reason"))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if family.GetHelp() == "" {
			t.Errorf("%s says not what it is", family.GetName())
		}
		for _, metric := range family.GetMetric() {
			line := family.GetName()
			for _, label := range metric.GetLabel() {
				line += fmt.Sprintf(" %s=%s", label.GetName(), label.GetValue())
			}
			got = append(got, fmt.Sprintf("%s %v", line, metric.GetCounter().GetValue()))
		}
	}
	if want := []string{
		"gatehouse_refreshes_total outcome=" + string(ReasonInternal) + " provider=main 1",
		"gatehouse_refreshes_total outcome=" + string(authflow.ReasonRefreshRefused) + " provider=main 1",
		"gatehouse_refreshes_total outcome=ok provider=main 1",
		"gatehouse_refused_total reason=denied 1",
		"gatehouse_sign_ins_total provider=main 2",
	}; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("counted %q, want %q", got, want)
	}
	if _, err := newCounters(registry); err == nil {
		t.Error("the same counters twice in one registry are no error")
	}
	if _, err := newCounters(nil); err != nil {
		t.Errorf("without a registry: %v", err)
	}
}
