package policy

import (
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
	}
	return grants
}

type certainty int

const (
	never certainty = iota
	sometimes
	always
)

// known walks the entries like Decide does, past those whose answer depends on the object.
func known(rules []*compiledRule, verb string, r Resource, variables map[string]any) certainty {
	depends, mayAllow := false, false
	for _, rule := range rules {
		for i := range rule.resources {
			e := &rule.resources[i]
			if !e.matches(verb, r) {
				continue
			}
			if e.when.needsObject {
				depends, mayAllow = true, mayAllow || e.allow
				continue
			}
			held, err := e.when.holds(variables)
			if err != nil {
				held = !e.allow
			}
			if !held {
				continue
			}
			switch {
			case !e.allow && mayAllow, e.allow && (depends || e.approval != nil):
				return sometimes
			case e.allow:
				return always
			}
			return never
		}
	}
	if mayAllow {
		return sometimes
	}
	return never
}
