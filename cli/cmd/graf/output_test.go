package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// plain are streams without a terminal, all written to one buffer.
func plain(in string) (streams, *bytes.Buffer) {
	var out bytes.Buffer
	return streams{in: strings.NewReader(in), out: &out, err: &out, width: 100}, &out
}

const (
	// hostile is text that would be commands to a terminal, by C0, DEL and C1 controls.
	hostile = "red \u001b[31m, gone \u007f, \u009b2J and \u0085 é"
	// theTask and theEvents, one a line, are what a Graf answers of a task that has ended.
	theTask   = `{"taskId":"` + someID + `","status":"succeeded","createdAt":"2026-01-05T10:00:00Z"}`
	theEvents = `{"sequence":1,"eventType":"progress","content":"%s"}` + "\n" +
		`{"sequence":2,"eventType":"completed","content":{"summary":"Done."}}`
)

// ended is a Graf with a task that has ended; its events are live, too.
func ended(t *testing.T) {
	t.Helper()
	content := strings.ReplaceAll(hostile, "\u001b", `\u001b`) // JSON does not have it otherwise, but the rest
	events := strings.Split(fmt.Sprintf(theEvents, content), "\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasSuffix(r.URL.Path, "/events"):
			_, _ = io.WriteString(w, theTask)
		case r.Header.Get("Accept") != "text/event-stream":
			_, _ = fmt.Fprintf(w, `{"events":[%s]}`, strings.Join(events, ","))
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			for _, event := range events {
				_, _ = fmt.Fprintf(w, "data: %s\n\n", event)
			}
			_, _ = io.WriteString(w, "event: end\ndata: {}\n\n")
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("GRAF_URL", server.URL)
	t.Setenv("GRAF_TOKEN", "x")
}

// What programs read is JSON or YAML as a whole, and no command to a terminal.
func TestOutputForPrograms(t *testing.T) {
	ended(t)
	for _, arguments := range [][]string{{"logs", someID}, {"logs", someID, "--follow"}, {"watch", someID}} {
		for format, decode := range map[string]func(io.Reader) func(any) error{
			"json": func(r io.Reader) func(any) error { return json.NewDecoder(r).Decode },
			"yaml": func(r io.Reader) func(any) error { return yaml.NewDecoder(r).Decode },
		} {
			t.Run(strings.Join(append(arguments, format), " "), func(t *testing.T) {
				s, out := plain("")
				if status := run(t, s, append(arguments, "-o", format)...); status != 0 {
					t.Fatalf("status %d: %s", status, out)
				}
				if strings.ContainsAny(out.String(), "\x1b\x7f\u0085\u009b") {
					t.Errorf("a terminal would obey %q", out)
				}
				next := decode(bytes.NewReader(out.Bytes()))
				for _, want := range []any{hostile, map[string]any{"summary": "Done."}} {
					var event map[string]any
					if err := next(&event); err != nil || fmt.Sprint(event["content"]) != fmt.Sprint(want) {
						t.Errorf("got %v, %v, want %v in:\n%s", event, err, want, out)
					}
				}
				if err := next(new(any)); !errors.Is(err, io.EOF) {
					t.Errorf("more than two: %v", err)
				}
			})
		}
	}
}

// full is a disk that takes no more.
type full struct{}

// Write implements io.Writer.
func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// What cannot be written is an error.
func TestOutputIsFull(t *testing.T) {
	ended(t)
	for _, arguments := range []string{"logs", "logs --follow", "watch", "get"} {
		for _, format := range []string{"json", "yaml", "table"} {
			var said bytes.Buffer
			s := streams{in: strings.NewReader(""), out: full{}, err: &said, width: 100}
			status := run(t, s, append(strings.Fields(arguments), someID, "-o", format)...)
			if status != exitError || !strings.Contains(said.String(), "no space left") {
				t.Errorf("%s -o %s: status %d: %s", arguments, format, status, &said)
			}
		}
	}
}

// What a server answers is no command to a terminal where it is an error, and what was
// to be done is told before it.
func TestErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		status int
		says   string
	}{
		"hostile":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hostile, http.StatusForbidden) }, exitRefused, "Forbidden: red \ufffd[31m"},
		"cut short":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"tasks":`) }, exitUnavailable, "broke off"},
		"redirected": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, exitError, "/other, which is not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			t.Cleanup(server.Close)
			t.Setenv("GRAF_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
			t.Setenv("GRAF_URL", "")
			t.Setenv("GRAF_TOKEN", "")
			s, out := plain("token\n")
			status := run(t, s, "login", server.URL)
			if status != test.status || !strings.Contains(out.String(), "the token was not kept: ") || !strings.Contains(out.String(), test.says) {
				t.Errorf("status %d, want %d and %q: %q", status, test.status, test.says, out)
			}
			if strings.ContainsAny(out.String(), "\x1b\x7f\u0085\u009b") {
				t.Errorf("a terminal would obey %q", out)
			}
		})
	}
}
