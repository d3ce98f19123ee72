package policy_test

import (
	"slices"
	"testing"

	"github.com/graf-run/graf/shared/grant"
	"github.com/graf-run/graf/shared/policy"
)

// What is said of some names of a kind counts for all of the kind, too: its container must not get with the whole what it
// may not have in part.
func TestAllOfAKind(t *testing.T) {
	t.Parallel()
	const allOfThem = `
      - {verbs: ["*"], apiGroups: [apps], kinds: [Deployment], namespaces: [web-live]}
`
	const head = `
rules:
  - name: web
    callers: ["*"]
    resources:
`
	about := `, verbs: ["*"], apiGroups: [apps], kinds: [Deployment], namespaces: [web-live]`
	for name, c := range map[string]struct {
		first             string
		allowed, approval bool
		container         bool
	}{
		"nothing first":            {"", true, false, true},
		"some are denied":          {`      - {effect: deny, names: [old-*]` + about + `}`, false, false, false},
		"some, by a condition":     {`      - {effect: deny, when: 'resource.name == "old-shop"'` + about + `}`, false, false, false},
		"some are to be approved":  {`      - {names: [old-*], approval: {approvers: [lead]}` + about + `}`, false, true, false},
		"approved, by a condition": {`      - {when: 'resource.name == "old-shop"', approval: {approvers: [lead]}` + about + `}`, false, true, false},
		"denied for an object":     {`      - {effect: deny, names: [old-*], when: 'object != null && has(object.spec)'` + about + `}`, true, false, false},
		"some are allowed":         {`      - {names: [old-*]` + about + `}`, true, false, true},
		"others are denied":        {`      - {effect: deny, names: [old-*], verbs: ["*"], apiGroups: [apps], kinds: [Job], namespaces: ["*"]}`, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parse(t, head+c.first+allOfThem)
			d := p.Decide(policy.Action{Task: web, Verb: "list", Resource: named(deployment, "")})
			if d.Allowed != c.allowed || (d.Approval != nil) != c.approval {
				t.Errorf("list: %+v", d)
			}
			if d := p.Decide(policy.Action{Task: web, Verb: "patch", Resource: deployment}); !d.Allowed {
				t.Errorf("another one: %+v", d)
			}
			got := p.Grants(web, []grant.Target{{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web-live"}})[0]
			if slices.Contains(got.Verbs, "patch") != c.container || !slices.Contains(got.All(), "patch") {
				t.Errorf("granted %+v", got)
			}
			if readable := len(grant.Readable([]grant.Grant{got})) > 0; readable != c.allowed {
				t.Errorf("all of them can be read: %t", readable)
			}
		})
	}
}

// What is not to be read before somebody approves is in no snapshot, which an agent is given.
func TestWhatWaitsForApprovalIsNotRead(t *testing.T) {
	t.Parallel()
	p := parse(t, `
rules:
  - name: web
    callers: ["*"]
    resources:
      - {verbs: [get], apiGroups: [apps], kinds: [Deployment], namespaces: ["*"], approval: {approvers: [lead]}}
      - {verbs: [get, patch], apiGroups: [""], kinds: [ConfigMap], namespaces: ["*"], when: verb == "get" || object != null}
`)
	got := p.Grants(web, []grant.Target{
		{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "web-live", Name: "shop"},
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "web-live", Name: "shop"},
	})
	if !slices.Contains(got[0].Checked, "get") || !slices.Contains(got[1].Checked, "get") {
		t.Errorf("granted %+v", got)
	}
	if readable := grant.Readable(got); len(readable) != 1 || readable[0].Kind != "ConfigMap" {
		t.Errorf("read are %+v", readable)
	}
}
