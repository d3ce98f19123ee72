package graf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

// served is a client of a server that answers as handle does.
func served(t *testing.T, handle http.HandlerFunc) *graf.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	c, err := graf.New(graf.Options{
		BaseURL: server.URL, Token: graf.StaticToken("token"), Timeout: 2 * time.Second,
		Retry: graf.Retry{Attempts: 3, Base: time.Millisecond, Max: 2 * time.Millisecond, MaxRetryAfter: 2 * time.Second},
	})
	must(t, err)
	return c
}

// refuse answers with a problem document.
func refuse(w http.ResponseWriter, status int, retryAfter string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"urn:graf:problem:x","title":"No","status":%d}`, status)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	task := func(c *graf.Client) error { _, err := c.Task(context.Background(), uuid.Nil); return err }
	undo := func(c *graf.Client) error { _, err := c.Undo(context.Background(), uuid.Nil, false); return err }
	for name, test := range map[string]struct {
		call       func(*graf.Client) error
		status     int
		retryAfter string
		tries      int32
		want       error
	}{
		"unavailable for a moment":     {task, 503, "", 2, nil},
		"unavailable for long":         {task, 503, "", 9, graf.ErrUnavailable},
		"rate limited":                 {task, 429, "", 2, nil},
		"rate limited for an hour":     {task, 429, "3600", 9, graf.ErrRateLimited},
		"not found":                    {task, 404, "", 9, graf.ErrNotFound},
		"not repeatable":               {undo, 503, "", 9, graf.ErrUnavailable},
		"not repeatable, not begun":    {undo, 429, "", 2, nil},
		"a fault":                      {task, 500, "", 2, nil},
		"not to be had":                {task, 501, "", 9, graf.ErrUnavailable},
		"not allowed":                  {task, 403, "", 9, graf.ErrForbidden},
		"a conflict":                   {task, 409, "", 9, graf.ErrConflict},
		"too large":                    {task, 413, "", 9, graf.ErrTooLarge},
		"waits as long as it is asked": {task, 503, "1", 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries atomic.Int32
			c := served(t, func(w http.ResponseWriter, _ *http.Request) {
				if tries.Add(1) < test.tries {
					refuse(w, test.status, test.retryAfter)
					return
				}
				_, _ = w.Write([]byte(`{}`))
			})
			began := time.Now()
			if err := test.call(c); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if test.retryAfter == "1" && time.Since(began) < time.Second {
				t.Errorf("tried again after %s", time.Since(began))
			}
			again := test.want == nil || name == "unavailable for long"
			if got := tries.Load(); again != (got > 1) || got > 3 {
				t.Errorf("tried %d times", got)
			}
		})
	}
}

// Proxies answer in their own words.
func TestProxy(t *testing.T) {
	t.Parallel()
	c := served(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no healthy upstream \xff", http.StatusBadGateway)
	})
	_, err := c.Task(t.Context(), uuid.Nil)
	if problem, ok := errors.AsType[*graf.Problem](err); !ok || problem.Detail != "no healthy upstream" || !errors.Is(err, graf.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// A redirect is refused, by a client of the caller's own, too: nothing is sent
// to where it leads, and nobody takes its answer for that of the call.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308} {
		for _, own := range []*http.Client{nil, {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					t.Errorf("%s is asked of somebody else", r.Method)
					_, _ = w.Write([]byte(`{}`))
				}))
				t.Cleanup(elsewhere.Close)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, elsewhere.URL+"/right?X-Amz-Signature=secret", status)
				}))
				t.Cleanup(server.Close)
				c, err := graf.New(graf.Options{BaseURL: server.URL, Token: graf.StaticToken("token"), HTTPClient: own})
				must(t, err)
				_, submitted := c.Submit(t.Context(), graf.TaskSubmission{})
				for what, err := range map[string]error{
					"submit": submitted, "forget": c.ForgetMemory(t.Context(), uuid.Nil),
					"download": c.DownloadArtifact(t.Context(), graf.Artifact{DownloadURL: server.URL}, io.Discard, nil),
				} {
					problem, ok := errors.AsType[*graf.Problem](err)
					if !ok || problem.Status != status || !strings.Contains(problem.Detail, elsewhere.URL+"/right,") {
						t.Errorf("%s: got %v", what, err)
					}
				}
			})
		}
	}
}

// What is submitted has the same key at each try, and an event the same id.
func TestKeys(t *testing.T) {
	t.Parallel()
	var bodies []string
	c := served(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(body)); len(bodies)%2 == 1 {
			refuse(w, 503, "")
			return
		}
		_, _ = w.Write([]byte(`{}`))
	})
	_, err := c.Submit(t.Context(), graf.TaskSubmission{Prompt: "x"})
	must(t, err)
	_, err = c.PostEvents(t.Context(), uuid.Nil, graf.Event{EventType: graf.EventTypeProgress})
	must(t, err)
	if len(bodies) != 4 || bodies[0] != bodies[1] || bodies[2] != bodies[3] ||
		!strings.Contains(bodies[0], `"idempotencyKey":"`) || !strings.Contains(bodies[2], `"eventId":"`) {
		t.Errorf("sent %q", bodies)
	}
}

// A call ends with its context, also while it waits for another try.
func TestContext(t *testing.T) {
	t.Parallel()
	c := served(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "2") })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Task(ctx, uuid.Nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, graf.ErrUnavailable) {
		t.Errorf("got %v, want both why it ended and why it was tried again", err)
	}
}

// The token source is asked for each try, and its error ends the call.
func TestTokenSource(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	c, err := graf.New(graf.Options{BaseURL: "http://127.0.0.1:1", Token: func(context.Context) (string, error) { return "", lost }})
	must(t, err)
	if _, err := c.Task(t.Context(), uuid.Nil); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]graf.Options{
		"no token": {BaseURL: "http://graf.example"}, "no URL": {Token: graf.StaticToken("x")},
		"no scheme": {BaseURL: "graf.example", Token: graf.StaticToken("x")},
		"user":      {BaseURL: "http://a:b@graf.example", Token: graf.StaticToken("x")},
		"one URL":   {Endpoints: graf.Endpoints{Submit: "http://submit.example"}, Token: graf.StaticToken("x")},
	} {
		if _, err := graf.New(options); err == nil || strings.Contains(err.Error(), "a:b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each function can be at a URL of its own.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	var options graf.Options
	asked := make(chan string, 1)
	for name, url := range map[string]*string{
		"submit": &options.Endpoints.Submit, "callback": &options.Endpoints.Callback, "memory": &options.Endpoints.Memory,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked <- name
			_, _ = w.Write([]byte(`{}`))
		}))
		t.Cleanup(server.Close)
		*url = server.URL + "/"
	}
	options.Token = graf.StaticToken("x")
	c, err := graf.New(options)
	must(t, err)
	id, ctx := uuid.Nil, t.Context()
	if want := strings.TrimSuffix(options.Endpoints.Memory, "/") + "/v1/codex/tasks/" + id.String() + "/mcp"; c.ToolsURL(id) != want {
		t.Errorf("the tools are at %s, not %s", c.ToolsURL(id), want)
	}
	for want, calls := range map[string][]func() error{
		"submit": {
			func() error { _, err := c.Task(ctx, id); return err },
			func() error { _, err := c.Retry(ctx, id, graf.TaskRetry{}); return err },
			func() error { _, err := c.DecideApproval(ctx, id, id, graf.ApprovalDecision{}); return err },
			func() error { _, err := c.DeadLetter(ctx, id); return err },
			func() error { _, err := c.ReplayDeadLetter(ctx, id); return err },
			func() error { _, err := c.DeadLetterPage(ctx, graf.ListDeadLettersParams{}); return err },
		},
		"callback": {
			func() error { _, err := c.EventPage(ctx, id, graf.ListTaskEventsParams{}); return err },
			func() error { _, err := c.Act(ctx, id, graf.ActionRequest{}); return err },
		},
		"memory": {
			func() error { _, err := c.SearchMemory(ctx, graf.MemorySearch{}); return err },
			func() error { _, err := c.Memory(ctx, id); return err },
			func() error { return c.ForgetMemory(ctx, id) },
			func() error { _, err := c.TaskMemory(ctx, id, graf.ListTaskMemoryParams{}); return err },
		},
	} {
		for i, call := range calls {
			must(t, call())
			if got := <-asked; got != want {
				t.Errorf("call %d went to %s, not %s", i, got, want)
			}
		}
	}
}

// Live events go on where they broke off, each once, until the end.
func TestFollowResumes(t *testing.T) {
	t.Parallel()
	var streams atomic.Int32
	c := served(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch stream, after := streams.Add(1), r.Header.Get("Last-Event-ID"); {
		case stream == 1 && after == "":
			fmt.Fprint(w, ": hello\n\nid: 1\nevent: progress\ndata: {\"sequence\":1}\n\nid: 2\nevent: progress\ndata: {\"seq")
		case stream == 2 && after == "1":
			refuse(w, 503, "")
		case stream == 3 && after == "1":
			fmt.Fprint(w, "data: {\"sequence\":1}\n\ndata: {\"sequence\":2}\n\n")
		case stream == 4 && after == "2":
			fmt.Fprint(w, "data: {\"sequence\":3}\n\nevent: end\ndata: {}\n\ndata: {\"sequence\":4}\n\n")
		default:
			t.Errorf("stream %d is asked for after %q", stream, after)
			refuse(w, 400, "")
		}
	})
	var got []int64
	for event, err := range c.Follow(t.Context(), uuid.Nil, 0) {
		must(t, err)
		got = append(got, event.Sequence)
	}
	if fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("got events %v", got)
	}
}

// transport answers requests by itself.
type transport func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lasting is a body that ends some time after its text.
type lasting struct {
	io.Reader
	life time.Duration
}

// Read implements io.Reader.
func (l lasting) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err == io.EOF {
		time.Sleep(l.life)
	}
	return n, err
}

// A quiet task is followed however often its stream is cut after some seconds with a
// comment, and given up where it is cut at once again and again.
func TestFollowQuiet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life    time.Duration
		streams int
		want    error
	}{
		"cut after a while": {6 * time.Second, 10, nil}, "cut at once": {time.Second, 3, graf.ErrBrokenOff},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				streams := 0
				c, err := graf.New(graf.Options{
					BaseURL: "http://graf.example", Token: graf.StaticToken("token"), Retry: graf.Retry{Attempts: 3},
					HTTPClient: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
						text := ": Graf is here\n"
						if streams++; streams == 10 {
							text = "event: end\ndata: {}\n\n"
						}
						return &http.Response{
							StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}},
							Body: io.NopCloser(lasting{strings.NewReader(text), test.life}),
						}, nil
					})},
				})
				must(t, err)
				var last error
				for _, err := range c.Follow(t.Context(), uuid.Nil, 0) {
					last = err
				}
				if !errors.Is(last, test.want) || streams != test.streams {
					t.Errorf("%d streams, want %d: %v", streams, test.streams, last)
				}
			})
		})
	}
}

// Of an answer that breaks off is told that it did, and it is asked for again.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":    func(http.ResponseWriter, *http.Request) {},
		"half of it": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"taskId":`) },
		"a short one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			fmt.Fprint(w, `{`)
		},
		"a cut": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		var tries atomic.Int32
		c := served(t, func(w http.ResponseWriter, r *http.Request) {
			tries.Add(1)
			answer(w, r)
		})
		if _, err := c.Task(t.Context(), uuid.Nil); !errors.Is(err, graf.ErrBrokenOff) || tries.Load() != 3 {
			t.Errorf("%s: %d tries, %v", name, tries.Load(), err)
		}
	}
	c := served(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) })
	if _, err := c.Task(t.Context(), uuid.Nil); err == nil || errors.Is(err, graf.ErrBrokenOff) {
		t.Errorf("another answer: %v", err)
	}
}

// Who waits for a task tries longer than other calls, unless the tries are set.
func TestWaitBridges(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]int32{0: 14, 3: 3} {
		var tries atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			tries.Add(1)
			refuse(w, 503, "")
		}))
		t.Cleanup(server.Close)
		retry := graf.Retry{Attempts: attempts, Base: time.Millisecond, Max: time.Millisecond}
		c, err := graf.New(graf.Options{BaseURL: server.URL, Token: graf.StaticToken("token"), Retry: retry})
		must(t, err)
		if _, err := c.Wait(t.Context(), uuid.Nil); !errors.Is(err, graf.ErrUnavailable) || tries.Load() != want {
			t.Errorf("%d attempts: %d tries, not %d: %v", attempts, tries.Load(), want, err)
		}
	}
}

// Graf may take longer for actions than the client gives other calls.
func TestActWaits(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(300 * time.Millisecond)
		_, _ = w.Write([]byte(`{"results":[]}`))
	}))
	t.Cleanup(server.Close)
	c, err := graf.New(graf.Options{BaseURL: server.URL, Token: graf.StaticToken("token"), Timeout: 50 * time.Millisecond})
	must(t, err)
	for _, request := range []graf.ActionRequest{{}, {WaitSeconds: 1}} {
		if _, err := c.Act(t.Context(), uuid.Nil, request); err != nil {
			t.Errorf("wait of %d s: %v", request.WaitSeconds, err)
		}
	}
}

func TestFollowFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ media, body string }{
		"nothing": {"text/event-stream", ""}, "no JSON": {"text/event-stream", "data: {\n\n"},
		"no stream": {"application/json", `{"events":[]}`},
	} {
		c := served(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", test.media)
			fmt.Fprint(w, test.body)
		})
		var last error
		for _, err := range c.Follow(t.Context(), uuid.Nil, 0) {
			last = err
		}
		if last == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Events are put into as few requests as may hold them.
func TestPostEventsBatches(t *testing.T) {
	t.Parallel()
	var sizes []int
	c := served(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var events []json.RawMessage
		if json.Unmarshal(body, &events) != nil || len(body) > 1<<20 {
			refuse(w, 413, "")
			return
		}
		sizes = append(sizes, len(events))
		_, _ = w.Write([]byte(`{}`))
	})
	small := graf.Event{EventType: graf.EventTypeProgress}
	large := graf.Event{EventType: graf.EventTypeLog, Content: graf.Text(strings.Repeat("x", 250<<10))}
	events := []graf.Event{}
	for range 101 {
		events = append(events, small)
	}
	for range 6 {
		events = append(events, large)
	}
	_, err := c.PostEvents(t.Context(), uuid.Nil, events...)
	must(t, err)
	if fmt.Sprint(sizes) != "[100 5 3]" && fmt.Sprint(sizes) != "[100 4 4 1]" && fmt.Sprint(sizes) != "[100 5 2]" {
		t.Errorf("requests of %v events", sizes)
	}
}

// changing is a file whose content is another at each reading.
type changing struct{ readings atomic.Int64 }

// ReadAt implements io.ReaderAt.
func (c *changing) ReadAt(p []byte, _ int64) (int, error) {
	return copy(p, bytes.Repeat([]byte{byte(c.readings.Add(1))}, len(p))), nil
}

// What Graf has checked it offers no upload of.
func TestUploadOfWhatIsChecked(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"whole": 4, "in parts": 65 << 20} {
		c := served(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"events":[{"eventId":"e","sequence":1}],"uploads":[]}`)
		})
		_, err := c.UploadArtifact(t.Context(), uuid.Nil, graf.File{Name: "f", EventID: "e", Content: &changing{}, Size: size})
		if !errors.Is(err, graf.ErrChecked) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUploadOfAChangingFile(t *testing.T) {
	t.Parallel()
	var c *graf.Client
	var tries atomic.Int32
	c = served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			tries.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"uploads":[{"method":"PUT","url":"http://%s/put?secret=1"}]}`, r.Host)
	})
	_, err := c.UploadArtifact(t.Context(), uuid.Nil, graf.File{Name: "f", Content: &changing{}, Size: 4})
	if !errors.Is(err, graf.ErrChanged) || tries.Load() != 1 {
		t.Errorf("got %v after %d tries", err, tries.Load())
	}
}
