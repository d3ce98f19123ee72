package callback_test

import (
	"testing"
)

// Answers say that the budget is spent from the report on that spends it, also where one of an earlier attempt has
// used a part: it is the task's.
func TestBudgetSpent(t *testing.T) {
	t.Parallel()
	const used = `{"eventId":"1","eventType":"usage","content":{"inputTokens":60,"outputTokens":20,"usd":0.25}}`
	for name, c := range map[string]struct {
		budget            string
		first, retry, end string
	}{
		"none":         {"budget_tokens = NULL", "", "", ""},
		"within":       {"budget_tokens = 161, budget_usd = 0.51", "", "", ""},
		"at the first": {"budget_tokens = 80", "80 of 80 tokens are used", "160 of 80 tokens are used", "160 of 80 tokens are used"},
		"of dollars":   {"budget_usd = 0.5", "", "$0.5000 of $0.5000 are spent", "$0.5000 of $0.5000 are spent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			k := w.running()
			w.exec("UPDATE codex_tasks SET updated_by = 'test', "+c.budget+" WHERE id = $1", k.id)
			w.launched(k, 1)
			first := w.token(k, "attempt 1")
			for range 2 { // what is sent twice is used once
				if got := w.postAs(k, first, used).BudgetSpent; got != c.first {
					t.Errorf("the first attempt is told %q, want %q", got, c.first)
				}
			}
			w.move(k, "finalizing", "queued", "launching", "running")
			w.launched(k, 2)
			second := w.token(k, "attempt 2")
			if got := w.postAs(k, second, used).BudgetSpent; got != c.retry {
				t.Errorf("the second attempt is told %q, want %q", got, c.retry)
			}
			if got := w.postAs(k, second, beat).BudgetSpent; got != c.end {
				t.Errorf("a heartbeat is answered %q, want %q", got, c.end)
			}
		})
	}
}
