package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// tokens are the task tokens that there are, by their hash.
type tokens map[string]query.FindTokenRow

func (t tokens) FindToken(_ context.Context, hash []byte) (query.FindTokenRow, error) {
	if row, ok := t[string(hash)]; ok {
		return row, nil
	}
	return query.FindTokenRow{}, pgx.ErrNoRows
}

// issue makes a token of task.
func (t tokens) issue(task uuid.UUID, ended bool) string {
	token, hash := auth.NewTaskToken()
	t[string(hash)] = query.FindTokenRow{TokenHash: hash, TaskID: task, Ended: ended}
	return token
}

func TestAuthenticateForTask(t *testing.T) {
	t.Parallel()
	callers, err := auth.ParseCallers("alice=alice-secret")
	if err != nil {
		t.Fatal(err)
	}
	task, issued := uuid.Must(uuid.NewV7()), tokens{}
	unknown, _ := auth.NewTaskToken()
	tests := []struct {
		name, token   string
		either, alone int // AuthenticateForTask, AuthenticateTask
		holder        string
	}{
		{"API token", "alice-secret", 200, 403, "alice"},
		{"the task's own", issued.issue(task, false), 200, 200, "task:" + task.String()},
		{"another task's", issued.issue(uuid.Must(uuid.NewV7()), false), 403, 403, ""},
		{"expired", issued.issue(task, true), 401, 401, ""},
		{"unknown task token", unknown, 401, 401, ""},
		{"unknown", "bob-secret", 401, 401, ""},
		{"none", "", 401, 401, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			if test.token != "" {
				r.Header.Set("Authorization", "Bearer "+test.token)
			}
			holder, err := callers.AuthenticateForTask(r, issued, task)
			if got := problem.DeliveryStatus(err); got != test.either || holder.Name != test.holder {
				t.Errorf("for the task: %d, %+v (%v), want %d, %s", got, holder, err, test.either, test.holder)
			}
			holder, err = callers.AuthenticateTask(r, issued, task)
			if got := problem.DeliveryStatus(err); got != test.alone || (got == 200) != holder.ByTask {
				t.Errorf("the task alone: %d, %+v (%v), want %d", got, holder, err, test.alone)
			}
		})
	}
}

type broken struct{ error }

func (b broken) FindToken(context.Context, []byte) (query.FindTokenRow, error) {
	return query.FindTokenRow{}, b.error
}

func TestAuthenticateForTaskDatabaseFails(t *testing.T) {
	t.Parallel()
	token, _ := auth.NewTaskToken()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	cause := errors.New("broken")
	if _, err := (auth.Callers{}).AuthenticateForTask(r, broken{cause}, uuid.Nil); !errors.Is(err, cause) || problem.Status(err) != 500 {
		t.Errorf("error %v, want the database's", err)
	}
}
