package postgres

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/graf-run/graf/shared/problem"
)

// awayCodes are the classes of SQLSTATE with which a server that stops, starts
// or is full turns a client away: connection exception, insufficient resources,
// and the operator interventions but for a cancelled query (57014).
var awayCodes = []string{"08", "53", "57P"}

// away tells whether err says that the database cannot be reached, rather than
// that it refused a statement.
func away(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	code := sqlState(err)
	for _, class := range awayCodes {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// unavailable is the answer while the database is away.
func unavailable(err error) error {
	return problem.ErrUnavailable.With("The database does not answer; try again later.").Because(err)
}

// schemaCodes are the SQLSTATEs of a statement that names what the database has
// not: a table, a column, a function, a schema.
var schemaCodes = []string{"42P01", "42703", "42883", "3F000"}

// unmigrated is the answer of a database that is not at this version's schema.
func unmigrated(err error) error {
	return problem.ErrUnavailable.With("The database is not at this version's schema: migrate it (make deploy does).").Because(err)
}
