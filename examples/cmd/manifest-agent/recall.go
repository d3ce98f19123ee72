package main

import (
	"regexp"
	"strings"
)

// taughtValues finds the values that a memory names for the field, in the order
// of its text. It knows three ways to say it: this program's own summaries
// ("resources.limits.memory of Deployment eventing/filter to 512Mi"), Graf's summary of a change ("memory
// limit 128Mi → 512Mi", "resources limits added: {"memory":"512Mi"}"), and YAML.
func taughtValues(m recalled, field path) []string {
	// Only what was done counts: not what was asked, nor what an attempt tried
	// and failed with.
	if m.kind != "outcome" && m.kind != "diff" || strings.Contains(m.text, "Result: failed") {
		return nil
	}
	text := withoutTries(m.text)
	var values []string
	for _, expression := range expressions(field) {
		for _, match := range expression.FindAllStringSubmatch(text, -1) {
			values = append(values, strings.Trim(match[1], `"'.,;`))
		}
	}
	return values
}

func withoutTries(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Asked:") || strings.HasPrefix(line, "Why:") || strings.HasPrefix(line, "Attempt ") ||
			strings.HasPrefix(line, "-") {
			continue
		}
		kept.WriteString(line)
	}
	return kept.String()
}

func expressions(field path) []*regexp.Regexp {
	suffix := field.afterList()
	list := []*regexp.Regexp{
		regexp.MustCompile(regexp.QuoteMeta(suffix.String()) + `(?:(?: of \S+ \S+)? to |=|: | is )(\S+)`),
	}
	if len(suffix) == 3 && suffix[0].key == "resources" {
		limits, name := regexp.QuoteMeta(suffix[1].key), regexp.QuoteMeta(suffix[2].key)
		list = append(list,
			regexp.MustCompile(`\b`+name+` `+strings.TrimSuffix(limits, "s")+` (?:\S+ → |added: )(\S+)`),
			regexp.MustCompile(limits+` added: \{[^}]*"`+name+`":"([^"]+)"`),
			regexp.MustCompile(`(?m)^[+ ]*`+limits+`:\n(?:[+ ]+[a-z/.-]+: \S+\n)*?[+ ]+`+name+`: (\S+)`),
		)
	}
	return list
}

// afterList is the part of a path after the last item of a list: what is the
// same of another resource's field.
func (p path) afterList() path {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].selectKey != "" {
			return p[i+1:]
		}
	}
	return p
}
