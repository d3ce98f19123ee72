package callback_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/graf-run/graf/functions/callback"
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/manifest"
	"github.com/graf-run/graf/shared/policy"
	"github.com/graf-run/graf/shared/problem"
)

// may asks the API server, by a dry run, whether an identity may do something.
func (c *cluster) may(spec kube.RightsSpec, verb string, ref manifest.Ref, value string) bool {
	c.t.Helper()
	client := c.as(spec)
	var err error
	switch verb {
	case policy.VerbGet:
		_, err = client.Live(c.context, ref)
	case policy.VerbDelete:
		err = client.Remove(c.context, ref, kube.RemoveOptions{DryRun: true})
	default:
		_, err = client.Apply(c.context, content(c.t, c.configMapText(ref.Name, value)), kube.ApplyOptions{FieldManager: "test", Force: true, DryRun: true})
	}
	if err != nil && !errors.Is(err, kube.ErrForbidden) {
		c.t.Fatal(err)
	}
	return err == nil
}

// The policy and the API server, which are asked one after the other, agree: nobody can get around the
// action service with the rights of the container, and it refuses nothing for want of rights that the policy gives.
func TestLayersAgree(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	c := a.cluster
	for name, test := range map[string]struct {
		verb, action, target, value string
		exists                      bool
		outcome                     api.ActionOutcome
		// What the API server lets the container do by itself, and the action service on its behalf.
		container, service bool
	}{
		"get":                    {policy.VerbGet, "get", "open-a", "1", true, api.ActionOutcomeDone, true, true},
		"get denied":             {policy.VerbGet, "get", "frozen-a", "1", true, api.ActionOutcomeRefused, false, false},
		"create":                 {policy.VerbCreate, "apply", "open-b", "1", false, api.ActionOutcomeDone, true, true},
		"create not allowed":     {policy.VerbCreate, "apply", "other-b", "1", false, api.ActionOutcomeRefused, false, false},
		"create denied":          {policy.VerbCreate, "apply", "frozen-b", "1", false, api.ActionOutcomeRefused, false, false},
		"patch":                  {policy.VerbPatch, "apply", "forced-c", "1", true, api.ActionOutcomeDone, true, true},
		"patch not allowed":      {policy.VerbPatch, "apply", "other-c", "1", true, api.ActionOutcomeRefused, false, false},
		"delete":                 {policy.VerbDelete, "delete", "open-d", "1", true, api.ActionOutcomeDone, true, true},
		"delete not allowed":     {policy.VerbDelete, "delete", "forced-d", "1", true, api.ActionOutcomeRefused, false, false},
		"create by its content":  {policy.VerbCreate, "apply", "small-e", "1", false, api.ActionOutcomeDone, false, true},
		"create despite content": {policy.VerbCreate, "apply", "small-f", "12345", false, api.ActionOutcomeRefused, false, true},
		"create once approved":   {policy.VerbCreate, "apply", "careful-g", "1", false, api.ActionOutcomeAwaitingApproval, false, true},
		"delete once approved":   {policy.VerbDelete, "delete", "careful-h", "1", true, api.ActionOutcomeAwaitingApproval, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := c.configMap(test.target)
			if test.exists {
				c.apply("graf-old", c.configMapText(test.target, "0"))
			}
			k := a.acting(c, a.policy, ref)
			container := c.grant(a.policy, k.id, "", ref)
			service := kube.RightsSpec{TaskID: k.id.String(), Attempt: 1, Namespace: c.namespace, Suffix: kube.ActionsSuffix}
			if got := c.may(container, test.verb, ref, test.value); got != test.container {
				t.Errorf("the container may: %v", got)
			}
			if got := c.may(service, test.verb, ref, test.value); got != test.service {
				t.Errorf("the action service may: %v", got)
			}
			action := policy.Action{
				Task: policy.Task{Caller: "ci", ID: k.id.String(), Mode: "direct", Priority: 5, Tags: []string{"demo"}},
				Verb: test.verb, Resource: resourceOf(ref),
			}
			body := reference(ref)
			if test.action == "apply" {
				body = c.configMapText(test.target, test.value)
				action.Object, action.Force = content(t, body), test.target == "forced-c"
			}
			decision := a.policy.Decide(action)
			if decision.Allowed && !test.service || test.container && !decision.Allowed {
				t.Errorf("the policy says otherwise: %+v", decision)
			}
			force := ""
			if action.Force {
				force = `, "force": true`
			}
			if got := k.ask(t, actionBody(test.action, force, body))[0]; got.Outcome != test.outcome || (got.Outcome == api.ActionOutcomeDone) != decision.Allowed {
				t.Errorf("got %+v, but the policy decided %+v", got, decision)
			}
		})
	}
}

// A task has no rights by another's token, nor the function's own.
func TestActionsHaveTheTasksRights(t *testing.T) {
	t.Parallel()
	a := setupArena(t)
	mine, others := a.cluster.configMap("open-mine"), a.cluster.configMap("open-others")
	first, second := a.acting(a.cluster, a.policy, mine), a.acting(a.cluster, a.policy, others)
	if got := first.ask(t, actionBody("get", "", reference(others)))[0]; got.Outcome != api.ActionOutcomeRefused {
		t.Errorf("got %+v", got)
	}
	if status, data := a.request(http.MethodPost, second.path(), first.token, actionBody("get", "", reference(others))); status != http.StatusForbidden {
		t.Errorf("status %d: %s", status, data)
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	turns := callback.NewTurns(2)
	first, second, third := uuid.New(), uuid.New(), uuid.New()
	leave, err := turns.Take(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turns.Take(first); !errors.Is(err, problem.ErrRateLimited) {
		t.Errorf("the same task again: %v", err)
	}
	if _, err := turns.Take(second); err != nil {
		t.Error(err)
	}
	if _, err := turns.Take(third); !errors.Is(err, problem.ErrUnavailable) {
		t.Errorf("one too many: %v", err)
	}
	leave()
	leave() // must not end anybody else's
	if _, err := turns.Take(third); err != nil {
		t.Error(err)
	}
	if _, err := turns.Take(first); !errors.Is(err, problem.ErrUnavailable) {
		t.Errorf("one too many again: %v", err)
	}
}
