package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graf-run/graf/shared/problem"
)

var (
	// ErrClosed says that the task takes no more reports: it has ended, the attempt is
	// over, or the token is not the task's.
	ErrClosed = errors.New("the task takes no more reports")
	// errInvalid says that Graf does not understand an event, and never will.
	errInvalid = errors.New("not understood")
)

// What is tried again is so after a second, two, four, up to half a minute.
const (
	firstDelay     = time.Second
	lastDelay      = 30 * time.Second
	requestTimeout = 30 * time.Second
	maxAnswer      = 64 << 10
)

// client follows no redirect: it would make a GET of the report, and take the token elsewhere.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Sender sends a spool's events to a callback function.
type Sender struct {
	// URL is the contract's GRAF_CALLBACK_URL, Token its GRAF_CALLBACK_TOKEN.
	URL, Token string
	Log        *slog.Logger
	// BudgetSpent is told when an answer says that the task's budget is spent, and by what, each time.
	BudgetSpent func(what string)
	// Hurry passes over what a task can do without, its log and progress: there is no time for all.
	Hurry bool
	// Skipped counts the events that Graf did not understand, PassedOver those that there was no time for.
	Skipped, PassedOver int
	// delay is that before the next try.
	delay time.Duration
}

// Run sends what is in the spool and what is added to it, until the context is
// done: with a nil error then. It fails with ErrClosed when no report is taken any
// more, or if the spool cannot be read.
func (s *Sender) Run(ctx context.Context, spool *Spool) error {
	for {
		if err := s.Drain(ctx, spool); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was to end
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-spool.added:
		}
	}
}

// Drain sends all that is in the spool. It fails if the context is done before.
func (s *Sender) Drain(ctx context.Context, spool *Spool) error {
	most := maxBatch
	s.delay = 0
	for {
		b, err := spool.next(most)
		if err != nil || b.count == 0 {
			return err
		}
		lines := b.lines
		if s.Hurry {
			lines = essential(lines)
			s.PassedOver += b.count - bytes.Count(lines, []byte{'\n'})
		}
		if err = nil; len(lines) > 0 {
			err = s.send(ctx, lines)
		}
		switch {
		case errors.Is(err, errInvalid) && b.count > 1:
			most = 1 // to find the one
			continue
		case errors.Is(err, errInvalid):
			s.Skipped++
			s.Log.WarnContext(ctx, "an event was skipped", "error", err, "event", string(clip(b.lines)))
		case err != nil:
			return err
		}
		if err := spool.remove(b); err != nil {
			return err
		}
		if s.delay = 0; spool.Waiting() == 0 {
			return nil
		}
		most = min(maxBatch, most*2)
	}
}

// essential leaves out the lines of events that a task can do without.
func essential(lines []byte) []byte {
	const head = 256 // which has an event's id and type
	var kept []byte
	for line := range bytes.Lines(lines) {
		beginning := line[:min(len(line), head)]
		if !slices.ContainsFunc(dispensable, func(kind []byte) bool { return bytes.Contains(beginning, kind) }) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// dispensable are the fields of events that a task can do without.
var dispensable = [][]byte{[]byte(`"eventType":"log"`), []byte(`"eventType":"progress"`), []byte(`"eventType":"heartbeat"`)}

// Send sends an event that found no room in the spool. It fails if the context is
// done before, with ErrClosed, or if Graf does not understand it.
func (s *Sender) Send(ctx context.Context, e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	return s.send(ctx, append(line, '\n'))
}

// send sends lines until Graf has them.
func (s *Sender) send(ctx context.Context, lines []byte) error {
	for {
		wait, err := s.try(ctx, lines)
		if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, errInvalid) {
			return err
		}
		s.delay = min(max(firstDelay, 2*s.delay), lastDelay)
		if wait == 0 {
			wait = s.delay/2 + rand.N(s.delay/2+1) //nolint:gosec // not for secrecy
		}
		s.Log.DebugContext(ctx, "Graf is away; trying again", "error", err, "wait", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the last try: %w", context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}

// try sends lines once. wait is what the answer asks for, if it does.
func (s *Sender) try(ctx context.Context, lines []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(lines))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	request.Header.Set("Authorization", "Bearer "+s.Token)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if err := judge(response, answer); err != nil {
		return retryAfter(response.Header), err
	}
	s.hear(answer)
	return 0, nil
}

// hear takes from an answer what concerns the agent. One that is not understood is of no concern: the lines were taken.
func (s *Sender) hear(answer []byte) {
	var accepted struct {
		BudgetSpent string `json:"budgetSpent"`
	}
	if json.Unmarshal(answer, &accepted) == nil && accepted.BudgetSpent != "" && s.BudgetSpent != nil {
		s.BudgetSpent(accepted.BudgetSpent)
	}
}

// judge tells by the status whether a request was taken, is to be sent again, or is
// of no use.
func judge(response *http.Response, answer []byte) error {
	status := response.StatusCode
	if status >= 200 && status < 300 && (len(answer) == 0 || json.Valid(answer)) {
		return nil
	}
	// Others may answer with such a status, too, as a login page does; or with another address, where the token must not go.
	err := fmt.Errorf("status %d%s: %s", status, elsewhere(response.Header), clip(bytes.TrimSpace(answer)))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusGone:
		if isGraf(response.Header, answer) {
			return fmt.Errorf("%w: %w", ErrClosed, err)
		}
		return err // of something between, such as an ingress that has no route yet
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	}
	if status >= 400 && status < 500 {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	return err
}

// elsewhere tells what an answer points to, so that who set the address can mend it.
func elsewhere(header http.Header) string {
	if to := header.Get("Location"); to != "" {
		return ", to " + to
	}
	return ""
}

// isGraf says whether an answer is Graf's own word: a problem document of a kind of its.
func isGraf(header http.Header, answer []byte) bool {
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	var doc problem.Problem
	return err == nil && mediaType == problem.ContentType && json.Unmarshal(answer, &doc) == nil &&
		strings.HasPrefix(doc.Type, "urn:graf:problem:")
}

// retryAfter reads how long to wait, in seconds; dates are not what Graf writes.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, lastDelay)
}

// clip is the beginning of a text, for a message.
func clip(text []byte) []byte {
	const most = 512
	return text[:min(len(text), most)]
}
