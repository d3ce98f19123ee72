package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

// transport answers requests by itself.
type transport func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An undo is waited for until it has ended, though not for ever; one that goes on is no
// success.
func TestUndoIsAwaited(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		takes time.Duration
		ends  graf.UndoStatus
		want  error
	}{
		"done": {time.Minute, graf.UndoStatusDone, nil}, "too slow": {time.Hour, graf.UndoStatusRequested, errUndoOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				client, err := graf.New(graf.Options{
					BaseURL: "http://graf.example", Token: graf.StaticToken("x"),
					HTTPClient: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
						status := string(graf.UndoStatusRequested)
						if time.Since(began) > test.takes {
							status = string(graf.UndoStatusDone)
						}
						text := `{"undos":[{"undoId":"` + uuid.Max.String() + `","status":"failed"},{"undoId":"` + someID + `","status":"` + status + `"}]}`
						return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text))}, nil
					})},
				})
				if err != nil {
					t.Fatal(err)
				}
				s, out := plain("")
				requested := graf.Undo{UndoID: uuid.MustParse(someID), Status: graf.UndoStatusRequested}
				undo, err := (&app{streams: s}).awaitUndo(t.Context(), client, uuid.MustParse(someID), requested)
				if !errors.Is(err, test.want) || undo.Status != test.ends || !strings.Contains(out.String(), "waiting for its end") {
					t.Errorf("%s, %v: %s", undo.Status, err, out)
				}
				if err != nil && (status(t.Context(), err) != exitUnavailable || !strings.Contains(err.Error(), "graf get "+someID)) {
					t.Errorf("status %d: %v", status(t.Context(), err), err)
				}
			})
		})
	}
}
