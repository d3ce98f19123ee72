package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graf-run/graf/shared/problem"
)

// Operators are the names of the callers who look after Graf itself: dead
// letters, and the memories of others. The zero value has none.
type Operators []string

// UnmarshalText reads callers' names, apart by commas or white space.
func (o *Operators) UnmarshalText(text []byte) error {
	names := strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r <= ' ' })
	for i, name := range names {
		if !namePattern.MatchString(name) {
			return fmt.Errorf("entry %d: %q is no caller's name", i+1, name)
		}
	}
	*o = names
	return nil
}

// Has tells whether a caller is an operator.
func (o Operators) Has(caller string) bool { return slices.Contains(o, caller) }

// Require is nil for an operator, and problem.ErrForbidden for others.
func (o Operators) Require(caller string) error {
	if o.Has(caller) {
		return nil
	}
	return problem.ErrForbidden.With("This is for operators; caller %s is none (GRAF_OPERATORS).", caller)
}
