package policy

import (
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/grant"
)

func resourceOf(t grant.Target) Resource {
	group, _, found := strings.Cut(t.APIVersion, "/")
	if !found {
		group = ""
	}
	return Resource{APIGroup: group, Kind: t.Kind, Namespace: t.Namespace, Name: t.Name}
}

// Grants says what a task may do with each of the targets, in their order.
func (p *Policy) Grants(t Task, targets []grant.Target) []grant.Grant {
	variables := t.scope()
	rules, err := p.applies(t, variables)
	if err != nil { // Decide says so, too.
		rules = nil
	}
	grants := make([]grant.Grant, len(targets))
	for i, target := range targets {
		grants[i].Target = target
		r := resourceOf(target)
		variables[varResource], variables[varObject], variables[varForce] = r.variables(), nil, false
		for _, verb := range Verbs() {
			variables[varVerb] = verb
			switch known(rules, verb, r, variables) {
			case always:
				grants[i].Verbs = append(grants[i].Verbs, verb)
			case sometimes:
				grants[i].Checked = append(grants[i].Checked, verb)
			case never:
			}
		}
		grants[i].Unread = !p.reads(t, grants[i], r)
	}
	return grants
}

// reads says whether a target that may be read in some way may be so now, by whoever knows it by this alone.
func (p *Policy) reads(t Task, g grant.Grant, r Resource) bool {
	verb := g.Reading()
	return !slices.Contains(g.Checked, verb) || p.Decide(Action{Task: t, Verb: verb, Resource: r}).Allowed
}

type certainty int

const (
	never certainty = iota
	sometimes
	always
)

// known walks the entries like Decide does, past those whose answer depends on the object, or on a name that is not
// known yet.
func known(rules []*compiledRule, verb string, r Resource, variables map[string]any) certainty {
	depends, mayAllow := false, false
	for e := range matching(rules, verb, r) {
		if e.when.needsObject {
			depends, mayAllow = true, mayAllow || e.allow && !e.partOf(r, nil)
			continue
		}
		held, err := e.when.holds(variables)
		if err != nil {
			held = e.mayHold(r)
		}
		switch {
		case !held:
		case e.partOf(r, err): // It is for each of them to be decided by its name.
			depends = true
		case !e.allow && mayAllow, e.allow && (depends || e.approval != nil):
			return sometimes
		case e.allow:
			return always
		default:
			return never
		}
	}
	if mayAllow {
		return sometimes
	}
	return never
}
