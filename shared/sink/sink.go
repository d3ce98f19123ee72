// Package sink sends CloudEvents to the function's sink, which Knative names in
// K_SINK: the Broker's ingress.
package sink

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/graf-run/graf/shared/event"
)

// Config says where events go.
type Config struct {
	// URL is the Broker's ingress, as a SinkBinding sets it.
	URL string `env:"K_SINK,required,notEmpty"`
	// Timeout bounds the sending of one event.
	Timeout time.Duration `env:"GRAF_SINK_TIMEOUT" envDefault:"5s"`
}

// Client sends events to one sink. It is safe for concurrent use.
type Client struct {
	url     string
	timeout time.Duration
	http    *http.Client
}

// New makes a client; it does no I/O.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("K_SINK must be an http or https URL, not %q", c.URL)
	}
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		IdleConnTimeout:   90 * time.Second,
		ForceAttemptHTTP2: true,
		// One host only: the default of two idle connections would open and
		// close one for nearly every event under load.
		MaxIdleConnsPerHost: 64,
		MaxConnsPerHost:     64,
	}
	return &Client{url: c.URL, timeout: c.Timeout, http: &http.Client{Transport: transport}}, nil
}

// RefusedError says that the sink does not take this very event, and will not take it another time: it is too large, or
// is none to the sink. Other answers, 401 and 403 among them, may be mended where it stands.
type RefusedError struct {
	// Status is the HTTP status of the answer.
	Status int
	// Answer is the beginning of its body.
	Answer string
}

// Error is what the sink answered.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the sink answered %d %s: %s", e.Status, http.StatusText(e.Status), e.Answer)
}

// refusals are the statuses of a RefusedError.
var refusals = []int{
	http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
	http.StatusRequestHeaderFieldsTooLarge, // attributes are headers
}

// Send delivers one event in binary mode and returns once the sink has taken
// it. Any answer but 2xx is an error, a *RefusedError if the event is to blame.
func (c *Client) Send(ctx context.Context, e event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
	if err != nil {
		return fmt.Errorf("send event %s: %w", e.ID(), err)
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&e), req); err != nil {
		return fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("send event %s to the sink: %w", e.ID(), err)
	}
	defer func() { _ = res.Body.Close() }()
	// A body that is read to its end lets the connection be used again.
	detail, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	if slices.Contains(refusals, res.StatusCode) {
		return fmt.Errorf("send event %s: %w", e.ID(), &RefusedError{Status: res.StatusCode, Answer: string(detail)})
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("send event %s: the sink answered %s: %s", e.ID(), res.Status, detail)
	}
	return nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
