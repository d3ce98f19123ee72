package finalize

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/delivery"
	"github.com/graf-run/graf/shared/event"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/problem"
)

// handleDeadLetter keeps an event that no subscriber took, with the reason that
// Knative's dispatcher adds as the extensions knativeerrordest, -code and -data.
func (f *Finalizer) handleDeadLetter(w http.ResponseWriter, r *http.Request) {
	e, err := delivery.Read(w, r)
	if err != nil {
		problem.WriteDelivery(w, r, err)
		return
	}
	letter, err := deadLetter(e)
	if err != nil {
		problem.WriteDelivery(w, r, err)
		return
	}
	if err := query.New(f.pool).InsertDeadLetter(r.Context(), letter); err != nil {
		problem.WriteDelivery(w, r, fmt.Errorf("keep a dead letter: %w", err))
		return
	}
	f.log.ErrorContext(r.Context(), "dead letter", "id", letter.ID, "type", letter.Type, "subject", letter.Subject,
		"destination", letter.Destination, "code", letter.ErrorCode, "error", letter.Error)
	w.WriteHeader(http.StatusNoContent)
}

func deadLetter(e event.Event) (query.InsertDeadLetterParams, error) {
	encoded, err := json.Marshal(e)
	if err != nil {
		return query.InsertDeadLetterParams{}, fmt.Errorf("encode a dead letter: %w", err)
	}
	letter := query.InsertDeadLetterParams{
		ID: uuid.Must(uuid.NewV7()), EventID: e.ID(), Source: e.Source(), Type: e.Type(), Subject: e.Subject(),
		Destination: extension(e, "knativeerrordest"), Error: reason(extension(e, "knativeerrordata")), Event: encoded,
	}
	if code, err := strconv.ParseInt(extension(e, "knativeerrorcode"), 10, 32); err == nil {
		c := int32(code)
		letter.ErrorCode = &c
	}
	return letter, nil
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
	return clip(strings.ReplaceAll(strings.ToValidUTF8(string(decoded), ""), "\x00", ""), maxReason)
}
