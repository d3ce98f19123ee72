package graf

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
)

// TokenSource gives the bearer token of a request. It is asked for each one, so
// it may renew tokens; an error of its ends the call.
type TokenSource func(context.Context) (string, error)

// StaticToken is always the same token.
func StaticToken(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// Endpoints are the base URLs of the functions, where they have no common one.
// A function that is left out is at the client's base URL.
type Endpoints struct {
	// Submit has tasks, approvals, undo, policy and dead letters; Callback events and
	// actions; Memory what tasks learned.
	Submit, Callback, Memory string
}

// Options say how a client reaches Graf. Only BaseURL, or all Endpoints, and
// Token are required.
type Options struct {
	// BaseURL is where all functions are, such as https://graf.example; Endpoints
	// are exceptions.
	BaseURL   string
	Endpoints Endpoints
	Token     TokenSource
	// HTTPClient sends the requests. It must have no Timeout, which would end live
	// events, too; nil is one of the client's own. Its CheckRedirect is not asked:
	// redirects are refused.
	HTTPClient *http.Client
	// Timeout bounds each try of a call, and how long a download may stand still; an upload
	// has a second more for each 64 KiB. It is not for live events. 0 is 30 s.
	Timeout time.Duration
	// Retry says how often is tried again; the zero value has usable defaults.
	Retry Retry
	// PartsAbove is the size in bytes above which artifacts are uploaded in parts; 0 is
	// 64 MiB.
	PartsAbove int64
	// UserAgent is sent with each request, "graf-go" if it is empty.
	UserAgent string
}

const (
	defaultTimeout   = 30 * time.Second
	defaultUserAgent = "graf-go"
)

// Client calls Graf. It is safe for concurrent use.
type Client struct {
	urls      map[function]string
	token     TokenSource
	http      *http.Client
	timeout   time.Duration
	retry     Retry
	userAgent string
	// followAttempts is Retry.Attempts for who waits for a task.
	followAttempts int
	// partsAbove is Options.PartsAbove.
	partsAbove int64
}

// New makes a client. It asks nobody; its errors are missing or malformed options.
func New(options Options) (*Client, error) {
	if options.Token == nil {
		return nil, errors.New("graf: no token source given")
	}
	client := &Client{
		urls: map[function]string{}, token: options.Token, http: direct(options.HTTPClient), timeout: options.Timeout,
		retry: options.Retry.withDefaults(), userAgent: options.UserAgent,
		partsAbove: options.PartsAbove, followAttempts: options.Retry.Attempts,
	}
	for where, own := range map[function]string{
		submitFunction: options.Endpoints.Submit, callbackFunction: options.Endpoints.Callback, memoryFunction: options.Endpoints.Memory,
	} {
		if own == "" {
			own = options.BaseURL
		}
		base, err := parseBase(own)
		if err != nil {
			return nil, fmt.Errorf("graf: URL of %s: %w", where, err)
		}
		client.urls[where] = base
	}
	if client.partsAbove <= 0 {
		client.partsAbove = defaultPartsAbove
	}
	if client.followAttempts <= 0 {
		client.followAttempts = followAttempts
	}
	if client.timeout == 0 {
		client.timeout = defaultTimeout
	}
	if client.userAgent == "" {
		client.userAgent = defaultUserAgent
	}
	return client, nil
}

// direct is a copy of given, which may be nil, that follows no redirect: it would send
// the token, and what is submitted, somewhere else, and a POST or DELETE as a GET.
func direct(given *http.Client) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// parseBase checks a base URL and takes its last slash away.
func parseBase(base string) (string, error) {
	parsed, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	if (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" || parsed.RawQuery != "" || parsed.User != nil {
		return "", fmt.Errorf("%q is no base URL such as https://graf.example", parsed.Redacted())
	}
	return strings.TrimRight(base, "/"), nil
}

// OptionsFromEnvironment are those of GRAF_URL and GRAF_TOKEN, as the file .graf/env
// of the local platform sets them. [New] tells what is missing.
func OptionsFromEnvironment() Options {
	options := Options{BaseURL: os.Getenv("GRAF_URL")}
	if token := os.Getenv("GRAF_TOKEN"); token != "" {
		options.Token = StaticToken(token)
	}
	return options
}

// NewInContainer makes a client for an agent in a task's container, from the
// variables of the container contract, and gives the task's id. The token is the
// task's: it reports events and artifacts, takes actions and asks memory, and reads
// nothing else. The error names the variable that is missing or wrong.
func NewInContainer() (*Client, uuid.UUID, error) {
	id, err := uuid.Parse(os.Getenv("GRAF_TASK_ID"))
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("graf: GRAF_TASK_ID: %w", err)
	}
	token := os.Getenv("GRAF_CALLBACK_TOKEN")
	if token == "" {
		return nil, uuid.Nil, errors.New("graf: GRAF_CALLBACK_TOKEN is not set")
	}
	prefix := "/v1/codex/tasks/" + id.String()
	callback, ok := strings.CutSuffix(os.Getenv("GRAF_CALLBACK_URL"), prefix+"/events")
	if !ok {
		return nil, uuid.Nil, fmt.Errorf("graf: GRAF_CALLBACK_URL does not end in %s/events", prefix)
	}
	memory, ok := strings.CutSuffix(os.Getenv("GRAF_MEMORY_URL"), prefix+"/memory")
	if !ok {
		return nil, uuid.Nil, fmt.Errorf("graf: GRAF_MEMORY_URL does not end in %s/memory", prefix)
	}
	client, err := New(Options{BaseURL: callback, Endpoints: Endpoints{Memory: memory}, Token: StaticToken(token)})
	return client, id, err
}
