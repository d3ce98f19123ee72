package callback

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/graf-run/graf/shared/auth"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// Reporter is who holds a task's token.
type Reporter struct {
	TaskID uuid.UUID
	// Attempt is the one whose execution holds the token, 0 for whoever
	// submitted the task: they speak of the task as it is.
	Attempt int
	// Salt is that for the digests of Secrets in the task's snapshots.
	Salt []byte
	// BudgetTokens and BudgetUSD are what the task may use, nil for no bound.
	BudgetTokens *int64
	BudgetUSD    *float64
}

// String is what the token was issued to: "attempt 2" or "submitter".
func (r Reporter) String() string {
	if r.Attempt == 0 {
		return "submitter"
	}
	return "attempt " + strconv.Itoa(r.Attempt)
}

// Reporters knows the tasks' tokens.
type Reporters struct {
	pool    *pgxpool.Pool
	callers auth.Callers
}

// Authenticate finds the reporter by the request's bearer token. Its errors are
// of kind ErrUnauthenticated, or ErrForbidden for an API token, which is good
// elsewhere. The token of a task that has ended still tells whose it is, so that
// its holder can be told of the end.
func (rs *Reporters) Authenticate(ctx context.Context, r *http.Request) (Reporter, error) {
	token, err := auth.Bearer(r)
	if err != nil {
		return Reporter{}, err
	}
	if _, ok := rs.callers.Lookup(token); ok {
		return Reporter{}, problem.ErrForbidden.With("This needs the task's own token; an API token is not enough.")
	}
	if !auth.IsTaskToken(token) {
		return Reporter{}, errUnknownToken()
	}
	hash := auth.HashToken(token)
	row, err := query.New(rs.pool).FindReporter(ctx, hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return Reporter{}, errUnknownToken()
	}
	if err != nil {
		return Reporter{}, fmt.Errorf("look up the task's token: %w", postgres.Classify(err))
	}
	if subtle.ConstantTimeCompare(row.TokenHash, hash) != 1 {
		return Reporter{}, errUnknownToken()
	}
	return Reporter{
		TaskID: row.TaskID, Attempt: attemptOf(row.IssuedTo), Salt: row.ManifestSalt,
		BudgetTokens: row.BudgetTokens, BudgetUSD: row.BudgetUsd,
	}, nil
}

func errUnknownToken() error { return problem.ErrUnauthenticated.With("The token is not known.") }

// attemptOf reads what a token was issued to, "attempt 2" or "submitter".
func attemptOf(issuedTo string) int {
	number, ok := strings.CutPrefix(issuedTo, "attempt ")
	if !ok {
		return 0
	}
	attempt, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return attempt
}
