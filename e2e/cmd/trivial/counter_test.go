package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// send sends one event, and gives the answer.
func send(t *testing.T, url, typ, id string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Id": id, "Type": typ, "Subject": "s", "Specversion": "1.0", "Source": "/test"} {
		r.Header.Set("Ce-"+name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func TestChain(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(newCounter().Handle))
	t.Cleanup(server.Close)

	answer := send(t, server.URL, firstType, "1")
	if answer.Header.Get("Ce-Type") != secondType || answer.Header.Get("Ce-Id") != "1" || answer.Header.Get("Ce-Subject") != "s" {
		t.Errorf("the first event was answered with %v", answer.Header)
	}
	counted := make(chan string)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"?subject=s&count=2", nil)
		if err != nil {
			counted <- err.Error()
			return
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			counted <- err.Error()
			return
		}
		defer func() { _ = answer.Body.Close() }()
		text, _ := io.ReadAll(answer.Body)
		counted <- string(text)
	}()
	for _, id := range []string{"1", "1", "2"} { // one of them twice
		if answer := send(t, server.URL, secondType, id); answer.StatusCode != http.StatusNoContent {
			t.Errorf("the second event was answered with %s", answer.Status)
		}
	}
	if got := <-counted; got != "2\n" {
		t.Errorf("counted %q", got)
	}
}
