package graf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	graf "github.com/graf-run/graf/sdk/go"
)

var record = flag.Bool("record", false, "record testdata/recorded.json from the real functions")

const recording = "testdata/recorded.json"

// exchange is one request with its answer, without what is secret.
type exchange struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Accept string            `json:"accept,omitempty"`
	Body   string            `json:"body,omitempty"`
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Answer string            `json:"answer"`
}

// TestRecorded has the client make the same calls of answers that real functions
// gave once, and of the real functions: what it sends is what was recorded.
func TestRecorded(t *testing.T) {
	t.Parallel()
	live := &recorder{secrets: map[string]string{os.Getenv("GRAF_URL"): "http://graf.example"}}
	options := graf.OptionsFromEnvironment()
	options.HTTPClient = &http.Client{Transport: live}
	scenario(t, options)
	if *record {
		encoded, err := json.MarshalIndent(live.exchanges, "", "  ")
		must(t, err)
		must(t, os.MkdirAll("testdata", 0o750))
		must(t, os.WriteFile(recording, append(encoded, '\n'), 0o600))
	}
	text, err := os.ReadFile(recording)
	must(t, err)
	var recorded []exchange
	must(t, json.Unmarshal(text, &recorded))
	player := &player{t: t, exchanges: recorded}
	server := httptest.NewServer(player)
	t.Cleanup(server.Close)
	scenario(t, graf.Options{BaseURL: server.URL, Token: graf.StaticToken("recorded")})
	if player.next != len(recorded) {
		t.Errorf("%d of %d exchanges were played", player.next, len(recorded))
	}
}

// recordedKey is what the idempotency keys of the scenario's tasks begin with.
const recordedKey = "recorded-scenario"

// scenario makes calls of each kind. It is held to the same on both, and in
// sdk/typescript.
func scenario(t *testing.T, options graf.Options) {
	t.Helper()
	ctx := within(t)
	c, err := graf.New(options)
	must(t, err)
	submission := shell("Tell the recorder.", "echo told")
	submission.IdempotencyKey = recordedKey
	created, err := c.Submit(ctx, submission)
	must(t, err)
	if created.Callback.Token == "" {
		t.Error("there is no token")
	}
	for _, err := range c.Follow(ctx, created.TaskID, 0) {
		must(t, err)
	}
	task, err := c.Task(ctx, created.TaskID)
	must(t, err)
	if task.Status != graf.TaskStatusSucceeded || task.Prompt != submission.Prompt || task.FinishedAt == nil {
		t.Errorf("the task is %+v", task)
	}
	if _, err := c.EventPage(ctx, created.TaskID, graf.ListTaskEventsParams{Limit: 10}); err != nil {
		t.Error(err)
	}
	results, err := c.QueryTaskMemory(ctx, created.TaskID, graf.MemoryQuery{Text: "recorder", IncludeOwn: true, Limit: new(2)})
	must(t, err)
	if results.Recall.Mode == "" {
		t.Errorf("memory answers %+v", results)
	}
	checkKinds(ctx, t, c, created.TaskID)
	agentScenario(ctx, t, c, options)
}

// agentScenario makes the calls of an agent.
func agentScenario(ctx context.Context, t *testing.T, c *graf.Client, options graf.Options) {
	t.Helper()
	submission := shell("Wait for the recorder.", "sleep 600")
	submission.IdempotencyKey = recordedKey + "-agent"
	created, err := c.Submit(ctx, submission)
	must(t, err)
	for status := created.Status; status != graf.TaskStatusRunning; {
		time.Sleep(time.Second) // so that there are few to record
		task, err := c.Task(ctx, created.TaskID)
		must(t, err)
		status = task.Status
	}
	options.Token = graf.StaticToken(created.Callback.Token)
	agent, err := graf.New(options)
	must(t, err)
	step := graf.Event{EventID: "step-1", EventType: graf.EventTypeProgress, Content: graf.Text("Half of it is done.")}
	first, err := agent.PostEvents(ctx, created.TaskID, step)
	must(t, err)
	again, err := agent.PostEvents(ctx, created.TaskID, step)
	must(t, err)
	if len(first.Events) != 1 || len(again.Events) != 1 || again.Events[0].Sequence != first.Events[0].Sequence {
		t.Errorf("the same event was taken as %+v and %+v", first, again)
	}
	resource := graf.ResourceReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "limits"}
	results, err := agent.Act(ctx, created.TaskID, graf.ActionRequest{
		Action: graf.ActionVerbGet, Resources: []graf.ResourceReference{resource},
	})
	must(t, err)
	if len(results.Results) != 1 || results.Results[0].Outcome != graf.ActionOutcomeRefused {
		t.Errorf("what no rule allows gives %+v", results)
	}
	_, err = agent.PostEvents(ctx, created.TaskID, graf.Event{EventID: "step-2", EventType: "no-such-type"})
	if !errors.Is(err, graf.ErrInvalid) {
		t.Errorf("no such type of event gives %v", err)
	}
	_, err = c.Cancel(ctx, created.TaskID, "")
	must(t, err)
	task, err := c.Wait(ctx, created.TaskID)
	must(t, err)
	if task.Status != graf.TaskStatusCancelled {
		t.Errorf("the task is %s", task.Status)
	}
	step.EventID = "step-3"
	if _, err := agent.PostEvents(ctx, created.TaskID, step); !errors.Is(err, graf.ErrConflict) {
		t.Errorf("a report after the end gives %v", err)
	}
}

// checkKinds has the functions refuse.
func checkKinds(ctx context.Context, t *testing.T, c *graf.Client, ended uuid.UUID) {
	t.Helper()
	_, err := c.Cancel(ctx, ended, "late")
	if !errors.Is(err, graf.ErrConflict) {
		t.Errorf("to cancel what has ended gives %v", err)
	}
	_, err = c.Task(ctx, uuid.Nil)
	if !errors.Is(err, graf.ErrNotFound) {
		t.Errorf("no task gives %v", err)
	}
	_, err = c.Submit(ctx, graf.TaskSubmission{Prompt: "No agent.", IdempotencyKey: recordedKey + "-invalid"})
	problem, ok := errors.AsType[*graf.Problem](err)
	if !ok || !errors.Is(err, graf.ErrInvalid) || len(problem.Errors) == 0 || problem.Errors[0].Pointer != "/agent/command" {
		t.Errorf("no agent gives %v", err)
	}
}

// recorder passes requests on and keeps them.
type recorder struct {
	mu        sync.Mutex
	secrets   map[string]string
	exchanges []exchange
}

var (
	taskToken = regexp.MustCompile(`graf_task_[A-Za-z0-9_-]+`)
	presigned = regexp.MustCompile(`"downloadUrl":"[^"]*"`)
)

func (r *recorder) clean(text string) string {
	for secret, instead := range r.secrets {
		text = strings.ReplaceAll(text, secret, instead)
	}
	text = presigned.ReplaceAllString(text, `"downloadUrl":"http://storage.example/recorded"`)
	return taskToken.ReplaceAllString(text, "graf_task_recorded")
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	header := map[string]string{"Content-Type": response.Header.Get("Content-Type")}
	if wait := response.Header.Get("Retry-After"); wait != "" {
		header["Retry-After"] = wait
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exchanges = append(r.exchanges, exchange{
		Method: request.Method, Path: request.URL.RequestURI(), Accept: request.Header.Get("Accept"), Body: r.clean(string(body)),
		Status: response.StatusCode, Header: header, Answer: r.clean(string(answer)),
	})
	return response, nil
}

// player answers as recorded, and only to what was recorded, in that order.
type player struct {
	t         *testing.T
	mu        sync.Mutex
	exchanges []exchange
	next      int
}

// ServeHTTP implements http.Handler.
func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if p.next == len(p.exchanges) {
		p.t.Errorf("%s %s is one request too many", r.Method, r.URL)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	want := p.exchanges[p.next]
	p.next++
	if r.Method != want.Method || r.URL.RequestURI() != want.Path || r.Header.Get("Accept") != want.Accept || string(body) != want.Body {
		p.t.Errorf("sent %s %s %s, recorded was %s %s %s", r.Method, r.URL, body, want.Method, want.Path, want.Body)
	}
	for name, value := range want.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(want.Status)
	_, _ = io.WriteString(w, want.Answer)
}
