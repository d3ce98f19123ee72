package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

type compiledRule struct {
	name       string
	line       int
	callers    patterns
	projects   patterns
	when       expression
	resources  []compiledResource
	executions []compiledExecution
}

type compiledResource struct {
	place         place
	line          int
	allow         bool
	force         bool
	clusterScoped bool
	verbs         patterns
	apiGroups     patterns
	kinds         patterns
	namespaces    patterns
	names         patterns
	when          expression
	approval      *approval
}

type compiledExecution struct {
	place      place
	line       int
	allow      bool
	modes      patterns
	images     patterns
	secrets    patterns
	maxTimeout time.Duration
	limits     map[string]resource.Quantity
	when       expression
	approval   *approval
}

// Decision is what a policy says, and why.
type Decision struct {
	// Allowed is false, too, for what nobody has approved yet: see Approval.
	Allowed bool `json:"allowed"`
	// Rule is the entry that decided: "web-team/resources/0"; "" if none matched.
	Rule string `json:"rule,omitempty"`
	// Line is where it stands in the policy's text, from 1; 0 if none matched.
	Line int `json:"line,omitempty"`
	// Reason is for people.
	Reason string `json:"reason"`
	// Approval is who must approve first; nil if nobody must.
	Approval *Approval `json:"approval,omitempty"`
	// Version is that of the policy.
	Version string `json:"policyVersion"`
}

// Approval is what must be given before something goes ahead.
type Approval struct {
	// Approvers are patterns of callers' names.
	Approvers []string `json:"approvers"`
	// Reason is the policy's own, for whoever is asked.
	Reason string `json:"reason,omitempty"`
}

// By reports whether a caller may give the approval.
func (a Approval) By(caller string) bool { return patterns(a.Approvers).match(caller) }

func (p place) String() string {
	steps := make([]string, len(p))
	for i, step := range p {
		steps[i] = fmt.Sprint(step)
	}
	return strings.Join(steps, "/")
}

// applies are the rules that are about a task, in their order. A condition that cannot be evaluated is an error: the rule
// might deny.
func (p *Policy) applies(t Task, variables map[string]any) ([]*compiledRule, error) {
	var rules []*compiledRule
	for i := range p.rules {
		r := &p.rules[i]
		if !r.callers.match(t.Caller) || !r.projects.match(t.Project) {
			continue
		}
		held, err := r.when.holds(variables)
		if err != nil {
			return nil, fmt.Errorf("the condition of rule %s (line %d of the policy) could not be evaluated: %w", r.name, r.line, err)
		}
		if held {
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func (t Task) scope() map[string]any {
	return map[string]any{varCaller: t.Caller, varProject: t.Project, varTask: t.variables()}
}

// Decide says whether an action may be taken.
func (p *Policy) Decide(a Action) Decision {
	variables := a.Task.scope()
	rules, err := p.applies(a.Task, variables)
	if err != nil {
		return Decision{Reason: err.Error(), Version: p.Version}
	}
	variables[varVerb], variables[varResource], variables[varForce] = a.Verb, a.Resource.variables(), a.Force
	variables[varObject] = nil
	if a.Object != nil {
		variables[varObject] = a.Object
	}
	var notes []string
	var withheld *compiledResource // some of all that are asked for
	for e := range matching(rules, a.Verb, a.Resource) {
		held, err := e.when.holds(variables)
		if err != nil {
			notes = append(notes, fmt.Sprintf("the condition of %s could not be evaluated: %v", e.place, err))
			held = e.mayHold(a.Resource)
		}
		if !held {
			continue
		}
		if a.Force && e.allow && !e.force {
			notes = append(notes, fmt.Sprintf("%s does not allow force", e.place))
			continue
		}
		switch {
		case e.allow && withheld != nil:
			e = withheld
		case e.allow && e.partOf(a.Resource, err):
			withheld = e
			continue
		}
		return p.decision(e.allow, e.place, e.line, e.approval, a.Verb+" "+a.Resource.String())
	}
	return p.none(a.Verb+" "+a.Resource.String(), a.Task, notes)
}

func (p *Policy) decision(allow bool, at place, line int, needed *approval, what string) Decision {
	d := Decision{Allowed: allow, Rule: at.String(), Line: line, Version: p.Version}
	switch {
	case !allow:
		d.Reason = fmt.Sprintf("%s denies %s (line %d of the policy)", at, what, line)
	case needed != nil:
		d.Allowed = false
		d.Approval = &Approval{Approvers: needed.Approvers, Reason: needed.Reason}
		d.Reason = fmt.Sprintf("%s allows %s once one of %s approves", at, what, strings.Join(needed.Approvers, ", "))
	default:
		d.Reason = fmt.Sprintf("%s allows %s", at, what)
	}
	return d
}

func (p *Policy) none(what string, t Task, notes []string) Decision {
	if len(p.rules) == 0 {
		return Decision{Reason: "there is no rule, so nothing is allowed: name a policy in GRAF_POLICY_FILE", Version: p.Version}
	}
	reason := fmt.Sprintf("no rule allows %s for caller %s", what, t.Caller)
	if t.Project != "" {
		reason += " and project " + t.Project
	}
	if len(notes) > 0 {
		reason += "; " + strings.Join(notes, "; ")
	}
	return Decision{Reason: reason, Version: p.Version}
}

// matching are the entries that name a verb and a resource, in their order.
func matching(rules []*compiledRule, verb string, r Resource) iter.Seq[*compiledResource] {
	return func(yield func(*compiledResource) bool) {
		for _, rule := range rules {
			for i := range rule.resources {
				if e := &rule.resources[i]; e.matches(verb, r) && !yield(e) {
					return
				}
			}
		}
	}
}

func (e *compiledResource) matches(verb string, r Resource) bool {
	if r.Namespace == "" && !e.clusterScoped || r.Namespace != "" && !e.namespaces.match(r.Namespace) {
		return false
	}
	// All of a kind is matched only by what allows every name, and by what denies or withholds any.
	if r.Name == "" && !e.everyName() && e.opens() || r.Name != "" && !e.names.match(r.Name) {
		return false
	}
	return e.verbs.match(verb) && e.apiGroups.match(r.APIGroup) && e.kinds.match(r.Kind)
}

// opens says whether the entry allows what it matches, without more ado.
func (e *compiledResource) opens() bool { return e.allow && e.approval == nil }

func (e *compiledResource) everyName() bool { return slices.Contains(e.names, "*") }

// mayHold says whether an entry counts whose condition could not be evaluated. What might deny does; and where all of a
// kind are asked for what might be for some of them to be approved is.
func (e *compiledResource) mayHold(r Resource) bool { return !e.allow || r.Name == "" && !e.opens() }

// partOf says whether the entry is about some of r only, which is all of a kind. err is that of its condition, which may
// be one on the name.
func (e *compiledResource) partOf(r Resource, err error) bool {
	return r.Name == "" && (err != nil || !e.everyName())
}

// Execute says whether a task's agent may be run like this.
func (p *Policy) Execute(x Execution) Decision {
	variables := x.Task.scope()
	rules, err := p.applies(x.Task, variables)
	if err != nil {
		return Decision{Reason: err.Error(), Version: p.Version}
	}
	variables[varExecution] = map[string]any{
		"image": x.Image, "mode": x.Task.Mode, "timeoutSeconds": int64(x.TimeoutSeconds), "limits": x.Limits,
		"secrets": x.Secrets,
	}
	what := fmt.Sprintf("running image %q in mode %s", x.Image, x.Task.Mode)
	var notes []string
	for _, r := range rules {
		for i := range r.executions {
			e := &r.executions[i]
			if !e.modes.match(x.Task.Mode) || !e.images.match(x.Image) {
				continue
			}
			held, err := e.when.holds(variables)
			if err != nil {
				notes = append(notes, fmt.Sprintf("the condition of %s could not be evaluated: %v", e.place, err))
				held = !e.allow
			}
			if !held {
				continue
			}
			if over := e.exceeded(x); e.allow && over != "" {
				notes = append(notes, fmt.Sprintf("%s %s", e.place, over))
				continue
			}
			return p.decision(e.allow, e.place, e.line, e.approval, what)
		}
	}
	return p.none(what, x.Task, notes)
}

// exceeded says which bound of the entry an execution is over, or "".
func (e *compiledExecution) exceeded(x Execution) string {
	if e.maxTimeout > 0 && time.Duration(x.TimeoutSeconds)*time.Second > e.maxTimeout {
		return fmt.Sprintf("allows a timeout of at most %s", e.maxTimeout)
	}
	for _, name := range x.Secrets {
		if !e.secrets.match(name) {
			return fmt.Sprintf("gives the agent no key of Secret %q: its secrets would have to list it", name)
		}
	}
	for name, most := range e.limits {
		asked, err := resource.ParseQuantity(x.Limits[name])
		if err != nil {
			return fmt.Sprintf("needs a limit of at most %s for %s", most.String(), name)
		}
		if asked.Cmp(most) > 0 {
			return fmt.Sprintf("allows at most %s of %s", most.String(), name)
		}
	}
	return ""
}
