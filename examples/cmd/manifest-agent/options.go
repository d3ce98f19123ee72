package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// options say what to change and why.
type options struct {
	kind, namespace, name string
	field                 path
	value                 string // empty with valueFromMemory
	reason, lesson        string
	valueFromMemory       bool
	heedFailure           bool
}

func parseOptions(arguments []string, usage io.Writer) (options, error) {
	var o options
	var set string
	flags := flag.NewFlagSet("manifest-agent", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&o.kind, "kind", "Deployment", "kind of the resource to change")
	flags.StringVar(&o.namespace, "namespace", "", "its namespace; only needed where the name is not enough")
	flags.StringVar(&o.name, "name", "", "its name")
	flags.StringVar(&set, "set", "", "what to set: FIELD=VALUE, or FIELD alone with -value-from-memory;\n"+
		"such as spec.template.spec.containers[name=web].resources.limits.memory=512Mi")
	flags.StringVar(&o.reason, "reason", "", "why, in a sentence")
	flags.StringVar(&o.lesson, "lesson", "", "what later tasks should know of this one")
	flags.BoolVar(&o.valueFromMemory, "value-from-memory", false, "take the value from what earlier tasks taught about the field")
	flags.BoolVar(&o.heedFailure, "heed-failure", false, "if the last attempt's value was too small, take the smallest valid one")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: every setting is a flag", flags.Arg(0))
	}
	field, value, hasValue := cutValue(set)
	switch {
	case o.name == "":
		return options{}, errors.New("--name is missing: say which resource to change")
	case set == "":
		return options{}, errors.New("--set is missing: say which field to set, as FIELD=VALUE")
	case o.valueFromMemory && hasValue:
		return options{}, errors.New("--set has a value and --value-from-memory is given: leave one of them out")
	case !o.valueFromMemory && value == "":
		return options{}, fmt.Errorf("--set %s has no value: add =VALUE, or give --value-from-memory", set)
	}
	o.value = value
	var err error
	if o.field, err = parsePath(field); err != nil {
		return options{}, fmt.Errorf("--set: %w", err)
	}
	return o, nil
}

// cutValue splits FIELD=VALUE at the first "=" that is not in brackets.
func cutValue(set string) (field, value string, found bool) {
	depth := 0
	for i, r := range set {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '=' && depth == 0:
			return set[:i], strings.TrimSpace(set[i+1:]), true
		}
	}
	return set, "", false
}
