package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	tryTimeout = 20 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 4 << 20
)

// client speaks the callback contract. It is not safe for concurrent use.
type client struct {
	contract contract
	http     *http.Client
	// run makes the ids of this run's events unlike those of other attempts,
	// while a repeated try has the same id, so that nothing is stored twice.
	run    string
	events int
}

func newClient(c contract) *client {
	return &client{contract: c, http: &http.Client{Timeout: tryTimeout}, run: rand.Text()[:8]}
}

// event is one report. Of content, artifacts and snapshot its type says which it has.
type event struct {
	EventID    string     `json:"eventId"`
	EventType  string     `json:"eventType"`
	Content    any        `json:"content,omitempty"` // text or an object
	Artifacts  []artifact `json:"artifacts,omitempty"`
	Snapshot   *snapshot  `json:"snapshot,omitempty"`
	OccurredAt time.Time  `json:"occurredAt"`
}

type artifact struct {
	Name        string `json:"name"`
	ContentType string `json:"contentType"`
	SizeBytes   int    `json:"sizeBytes"`
	SHA256      string `json:"sha256"`
}

type snapshot struct {
	Type      string     `json:"type"`
	Manifests []manifest `json:"manifests"`
}

// upload is how to send an artifact: a PUT with exactly these headers.
type upload struct {
	Name    string            `json:"name"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

type accepted struct {
	Uploads []upload `json:"uploads"`
}

// post reports one event.
func (c *client) post(ctx context.Context, e event) (accepted, error) {
	c.events++
	e.EventID, e.OccurredAt = fmt.Sprintf("%s-%d", c.run, c.events), time.Now().UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return accepted{}, err
	}
	var answer accepted
	err = c.do(ctx, "report "+e.EventType, func() (*http.Request, error) {
		req, err := c.request(ctx, http.MethodPost, c.contract.callbackURL, bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return req, err
	}, &answer)
	return answer, err
}

// upload announces a file and sends it to the presigned address.
func (c *client) upload(ctx context.Context, name, contentType string, data []byte) error {
	sum := sha256.Sum256(data)
	answer, err := c.post(ctx, event{EventType: "artifact", Artifacts: []artifact{
		{Name: name, ContentType: contentType, SizeBytes: len(data), SHA256: hex.EncodeToString(sum[:])},
	}})
	if err != nil {
		return err
	}
	if len(answer.Uploads) != 1 {
		return fmt.Errorf("upload %s: the answer has %d presigned uploads, not 1", name, len(answer.Uploads))
	}
	u := answer.Uploads[0]
	return c.do(ctx, "upload "+name, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, u.Method, u.URL, bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		// They are part of the signature. Content-Length, which net/http sets by
		// itself, is the length of data, which was announced.
		for header, value := range u.Headers {
			req.Header.Set(header, value)
		}
		return req, nil
	}, nil)
}

// recall asks what earlier tasks taught that fits this task.
func (c *client) recall(ctx context.Context, kind string) ([]recalled, error) {
	var answer struct {
		Results []struct {
			MemoryID string  `json:"memoryId"`
			Score    float64 `json:"score"`
			Snippet  string  `json:"snippet"`
			Source   struct {
				Kind string `json:"kind"`
			} `json:"source"`
		} `json:"results"`
	}
	err := c.do(ctx, "recall", func() (*http.Request, error) {
		query := url.Values{"resourceKind": {kind}, "limit": {"20"}}
		return c.request(ctx, http.MethodGet, c.contract.memoryURL+"?"+query.Encode(), nil)
	}, &answer)
	memories := make([]recalled, len(answer.Results))
	for i, r := range answer.Results {
		memories[i] = recalled{id: r.MemoryID, kind: r.Source.Kind, score: r.Score, text: r.Snippet, from: "memory endpoint"}
	}
	return memories, err
}

func (c *client) request(ctx context.Context, method, address string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.contract.token)
	if c.contract.traceParent != "" {
		req.Header.Set("Traceparent", c.contract.traceParent)
	}
	return req, nil
}

// do sends a request, again and again while another try may help, and decodes
// the answer into out unless that is nil.
func (c *client) do(ctx context.Context, what string, request func() (*http.Request, error), out any) error {
	for try := 1; ; try++ {
		again, err := c.try(request, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		if again < 0 || try == maxTries {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ended := wait(ctx, max(again, pause(try))); ended != nil {
			return fmt.Errorf("%s: %w, after %d tries; the last: %w", what, ended, try, err)
		}
	}
}

// try sends a request once. With an error it says how long to wait at least
// before the next try; negative: there is no use in one.
func (c *client) try(request func() (*http.Request, error), out any) (again time.Duration, err error) {
	req, err := request()
	if err != nil {
		return -1, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if res.StatusCode >= 300 {
		err := problem(res.Status, body)
		if retryable(res.StatusCode) {
			return retryAfter(res.Header), err
		}
		return -1, err
	}
	if out == nil {
		return 0, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return -1, fmt.Errorf("answer %s: %w", res.Status, err)
	}
	return 0, nil
}

// withoutURL keeps the signature of a presigned address out of messages.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// problem tells what an answer of RFC 9457 says was wrong.
func problem(status string, body []byte) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Pointer   string `json:"pointer"`
			Parameter string `json:"parameter"`
			Detail    string `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &p) != nil {
		return errors.New(status)
	}
	parts := []string{status}
	if p.Detail != "" {
		parts = append(parts, p.Detail)
	}
	for _, e := range p.Errors {
		parts = append(parts, strings.TrimSpace(e.Pointer+e.Parameter+" "+e.Detail))
	}
	return errors.New(strings.Join(parts, ": "))
}
