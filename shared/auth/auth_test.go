package auth_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/problem"
)

func TestParseCallers(t *testing.T) {
	t.Parallel()
	callers, err := auth.ParseCallers("alice=alice-secret, bob=Ym9iLXNlY3JldA==\nYmFyZS1zZWNyZXQ== alice=alice-next,,")
	if err != nil {
		t.Fatal(err)
	}
	for token, name := range map[string]string{
		"alice-secret": "alice", "alice-next": "alice", "Ym9iLXNlY3JldA==": "bob", "YmFyZS1zZWNyZXQ==": auth.DefaultCaller,
	} {
		if got, ok := callers.Lookup(token); !ok || got.Name != name {
			t.Errorf("Lookup(%q) = %v, %t, want %s", token, got, ok, name)
		}
	}
	for _, token := range []string{"", "alice", "alice-secre", "alice-secret ", "alice=alice-secret"} {
		if got, ok := callers.Lookup(token); ok {
			t.Errorf("Lookup(%q) = %v, want nobody", token, got)
		}
	}
	if got, want := callers.Names(), []string{"alice", "bob", "default"}; !slices.Equal(got, want) {
		t.Errorf("Names = %v, want %v", got, want)
	}
	if _, ok := (auth.Callers{}).Lookup(""); ok {
		t.Error("no callers know the empty token")
	}
}

func TestParseCallersErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"none", " , ", "no tokens; give at least one as name=token"},
		{"no token", "a=long-enough b=", `entry 2: caller "b" has no token after the equals sign`},
		{"short", "bob=hunter2", `entry 1: the token of caller "bob" is too short: 7 characters, need 8 or more`},
		{"bare and short", "hunter2", `entry 1: the token of caller "default" is too short: 7 characters, need 8 or more`},
		{"name", "b/o=hunter2-hunter2", "entry 1: the name must be 1 to 63 letters, digits, dots, underscores or hyphens"},
		{"no name", "=hunter2-hunter2", "entry 1: the name must be 1 to 63 letters, digits, dots, underscores or hyphens"},
		{"character", "bob=hunter2!hunter2", `entry 1: the token of caller "bob" has a character that a bearer token cannot have; use letters, digits and -._~+/`},
		{"twice", "a=hunter2-hunter2 b=other-token c=hunter2-hunter2", "entry 3: has the same token as entry 1; give each caller its own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var callers auth.Callers
			err := callers.UnmarshalText([]byte(test.text))
			if err == nil || err.Error() != test.want {
				t.Fatalf("error = %v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	callers, err := auth.ParseCallers("alice=alice-secret")
	if err != nil {
		t.Fatal(err)
	}
	taskToken, _ := auth.NewTaskToken()
	tests := []struct {
		name    string
		headers []string
		status  int
	}{
		{"good", []string{"Bearer alice-secret"}, 200},
		{"the scheme has no case", []string{"bearer  alice-secret"}, 200},
		{"none", nil, 401},
		{"another scheme", []string{"Basic YWxpY2U6YWxpY2U="}, 401},
		{"empty", []string{"Bearer "}, 401},
		{"unknown", []string{"Bearer alice-secret2"}, 401},
		{"two tokens", []string{"Bearer alice-secret other"}, 401},
		{"two headers", []string{"Bearer alice-secret", "Bearer alice-secret"}, 401},
		{"a task's", []string{"Bearer " + taskToken}, 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header["Authorization"] = test.headers
			caller, err := callers.Authenticate(r)
			if got := problem.DeliveryStatus(err); got != test.status {
				t.Errorf("status = %d (%v), want %d", got, err, test.status)
			}
			if err == nil && caller.Name != "alice" {
				t.Errorf("caller = %v", caller)
			}
		})
	}
}

func TestTaskToken(t *testing.T) {
	t.Parallel()
	token, hash := auth.NewTaskToken()
	other, _ := auth.NewTaskToken()
	if token == other {
		t.Error("two tokens are the same")
	}
	if !auth.IsTaskToken(token) || auth.IsTaskToken("alice-secret") {
		t.Errorf("IsTaskToken does not know %q", token)
	}
	// 32 bytes are 43 characters of base64.
	if len(token) != len("graf_task_")+43 {
		t.Errorf("token %q has %d characters", token, len(token))
	}
	if !bytes.Equal(hash, auth.HashToken(token)) || len(hash) != 32 {
		t.Errorf("hash %x is not the token's", hash)
	}
}
