package finalize

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/tasktest"
)

// What an agent says that it failed of decides whether, and when, it gets another attempt.
func TestReportedFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		report      string
		termination kube.Termination
		usage       string
		// after is the least wait before the next attempt; negative: there is none.
		after  time.Duration
		status string // "failed" where there is no next attempt
		class  string
		reason string
	}{
		"agent":              {report: `{"message":"no","failure":{"class":"agent"}}`, class: "agent"},
		"quota":              {report: `{"message":"no","failure":{"class":"quota","retryAfterSeconds":60}}`, class: "quota", after: time.Minute},
		"quota, no wait":     {report: `{"message":"no","failure":{"class":"quota"}}`, class: "quota"},
		"quota, long wait":   {report: `{"message":"no","failure":{"class":"quota","retryAfterSeconds":86400}}`, class: "quota", after: 2 * time.Minute},
		"infrastructure":     {report: `{"message":"no","failure":{"class":"infrastructure","retryAfterSeconds":30}}`, class: "infrastructure", after: 30 * time.Second},
		"authentication":     {report: `{"message":"no","failure":{"class":"authentication","retryAfterSeconds":1}}`, class: "authentication", after: -1},
		"timeout":            {report: `{"message":"no","failure":{"class":"timeout"}}`, class: "timeout", after: -1, status: "timed_out"},
		"budget":             {report: `{"message":"no","failure":{"class":"budget"}}`, class: "budget", after: -1},
		"agent, with a wait": {report: `{"message":"no","failure":{"class":"agent","retryAfterSeconds":60}}`, class: "agent"},
		"another class":      {report: `{"message":"no","failure":{"class":"cancelled"}}`, class: "agent"},
		"no object":          {report: `{"message":"no","failure":["quota"]}`, class: "agent"},
		"out of memory as well": {
			report: `{"message":"no","failure":{"class":"quota","retryAfterSeconds":60}}`, class: "quota", after: time.Minute,
			termination: kube.Termination{ExitCode: 137, OOMKilled: true, Reason: "OOMKilled"},
		},
		"tokens spent":  {report: `{"message":"no"}`, usage: `{"inputTokens":900,"outputTokens":100}`, class: "agent", after: -1, reason: "1000 of 1000 tokens"},
		"dollars spent": {report: `{"message":"no"}`, usage: `{"usd":0.5}`, class: "agent", after: -1, reason: "$0.5000 of $0.5000"},
		"budget left":   {report: `{"message":"no"}`, usage: `{"inputTokens":900,"outputTokens":99,"usd":0.49}`, class: "agent"},
		"odd usage":     {report: `{"message":"no"}`, usage: `{"inputTokens":"900","outputTokens":-5,"usd":[1]}`, class: "agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			f.config.RetryBase, f.config.RetryMax = time.Millisecond, 2*time.Minute
			task := tasktest.Running(t, f.pool, tasktest.Task{MaxAttempts: 2})
			tasktest.Exec(t, f.pool, `UPDATE codex_tasks SET budget_tokens = 1000, budget_usd = 0.5 WHERE id = $1`, task.ID)
			f.cluster.termination = c.termination
			if c.termination.Reason == "" {
				f.cluster.termination = kube.Termination{ExitCode: 1, Reason: "Error"}
			}
			tasktest.Exec(t, f.pool, `INSERT INTO codex_task_events (task_id, sequence, event_id, event_type, attempt, content, occurred_at)
				VALUES ($1, 1, 'u', 'usage', 1, coalesce(nullif($2, ''), '{}')::jsonb, now()), ($1, 2, 'f', 'failed', 1, $3::jsonb, now())`,
				task.ID, c.usage, c.report)
			before := time.Now()
			if err := f.Finalize(t.Context(), observe(task, kube.PhaseFailed)); err != nil {
				t.Fatal(err)
			}
			got := tasktest.Get(t, f.pool, task.ID)
			if value(got.FailureClass) != c.class || !strings.Contains(value(got.FailureReason), "the agent reported: no") ||
				!strings.Contains(value(got.FailureReason), c.reason) {
				t.Errorf("failed of %s: %s", value(got.FailureClass), value(got.FailureReason))
			}
			if c.after < 0 {
				if want := cmp.Or(c.status, "failed"); got.Status != want {
					t.Errorf("task is %s, want it %s", got.Status, want)
				}
				return
			}
			if got.Status != "queued" || got.NotBefore == nil {
				t.Fatalf("task is %s, not before %v", got.Status, got.NotBefore)
			}
			// Postgres keeps microseconds; a backoff of milliseconds and a slow machine are within 20 s.
			if wait := got.NotBefore.Sub(before); wait < c.after-time.Millisecond || wait > c.after+20*time.Second {
				t.Errorf("waits %s, want %s", wait, c.after)
			}
		})
	}
}
