package runner

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/mask"
	"github.com/graf-run/graf/runner/spool"
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
	if empty, err := ParsePrices("# none yet"); err != nil || len(empty) > 0 {
		t.Errorf("a list without prices: %v, %v", empty, err)
	}
	for model, want := range map[string]float64{"gpt-5-codex": 0.00125 + 0.00125 + 0.01, "other": 0.01 + 0.1 + 0.05} {
		got, err := prices.cost(agent.Usage{Model: model, Input: 11_000, Cached: 10_000, Output: 1_000})
		if err != nil || got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s costs %f, want %f, %v", model, got, want, err)
		}
	}
}

// A budget that is spent while the runner waits for its next try ends the wait, and there is none.
func TestBudgetIsSpentWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"before": true, "meanwhile": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept, err := spool.Open(t.TempDir(), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = kept.Close() })
			r := &runner{config: Config{Tries: 3}, spool: kept, mask: mask.FromEnvironment(nil)}
			r.state.session = "session"
			if early {
				r.budgetSpent("2 of 1 tokens are used")
			} else {
				go func() {
					for kept.Waiting() == 0 { // it says that it waits
						time.Sleep(time.Millisecond)
					}
					r.budgetSpent("2 of 1 tokens are used")
				}()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			failure := &agent.Failure{Class: agent.ClassQuota, RetryAfter: 50 * time.Second}
			if began := time.Now(); r.again(ctx, 1, failure) || time.Since(began) > 20*time.Second {
				t.Errorf("another try after %v", time.Since(began))
			}
		})
	}
}
