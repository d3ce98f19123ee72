package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// NewRequest makes a request of a client of the API: with a bearer token unless it is
// "", the body as JSON unless it is nil, and headers as pairs of name and value.
func NewRequest(ctx context.Context, method, url, token string, body any, headers ...string) (*http.Request, error) {
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode the body: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return request, nil
}

// Call sends a request, holds the answer to the document and decodes it into out. What
// may pass by itself (no answer, 429, 5xx) is an error; any other refusal fails the test.
func Call(t *testing.T, client *http.Client, request *http.Request, out any) error {
	t.Helper()
	response, err := client.Do(request) //nolint:gosec // the tests say where
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError {
		answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		return errors.Join(fmt.Errorf("%s %s: %s: %s", request.Method, request.URL, response.Status, answer), err)
	}
	answer := CheckResponse(t, response)
	if response.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %s: %s", request.Method, request.URL, response.Status, answer)
	}
	return json.Unmarshal(answer, out)
}
