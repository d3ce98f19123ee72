package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// TaskTokens finds a task's token by its hash; *query.Queries is the real one.
// Its error is pgx.ErrNoRows for a token that there is not.
type TaskTokens interface {
	FindToken(ctx context.Context, hash []byte) (query.FindTokenRow, error)
}

// Holder is who holds the token of a request about one task.
type Holder struct {
	// Name is the caller's name, or task:<id> for an execution of that task,
	// which no caller can be called.
	Name string
	// ByTask is whether it was the task's own token.
	ByTask bool
}

// AuthenticateForTask lets a request about task pass with an API token or with
// that task's own token. Its errors are of kind ErrUnauthenticated for a token
// that is not known or died with its task, ErrForbidden for another task's;
// any other is that of tokens.
func (c Callers) AuthenticateForTask(r *http.Request, tokens TaskTokens, task uuid.UUID) (Holder, error) {
	token, err := Bearer(r)
	if err != nil {
		return Holder{}, err
	}
	if caller, ok := c.Lookup(token); ok {
		return Holder{Name: caller.Name}, nil
	}
	return authenticateTask(r.Context(), token, tokens, task)
}

// AuthenticateTask lets a request about task pass with that task's own token
// alone. Its errors are those of AuthenticateForTask, and of kind ErrForbidden
// for an API token, which is good elsewhere.
func (c Callers) AuthenticateTask(r *http.Request, tokens TaskTokens, task uuid.UUID) (Holder, error) {
	token, err := Bearer(r)
	if err != nil {
		return Holder{}, err
	}
	if _, ok := c.Lookup(token); ok {
		return Holder{}, problem.ErrForbidden.With("This needs the task's own token; an API token does not report for a task.")
	}
	return authenticateTask(r.Context(), token, tokens, task)
}

func authenticateTask(ctx context.Context, token string, tokens TaskTokens, task uuid.UUID) (Holder, error) {
	// What cannot be a task's token is not worth a look into the database.
	if !IsTaskToken(token) {
		return Holder{}, problem.ErrUnauthenticated.With("The token is not known.")
	}
	hash := HashToken(token)
	found, err := tokens.FindToken(ctx, hash)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Holder{}, problem.ErrUnauthenticated.With("The token is not known.")
	case err != nil:
		return Holder{}, fmt.Errorf("find the task's token: %w", postgres.Classify(err))
	case subtle.ConstantTimeCompare(hash, found.TokenHash) != 1:
		return Holder{}, problem.ErrUnauthenticated.With("The token is not known.")
	case found.Ended:
		return Holder{}, problem.ErrUnauthenticated.With("The token has expired: its task has ended.")
	case found.TaskID != task:
		return Holder{}, problem.ErrForbidden.With("This is another task's token.")
	}
	return Holder{Name: "task:" + task.String(), ByTask: true}, nil
}
