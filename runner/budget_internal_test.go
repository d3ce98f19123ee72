package runner

import (
	"os"
	"strings"
	"testing"

	"github.com/graf-run/graf/runner/agent"
)

// The price list of docs/runner.md is one.
func TestDocumentedPrices(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/runner.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "```yaml prices\n")
	list, _, closed := strings.Cut(list, "```")
	prices, err := ParsePrices(list)
	if err != nil || !closed {
		t.Fatal(err)
	}
	for model, want := range map[string]float64{"gpt-5-codex": 0.00125 + 0.00125 + 0.01, "other": 0.01 + 0.1 + 0.05} {
		got, err := prices.cost(agent.Usage{Model: model, Input: 11_000, Cached: 10_000, Output: 1_000})
		if err != nil || got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s costs %f, want %f, %v", model, got, want, err)
		}
	}
}
