package finalize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/outbox"
	"github.com/graf-run/graf/shared/postgres"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// maxColumn bounds an attribute in bytes; three of them are the key of an index,
// whose entries Postgres bounds.
const maxColumn = 512

// handleDeadLetter keeps an event that no subscriber took, with the reason that
// Knative's dispatcher adds as the extensions knativeerrordest, -code and -data.
func (f *Finalizer) handleDeadLetter(w http.ResponseWriter, r *http.Request) {
	e, err := delivery.Read(w, r)
	if err != nil {
		problem.WriteDelivery(w, r, err)
		return
	}
	if err := f.bury(r.Context(), e, deadLetter(e)); err != nil {
		problem.WriteDelivery(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// giveUp makes dead letters of events that the Broker itself has refused for so long that it will not take them any more.
func (f *Finalizer) giveUp(ctx context.Context, refused []outbox.Refusal) error {
	var errs []error
	for _, r := range refused {
		if time.Since(r.Since) < refusedAge {
			continue
		}
		letter := deadLetter(r.Event)
		letter.Destination, letter.Error = column(f.config.Sink.URL), clip(postgres.Text(r.Reason.Error()), maxReason)
		letter.ErrorCode = new(int32(r.Reason.Status)) //nolint:gosec // an HTTP status
		err := f.bury(ctx, r.Event, letter)
		if err == nil {
			err = f.outbox.Drop(ctx, r)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// bury keeps a letter and says so.
func (f *Finalizer) bury(ctx context.Context, e event.Event, letter query.InsertDeadLetterParams) error {
	if err := f.keep(ctx, e, letter); err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	f.log.ErrorContext(ctx, "dead letter", "id", letter.ID, "type", letter.Type, "subject", letter.Subject,
		"destination", letter.Destination, "code", letter.ErrorCode, "error", letter.Error)
	return nil
}

// keep stores a letter with its event as it is, but for resources, which are reduced.
// Data that neither JSON nor Postgres can hold, which may be why nobody took the
// event, is kept in base64: sent again, the event is the same.
func (f *Finalizer) keep(ctx context.Context, e event.Event, letter query.InsertDeadLetterParams) error {
	for _, name := range []string{extensionDestination, extensionCode, extensionReason, event.ExtensionReplayOf} {
		e.SetExtension(name, nil)
	}
	reduce(&e)
	var err error
	if letter.Event, err = json.Marshal(e); err == nil {
		err = query.New(f.pool).InsertDeadLetter(ctx, letter)
		if err == nil || !unstorable(err) {
			return err
		}
	}
	e.Context, e.DataBase64 = e.Context.AsV1(), true
	encoded, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	letter.Event = bytes.ToValidUTF8(encoded, []byte("\uFFFD")) // of attributes
	return query.New(f.pool).InsertDeadLetter(ctx, letter)
}

// unstorable reports whether Postgres refuses the values themselves: data
// exceptions, such as a wrong encoding, and limits, such as that of nesting.
func unstorable(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(refused.Code, "22") || strings.HasPrefix(refused.Code, "54"))
}

// Extensions that Knative's dispatcher adds to a dead letter. They have columns
// of their own, and are no part of the event that is sent again.
const (
	extensionDestination = "knativeerrordest"
	extensionCode        = "knativeerrorcode"
	extensionReason      = "knativeerrordata"
)

func deadLetter(e event.Event) query.InsertDeadLetterParams {
	letter := query.InsertDeadLetterParams{
		ID: uuid.Must(uuid.NewV7()), EventID: column(e.ID()), Source: column(e.Source()), Type: column(e.Type()),
		Subject: column(e.Subject()), Destination: column(extension(e, extensionDestination)),
		Error: reason(extension(e, extensionReason)),
	}
	if code, err := strconv.ParseInt(extension(e, extensionCode), 10, 32); err == nil {
		c := int32(code)
		letter.ErrorCode = &c
	}
	if replayed, err := uuid.Parse(extension(e, event.ExtensionReplayOf)); err == nil {
		letter.ReplayOf = &replayed
	}
	return letter
}

// column makes of an attribute what Postgres can hold and index. The digest
// keeps one that had to be changed apart from others.
func column(attribute string) string {
	kept := postgres.Text(attribute)
	if kept == attribute && len(kept) <= maxColumn {
		return kept
	}
	return fmt.Sprintf("%s sha256:%x", clip(kept, maxColumn-80), sha256.Sum256([]byte(attribute)))
}

func extension(e event.Event, name string) string {
	switch v := e.Extensions()[name].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// reason reads knativeerrordata: the subscriber's answer, in base64 if it has
// characters that a header cannot carry.
func reason(data string) string {
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil || !utf8.Valid(decoded) {
		decoded = []byte(data)
	}
	return clip(postgres.Text(string(decoded)), maxReason)
}
