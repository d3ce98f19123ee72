package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// pause is between two tries.
const pause = 250 * time.Millisecond

// work reports that it began, waits until the gate opens if there is one, and
// reports that it is done. A patient agent tries again when Graf does not answer.
func work(ctx context.Context, gate string, patient bool) error {
	if err := report(ctx, "started", "Working.", patient); err != nil {
		return err
	}
	if gate != "" {
		if err := again(ctx, func() (bool, error) { return passed(ctx, gate) }); err != nil {
			return fmt.Errorf("wait at the gate: %w", err)
		}
	}
	return report(ctx, "completed", map[string]string{"summary": "Done."}, patient)
}

// again tries until it is done, a further try is of no use, or time is up.
func again(ctx context.Context, try func() (done bool, err error)) error {
	for {
		done, err := try()
		if done {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w; the last try: %w", context.Cause(ctx), err)
		}
	}
}

func passed(ctx context.Context, gate string) (bool, error) {
	status, _, err := send(ctx, http.DefaultClient, request{Method: http.MethodGet, URL: gate})
	return status == http.StatusNoContent, err
}

func report(ctx context.Context, kind string, content any, patient bool) error {
	body, err := newReport(kind, content)
	if err != nil {
		return err
	}
	_, err = post(ctx, os.Getenv("GRAF_CALLBACK_URL"), body, patient)
	return err
}

// newReport is the body of a report with an event id of its own.
func newReport(kind string, content any) (string, error) {
	body, err := json.Marshal(map[string]any{"eventId": rand.Text(), "eventType": kind, "content": content})
	return string(body), err
}

// post sends a report and gives the answer. A patient agent tries again when there is none.
func post(ctx context.Context, url, body string, patient bool) (answer string, err error) {
	r := request{
		Method: http.MethodPost, URL: url, Token: os.Getenv("GRAF_CALLBACK_TOKEN"), Type: "application/json", Body: body,
	}
	err = again(ctx, func() (bool, error) {
		var status int
		var err error
		status, answer, err = send(ctx, http.DefaultClient, r)
		switch {
		case err == nil && status < 300:
			return true, nil
		case err == nil:
			err = fmt.Errorf("report %s: status %d: %s", body, status, answer)
		}
		mayPass := status == 0 || status == http.StatusTooManyRequests || status >= 500
		return !patient || !mayPass, err
	})
	return answer, err
}

// request is one to send.
type request struct {
	Name   string            `json:"name"`
	Method string            `json:"method"`
	URL    string            `json:"url"`
	Token  string            `json:"token"`
	Type   string            `json:"type"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

// send sends it. Status 0 is no answer.
func send(ctx context.Context, client *http.Client, r request) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader([]byte(r.Body)))
	if err != nil {
		return 0, "", err
	}
	if r.Token != "" {
		out.Header.Set("Authorization", "Bearer "+r.Token)
	}
	if r.Type != "" {
		out.Header.Set("Content-Type", r.Type)
	}
	for name, value := range r.Header {
		out.Header.Set(name, value)
	}
	response, err := client.Do(out)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	return response.StatusCode, string(body), err
}
