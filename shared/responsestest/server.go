// Package responsestest serves OpenAI's Responses API on loopback by a script, so
// that tests run real agents without a model: each request is answered with the
// next turn, and is kept to be looked at. Only tests import it.
package responsestest

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server answers by its script.
type Server struct {
	// URL is the base of the API, which ends in /v1.
	URL string

	t     testing.TB
	mu    sync.Mutex
	turns []Turn
	asked []Request
}

// Request is one that the server was sent.
type Request struct {
	// Authorization is that header's value.
	Authorization string
	// Input is the conversation so far.
	Input []Item
	// Body is all of it.
	Body json.RawMessage
}

// Item is a part of a conversation; the fields are those of the API.
type Item struct {
	Type      string          `json:"type"`
	Role      string          `json:"role"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Content   json.RawMessage `json:"content"`
	Output    json.RawMessage `json:"output"`
}

// New starts a server that answers with turns, in their order; it is stopped at the
// test's end. A request beyond the last turn fails the test and is answered 500.
func New(t testing.TB, turns ...Turn) *Server {
	t.Helper()
	return NewOn(t, func(handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
		})
		return server.URL
	}, turns...)
}

// NewOn starts one likewise, where serve serves it, which gives its URL.
func NewOn(t testing.TB, serve func(handler http.Handler) (url string), turns ...Turn) *Server {
	t.Helper()
	s := &Server{t: t, turns: turns}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/responses", s.respond)
	s.URL = serve(mux) + "/v1"
	return s
}

// Requests are those that were sent until now, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.asked...)
}

// Left is how many turns nobody has asked for.
func (s *Server) Left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.turns) - min(len(s.asked), len(s.turns))
}

// Outputs are what the tools answered that were called until this request, oldest
// first, each as its text.
func (r Request) Outputs() []string {
	var outputs []string
	for _, item := range r.Input {
		if strings.HasSuffix(item.Type, "_call_output") {
			outputs = append(outputs, textOf(item.Output))
		}
	}
	return outputs
}

// textOf is the text of an output, which is a string or a list of parts.
func textOf(output json.RawMessage) string {
	var text string
	if json.Unmarshal(output, &text) == nil {
		return text
	}
	var parts []struct{ Text string }
	if json.Unmarshal(output, &parts) == nil {
		for _, part := range parts {
			text += part.Text
		}
		return text
	}
	return string(output)
}

func (s *Server) respond(w http.ResponseWriter, r *http.Request) {
	turn, number, err := s.take(r)
	if err != nil {
		refuse(w, Turn{Status: http.StatusInternalServerError, Code: "server_error"}, err.Error())
		return
	}
	select {
	case <-r.Context().Done():
		return
	case <-time.After(turn.Delay):
	}
	if turn.Status != 0 {
		refuse(w, turn, "The script says "+turn.Code+".")
		return
	}
	events, err := turn.events(number)
	if err != nil {
		s.t.Errorf("responsestest: turn %d: %v", number, err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range events {
		data, err := json.Marshal(event)
		if err != nil {
			s.t.Errorf("responsestest: turn %d: %v", number, err)
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event["type"], data); err != nil { //nolint:gosec // for a test's client, which is no browser
			return // The client has gone away, which may be what is tested.
		}
	}
}

// take keeps the request and finds the turn that answers it.
func (s *Server) take(r *http.Request) (Turn, int, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return Turn{}, 0, err
	}
	request := Request{Authorization: r.Header.Get("Authorization"), Body: body}
	if err := json.Unmarshal(body, &struct{ Input *[]Item }{&request.Input}); err != nil {
		s.t.Errorf("responsestest: %v: %s", err, body)
		return Turn{}, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, request)
	number := len(s.asked)
	if last := len(s.turns) - 1; number > len(s.turns) && last >= 0 && s.turns[last].Forever {
		return s.turns[last], number, nil
	}
	if number > len(s.turns) {
		s.t.Errorf("responsestest: request %d, but the script has %d turns", number, len(s.turns))
		return Turn{}, 0, fmt.Errorf("the script has %d turns", len(s.turns))
	}
	return s.turns[number-1], number, nil
}

// refuse answers with an error as OpenAI's API does.
func refuse(w http.ResponseWriter, turn Turn, message string) {
	if turn.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(turn.RetryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(turn.Status)
	// That the client has gone away is no error.
	_ = json.NewEncoder(w).Encode(object{"error": object{"message": message, "type": turn.Code, "code": turn.Code}})
}
