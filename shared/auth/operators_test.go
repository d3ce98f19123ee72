package auth_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/problem"
)

func TestOperators(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"": {}, " , ": {}, "ops": {"ops"}, "ops, alice\tbob\n": {"ops", "alice", "bob"},
	} {
		var got auth.Operators
		if err := got.UnmarshalText([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"*", "ops=token", "a b/c"} {
		if err := new(auth.Operators).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	var nobody auth.Operators
	if err := nobody.Require("ops"); !errors.Is(err, problem.ErrForbidden) {
		t.Errorf("no operators: %v, want ErrForbidden", err)
	}
	if err := (auth.Operators{"ops"}).Require("ops"); err != nil {
		t.Error(err)
	}
}
