package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Mistake is what is wrong with a policy, and where.
type Mistake struct {
	// Line and Column count from 1; 0 where they are not known.
	Line, Column int
	Message      string
}

// String is "line 3, column 7: …".
func (m Mistake) String() string {
	switch {
	case m.Line == 0:
		return m.Message
	case m.Column == 0:
		return fmt.Sprintf("line %d: %s", m.Line, m.Message)
	default:
		return fmt.Sprintf("line %d, column %d: %s", m.Line, m.Column, m.Message)
	}
}

// SyntaxError is all that is wrong with a policy.
type SyntaxError struct{ Mistakes []Mistake }

// Error has a line for each mistake.
func (e *SyntaxError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, mistake := range e.Mistakes {
		lines[i] = mistake.String()
	}
	return "the policy is not valid: " + strings.Join(lines, "; ")
}

// Parse reads and checks a policy. Its error is a *SyntaxError with every mistake that was found.
func Parse(text []byte) (*Policy, error) {
	if len(text) > MaxBytes {
		return nil, &SyntaxError{[]Mistake{{Message: fmt.Sprintf("it has %d bytes, at most %d are allowed", len(text), MaxBytes)}}}
	}
	var written document
	var root yaml.Node
	if mistakes := decode(text, &written, &root); len(mistakes) > 0 {
		return nil, &SyntaxError{mistakes}
	}
	c := checker{root: &root}
	rules := c.rules(written.Rules)
	if len(c.mistakes) > 0 {
		slices.SortStableFunc(c.mistakes, func(a, b Mistake) int { return a.Line - b.Line })
		return nil, &SyntaxError{c.mistakes}
	}
	return &Policy{Version: versionOf(text), Text: string(text), rules: rules}, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

func decode(text []byte, into *document, root *yaml.Node) []Mistake {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	err := decoder.Decode(into)
	if err == nil {
		if extra := decoder.Decode(new(document)); !errors.Is(extra, io.EOF) {
			return []Mistake{{Message: "a policy is one YAML document, and this has more"}}
		}
		if err := yaml.Unmarshal(text, root); err != nil {
			return []Mistake{{Message: err.Error()}}
		}
		return nil
	}
	if errors.Is(err, io.EOF) { // Nothing but comments: it denies everything.
		return nil
	}
	messages := []string{err.Error()}
	if all, ok := errors.AsType[*yaml.TypeError](err); ok {
		messages = all.Errors
	}
	var mistakes []Mistake
	for _, message := range messages {
		mistakes = append(mistakes, yamlMistake(message))
	}
	return mistakes
}

func yamlMistake(message string) Mistake {
	found := yamlLine.FindStringSubmatch(message)
	if found == nil {
		return Mistake{Message: strings.TrimPrefix(message, "yaml: ")}
	}
	line, _ := strconv.Atoi(found[1]) // It is digits.
	return Mistake{Line: line, Message: found[2]}
}

// checker turns a document into what decides, and notes every mistake with its place.
type checker struct {
	root     *yaml.Node
	mistakes []Mistake
}

// place is the way to a value: names of fields and numbers of items.
type place []any

func (p place) to(steps ...any) place { return append(slices.Clone(p), steps...) }

// node finds the value at a place, or the nearest one around it.
func (c *checker) node(p place) *yaml.Node {
	node := c.root
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, step := range p {
		next := child(node, step)
		if next == nil {
			return node
		}
		node = next
	}
	return node
}

func child(node *yaml.Node, step any) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch step := step.(type) {
	case int:
		if node.Kind == yaml.SequenceNode && step < len(node.Content) {
			return node.Content[step]
		}
	case string:
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	}
	return nil
}

func (c *checker) refuse(at place, format string, values ...any) {
	node := c.node(at)
	c.mistakes = append(c.mistakes, Mistake{node.Line, node.Column, fmt.Sprintf(format, values...)})
}

var ruleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (c *checker) rules(written []rule) []compiledRule {
	compiled := make([]compiledRule, 0, len(written))
	named := map[string]bool{}
	for i, r := range written {
		at := place{"rules", i}
		switch {
		case !ruleName.MatchString(r.Name):
			c.refuse(at.to("name"), "a rule needs a name of lower-case letters, digits and hyphens, such as web-team")
		case named[r.Name]:
			c.refuse(at.to("name"), "an earlier rule is named %q", r.Name)
		}
		named[r.Name] = true
		if len(r.Callers) == 0 {
			c.refuse(at.to("callers"), `rule %q is for nobody: list callers, or "*" for all`, r.Name)
		}
		if len(r.Resources)+len(r.Executions) == 0 {
			c.refuse(at, "rule %q has neither resources nor executions", r.Name)
		}
		compiled = append(compiled, compiledRule{
			name: r.Name, line: c.node(at).Line, callers: c.patterns(r.Callers, at.to("callers"), nil),
			projects:  c.patterns(orAny(r.Projects), at.to("projects"), nil),
			when:      c.expression(r.When, scopeRule, at.to("when")),
			resources: c.resources(r, at), executions: c.executions(r, at),
		})
	}
	return compiled
}

func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{"*"}
	}
	return list
}

func (c *checker) resources(r rule, at place) []compiledResource {
	var compiled []compiledResource
	for i, e := range r.Resources {
		at := at.to("resources", i)
		c.effect(e.Effect, at)
		c.present("verbs", e.Verbs, at)
		c.present("apiGroups", e.APIGroups, at)
		c.present("kinds", e.Kinds, at)
		if len(e.Namespaces) == 0 && !e.Cluster {
			c.refuse(at, "list namespaces, or say clusterScoped: true for resources of the whole cluster")
		}
		compiled = append(compiled, compiledResource{
			place: place{r.Name, "resources", i}, line: c.node(at).Line,
			allow: e.Effect != Deny, force: e.Force, clusterScoped: e.Cluster,
			verbs:      c.patterns(e.Verbs, at.to("verbs"), append(Verbs(), "*")),
			apiGroups:  c.patterns(e.APIGroups, at.to("apiGroups"), nil),
			kinds:      c.patterns(e.Kinds, at.to("kinds"), nil),
			namespaces: c.patterns(e.Namespaces, at.to("namespaces"), nil),
			names:      c.patterns(orAny(e.Names), at.to("names"), nil),
			when:       c.expression(e.When, scopeResource, at.to("when")),
			approval:   c.approval(e.Approval, e.Effect, at.to("approval")),
		})
	}
	return compiled
}

func (c *checker) executions(r rule, at place) []compiledExecution {
	var compiled []compiledExecution
	for i, e := range r.Executions {
		at := at.to("executions", i)
		c.effect(e.Effect, at)
		if e.MaxTimeout < 0 {
			c.refuse(at.to("maxTimeout"), "must be longer than zero, for example 30m")
		}
		limits := map[string]resource.Quantity{}
		for name, text := range e.Limits {
			quantity, err := resource.ParseQuantity(text)
			if err != nil {
				c.refuse(at.to("limits", name), "%q is no Kubernetes quantity, such as 500m or 2Gi", text)
			}
			limits[name] = quantity
		}
		compiled = append(compiled, compiledExecution{
			place: place{r.Name, "executions", i}, line: c.node(at).Line, allow: e.Effect != Deny,
			modes:      c.patterns(orAny(e.Modes), at.to("modes"), []string{"direct", "argo", "temporal", "*"}),
			images:     c.patterns(orAny(e.Images), at.to("images"), nil),
			secrets:    c.patterns(e.Secrets, at.to("secrets"), nil),
			maxTimeout: e.MaxTimeout, limits: limits,
			when:     c.expression(e.When, scopeExecution, at.to("when")),
			approval: c.approval(e.Approval, e.Effect, at.to("approval")),
		})
	}
	return compiled
}

func (c *checker) present(name string, list []string, at place) {
	if len(list) == 0 {
		c.refuse(at, `%s is missing: list them, or "*" for all`, name)
	}
}

func (c *checker) effect(e Effect, at place) {
	if e != "" && e != Allow && e != Deny {
		c.refuse(at.to("effect"), "%q is no effect: write allow or deny", e)
	}
}

// patterns checks a list; known are the only values allowed, if not nil.
func (c *checker) patterns(list []string, at place, known []string) patterns {
	for i, text := range list {
		if known != nil && !slices.Contains(known, text) {
			c.refuse(at.to(i), "%q is none of %s", text, strings.Join(known, ", "))
		}
	}
	return list
}

func (c *checker) approval(a *approval, effect Effect, at place) *approval {
	switch {
	case a == nil:
		return nil
	case effect == Deny:
		c.refuse(at, "what is denied cannot be approved: leave out approval, or the effect")
	case len(a.Approvers) == 0:
		c.refuse(at, "nobody can approve: list approvers")
	}
	return a
}

func (c *checker) expression(text string, in scope, at place) expression {
	compiled, faults := compile(text, in)
	node := c.node(at)
	for _, f := range faults {
		m := Mistake{Line: node.Line + f.line - 1, Column: node.Column + f.column, Message: f.message}
		if node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 { // The text begins on the line below.
			m.Line, m.Column = m.Line+1, 0
		} else if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			m.Column++
		}
		c.mistakes = append(c.mistakes, m)
	}
	return compiled
}
