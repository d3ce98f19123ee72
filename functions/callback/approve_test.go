package callback_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/api"
)

func TestApproval(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	for name, test := range map[string]struct {
		decision, by, comment string
		outcome               api.ActionOutcome
		says                  string
	}{
		"approved":                {"approved", "lead-anna", "", api.ActionOutcomeDone, "approved by lead-anna"},
		"rejected":                {"rejected", "lead-anna", "not today", api.ActionOutcomeRefused, "rejected by lead-anna: not today"},
		"by whom nobody asks now": {"approved", "ci", "", api.ActionOutcomeAwaitingApproval, "once one of lead-* approves"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := "careful-" + uuid.NewString()[:8]
			k := a.acting(c, a.policy, c.configMap(target))
			body := actionBody("apply", "", c.configMapText(target, "1"))
			if dry := k.ask(t, actionBody("apply", `, "dryRun": true`, c.configMapText(target, "1")))[0]; dry.Outcome != api.ActionOutcomeAwaitingApproval || dry.ApprovalID != nil {
				t.Errorf("the dry run: %+v", dry)
			}
			asked := k.ask(t, actionBody("apply", `, "dryRun": true, "requestApproval": true`, c.configMapText(target, "1")))[0]
			first, again := k.ask(t, body)[0], k.ask(t, body)[0]
			if asked.ApprovalID == nil || *asked.ApprovalID != *first.ApprovalID {
				t.Errorf("the dry run that asks: %+v", asked)
			}
			if first.Outcome != api.ActionOutcomeAwaitingApproval || first.ApprovalID == nil || again.ApprovalID == nil || *again.ApprovalID != *first.ApprovalID ||
				first.Decision.Approval == nil || first.Decision.Approval.Reason != "it is careful" {
				t.Fatalf("got %+v, then %+v", first, again)
			}
			description := one[string](a.world, "SELECT description FROM codex_approvals WHERE id = $1", first.ApprovalID)
			if !strings.HasPrefix(description, "apply ConfigMap "+c.namespace+"/"+target+"\n") {
				t.Errorf("it is described as %q", description)
			}
			a.exec("UPDATE codex_approvals SET decision = $2, decided_by = $3, decided_at = now(), comment = $4 WHERE id = $1",
				first.ApprovalID, test.decision, test.by, test.comment)
			// Anything else is another request.
			for _, other := range []string{
				actionBody("apply", "", c.configMapText(target, "2")),
				actionBody("apply", "", strings.Replace(c.configMapText(target, "1"), `"data"`, `"immutable": true, "data"`, 1)),
			} {
				if got := k.ask(t, other)[0]; got.Outcome != api.ActionOutcomeAwaitingApproval || *got.ApprovalID == *first.ApprovalID {
					t.Errorf("another action: %+v", got)
				}
			}
			got := k.ask(t, body)[0]
			if got.Outcome != test.outcome || !strings.Contains(got.Error+got.Decision.Reason, test.says) ||
				(c.live(c.configMap(target)) != "") != (test.outcome == api.ActionOutcomeDone) {
				t.Errorf("got %+v", got)
			}
			if anew := got.ApprovalID != nil && *got.ApprovalID != *first.ApprovalID; anew != (got.Outcome == api.ActionOutcomeAwaitingApproval) {
				t.Errorf("asked for anew: %t", anew)
			}
		})
	}
}

// Who may approve an action is told, once; and once more if the policy names others by now. A task cannot ask for
// approvals without end.
func TestApprovalsAreAnnounced(t *testing.T) {
	t.Parallel()
	a := setupArena(t, "GRAF_APPROVALS_MAX", "2")
	c := a.cluster
	k := a.acting(c, a.policy, c.configMap("careful-a"))
	body := actionBody("apply", "", c.configMapText("careful-a", "1"))
	first := k.ask(t, body)[0]
	k.ask(t, body)
	requested := func() (n int) {
		for _, e := range a.sink.About(k.id.String()) {
			if e.Type() == "dev.graf.codex.approval.requested.v1" && strings.Contains(string(e.Data()), first.ApprovalID.String()) {
				n++
			}
		}
		return n
	}
	if n := requested(); n != 1 {
		t.Errorf("announced %d times", n)
	}
	a.exec("UPDATE codex_approvals SET approvers = '{former}' WHERE id = $1", first.ApprovalID)
	if again := k.ask(t, body)[0]; *again.ApprovalID != *first.ApprovalID || requested() != 2 {
		t.Errorf("asked of others: %+v, announced %d times", again, requested())
	}
	if second := k.ask(t, actionBody("apply", "", c.configMapText("careful-a", "2")))[0]; second.ApprovalID == nil {
		t.Errorf("the second: %+v", second)
	}
	third := k.ask(t, actionBody("apply", "", c.configMapText("careful-a", "3")))[0]
	if third.Outcome != api.ActionOutcomeRefused || !strings.Contains(third.Error+third.Decision.Reason, "2 of the task are open") {
		t.Errorf("the third: %+v", third)
	}
}
