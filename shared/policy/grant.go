package policy

// Grant is what a task may do with one resource, as far as that is known before it does it: what its Kubernetes rights
// are made of.
type Grant struct {
	Resource Resource `json:"resource"`
	// Verbs are those that are allowed whatever the object is: the container itself may have them.
	Verbs []string `json:"verbs,omitempty"`
	// Checked are those that are allowed for some objects, or once approved: they are for the action service alone,
	// which asks the policy each time.
	Checked []string `json:"checked,omitempty"`
}

// Empty reports whether nothing is allowed.
func (g Grant) Empty() bool { return len(g.Verbs)+len(g.Checked) == 0 }

// Grants says what a task may do with each of the resources, in their order.
func (p *Policy) Grants(t Task, resources []Resource) []Grant {
	variables := t.scope()
	rules, err := p.applies(t, variables)
	if err != nil { // Decide says so, too.
		rules = nil
	}
	grants := make([]Grant, len(resources))
	for i, r := range resources {
		grants[i].Resource = r
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
