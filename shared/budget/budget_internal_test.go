package budget

import (
	"testing"

	"github.com/graf-run/graf/shared/postgres/query"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	used := query.SumUsageRow{InputTokens: 100, CachedInputTokens: 90, OutputTokens: 20, ReasoningTokens: 5, Usd: 0.5}
	for name, c := range map[string]struct {
		tokens *int64
		usd    *float64
		want   string
	}{
		"no bound":       {nil, nil, ""},
		"within":         {new(int64(121)), new(0.51), ""},
		"tokens":         {new(int64(120)), nil, "120 of 120 tokens are used"},
		"beyond":         {new(int64(100)), new(0.6), "120 of 100 tokens are used"},
		"dollars":        {nil, new(0.5), "$0.5000 of $0.5000 are spent"},
		"dollars beyond": {new(int64(1000)), new(0.25), "$0.5000 of $0.2500 are spent"},
		"both":           {new(int64(1)), new(0.1), "120 of 1 tokens are used"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := compare(c.tokens, c.usd, used); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
